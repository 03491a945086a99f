package sandbox

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

// EgressEnv is the variable that tells a process the way to its proxy:
// tcp:127.0.0.1:3128 or unix:/path.
const EgressEnv = "SLUICE_EGRESS"

// egressSocket is the way out of a process without a network of its own, in its
// own folder.
const egressSocket = "egress.sock"

var egressAddress = fmt.Sprintf("127.0.0.1:%d", launch.EgressPort)

// egressEnv are the variables by which libraries find the proxy. way is for
// EgressEnv.
func egressEnv(way string) []string {
	url := "http://" + egressAddress
	return []string{
		"HTTP_PROXY=" + url, "http_proxy=" + url, "HTTPS_PROXY=" + url, "https_proxy=" + url,
		"NO_PROXY=", "no_proxy=", EgressEnv + "=" + way,
	}
}

// listenEgress makes the socket in dir, to which only the owner of dir comes.
func listenEgress(dir string) (net.Listener, error) {
	path := filepath.Join(dir, egressSocket)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	// The process may be another user; the folder lets in nobody else.
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // see above
		_ = l.Close()
		return nil, fmt.Errorf("egress: %w", err)
	}
	return l, nil
}

// egressListener takes over the listening descriptor that the launcher sent.
func egressListener(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "egress")
	defer f.Close() //nolint:errcheck // the listener has a descriptor of its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	return l, nil
}
