package attacks_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// world is what is beside the gateway on the host: servers that nothing hostile
// may reach. They count what reached them all the same.
type world struct {
	tcp      net.Listener
	udp      net.PacketConn
	unix     net.Listener
	nameless net.Listener
	web      *httptest.Server
	path     string
	abstract string
	free     int // a port that nobody listens on

	addon, extension string // native code, in base64

	reached struct{ tcp, udp, unix, web, redirected atomic.Int64 }
}

func openWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	var err error
	w.tcp, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go count(w.tcp, &w.reached.tcp)
	w.udp, err = net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		buffer := make([]byte, 2048)
		for {
			if _, _, err := w.udp.ReadFrom(buffer); err != nil {
				return
			}
			w.reached.udp.Add(1)
		}
	}()
	dir := scratch(t)
	w.path = filepath.Join(dir, "open.sock")
	w.unix, err = net.Listen("unix", w.path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(w.path, 0o777)) //nolint:gosec // only the sandbox is to stand in the way
	go count(w.unix, &w.reached.unix)
	w.abstract = fmt.Sprintf("sluice-open-%d-%s", os.Getpid(), filepath.Base(dir))
	w.nameless, err = net.Listen("unix", "@"+w.abstract)
	require.NoError(t, err)
	go count(w.nameless, &w.reached.unix)
	w.web = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.reached.web.Add(1)
		if to := r.URL.Query().Get("to"); to != "" {
			w.reached.redirected.Add(1)
			http.Redirect(rw, r, to, http.StatusFound)
			return
		}
		_, _ = rw.Write([]byte("the secret of this host")) // the attack's business
	}))
	spare, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.free = spare.Addr().(*net.TCPAddr).Port
	require.NoError(t, spare.Close())
	w.addon, w.extension = native(t, dir, "addon.c"), native(t, dir, "extension.c")
	t.Cleanup(func() {
		for _, l := range []net.Listener{w.tcp, w.unix, w.nameless} {
			_ = l.Close() // nothing follows
		}
		_ = w.udp.Close()
		w.web.Close()
	})
	return w
}

// count takes connections and closes them.
func count(l net.Listener, n *atomic.Int64) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		n.Add(1)
		_ = conn.Close() // nothing was sent
	}
}

// native compiles a small library; empty where there is no compiler, and then its
// attacks are left out.
func native(t *testing.T, dir, source string) string {
	t.Helper()
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		return ""
	}
	out := filepath.Join(dir, source+".so")
	text, err := exec.CommandContext(t.Context(), compiler, "-shared", "-fPIC", "-Os", "-s", "-o", out, filepath.Join("lambdas", source)).CombinedOutput()
	require.NoError(t, err, "%s", text)
	bytes, err := os.ReadFile(out)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(bytes)
}

func (w *world) ports(t *testing.T, services map[string]string) map[string]int {
	t.Helper()
	ports := map[string]int{
		"tcp": w.tcp.Addr().(*net.TCPAddr).Port, "udp": w.udp.LocalAddr().(*net.UDPAddr).Port,
		"web": portOf(t, w.web.URL), "free": w.free,
	}
	for name, address := range services {
		ports[name] = portOf(t, address)
	}
	return ports
}

// total is how many connections and datagrams arrived that should not have.
func (w *world) total() int64 {
	return w.reached.tcp.Load() + w.reached.udp.Load() + w.reached.unix.Load() + w.reached.web.Load() - w.reached.redirected.Load()
}

// owns tells the processes of the world, of which there are none yet.
func (w *world) owns(int) bool { return false }
