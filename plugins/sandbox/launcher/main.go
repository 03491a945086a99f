// Command sluice-sandbox starts a runtime process in its sandbox. A gateway starts
// it; by hand it does nothing.
package main

import (
	"fmt"
	"os"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

func main() {
	launch.Main()
	fmt.Fprintln(os.Stderr, "sluice-sandbox is started by the gateway; see sluice sandbox check")
	os.Exit(2)
}
