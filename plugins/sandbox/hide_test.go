package sandbox_test

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sluice-faas/sluice/plugins/sandbox"
)

func TestAHiddenProcessCannotBeReadByOthersOfItsUser(t *testing.T) {
	require.NoError(t, sandbox.HideSelf())
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	require.NoError(t, err)
	require.Zero(t, dumpable)
	if os.Getuid() == 0 {
		return // root reads everything, and a user without rights cannot be us
	}
	read := exec.Command("/bin/cat", "/proc/"+strconv.Itoa(syscall.Getpid())+"/environ")
	require.Error(t, read.Run())
}
