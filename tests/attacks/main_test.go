// Package attacks runs hostile lambdas on the built gateway, real ones, and
// demands that each fails for the right reason and leaves nothing behind. Run
// `make build` first; SLUICE_BIN names another program. README.md has the list.
package attacks_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-faas/sluice/tests/dev"
)

func TestMain(m *testing.M) {
	if os.Getenv(stageVariable) != "" {
		fmt.Fprintln(os.Stderr, "start the gateway:", enterWeakStage()) // it returns only if it could not
		os.Exit(1)
	}
	if _, err := dev.Binary(); err != nil {
		fmt.Fprintln(os.Stderr, "the attacks need the built gateway:", err)
		os.Exit(1)
	}
	// What loses its parent becomes a child of this process, where it is seen.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become the parent of orphans:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
