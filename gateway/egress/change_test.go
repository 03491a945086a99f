package egress_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"

	"github.com/sluice-faas/sluice/gateway/egress"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
)

// effect is how soon a change of the whitelist holds.
const effect = 2 * time.Second

// openStore opens a store over an etcd of its own.
func openStore(t *testing.T) (*store.Store, *store.Views) {
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	etcd, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, etcd.Close()) })
	s := store.New(etcd.Client(), zerolog.Nop())
	require.NoError(t, s.Open(t.Context()))
	v, err := s.OpenViews(t.Context())
	require.NoError(t, err)
	t.Cleanup(v.Close)
	return s, v
}

func add(t *testing.T, s *store.Store, name string, private bool) int {
	t.Helper()
	d, err := s.CreateDomain(t.Context(), lambda.Domain{Account: account, Name: name, PrivateAddresses: private, CreatedAt: time.Now()}, nil)
	require.NoError(t, err)
	return d.ID
}

func within(t *testing.T, begin time.Time, done <-chan struct{}) {
	t.Helper()
	ended(t, done)
	require.Less(t, time.Since(begin), effect)
}

func TestAChangeOfTheWhitelistHoldsAtOnce(t *testing.T) {
	s, v := openStore(t)
	w := newWorld(t, func(c *egress.Config) { c.Whitelist = v })
	w.host("api.example.com", "93.184.216.34", "80", server(t, hello))
	w.host("inside.example.com", "10.0.0.1", "80", server(t, hello))
	w.host("slow.example.com", "93.184.216.35", "80", server(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "some")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	}))
	w.host("ws.example.com", "93.184.216.36", "80", socket(t))
	await := func(request string, status int) {
		t.Helper()
		begin := time.Now()
		require.Eventually(t, func() bool { res, _ := w.ask(request); return res.StatusCode == status }, effect, 10*time.Millisecond)
		require.Less(t, time.Since(begin), effect)
	}

	await("GET http://api.example.com/", http.StatusForbidden)
	exact := add(t, s, "api.example.com", false)
	await("GET http://api.example.com/", http.StatusOK)
	wild := add(t, s, "*.example.com", false)
	await("GET http://new.example.com/", http.StatusBadGateway) // there is no such name, but it may be asked for

	// What is open of an entry that goes is closed, what another one allows is not.
	stays, stayed := w.connect()
	open(t, stays, "api.example.com:80")
	tunnel, tunnelEnded := w.connect()
	open(t, tunnel, "ws.example.com:80")
	answer, answerEnded := w.connect()
	_, err := io.WriteString(answer, "GET http://slow.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	_, err = answer.Read(make([]byte, 10))
	require.NoError(t, err)
	upgraded, upgradedEnded := w.connect()
	config, err := websocket.NewConfig("ws://ws.example.com/", "http://lambda.example.com")
	require.NoError(t, err)
	chat, err := websocket.NewClient(config, &wholeURL{Conn: upgraded, host: "ws.example.com"})
	require.NoError(t, err)
	require.NoError(t, websocket.Message.Send(chat, "there"))
	var heard string
	require.NoError(t, websocket.Message.Receive(chat, &heard))
	require.Equal(t, "there", heard)

	begin := time.Now()
	require.NoError(t, s.DeleteDomain(t.Context(), account, wild))
	within(t, begin, tunnelEnded)
	within(t, begin, answerEnded)
	within(t, begin, upgradedEnded)
	for _, c := range []net.Conn{tunnel, answer, upgraded} {
		_, err := io.Copy(io.Discard, c)
		_ = err // closed, or reset: it is over
	}
	select {
	case <-stayed:
		require.FailNow(t, "a tunnel that is still allowed was closed")
	default:
	}
	await("GET http://new.example.com/", http.StatusForbidden)
	begin = time.Now()
	require.NoError(t, s.DeleteDomain(t.Context(), account, exact))
	within(t, begin, stayed)

	// The permission for private addresses, too.
	private := add(t, s, "inside.example.com", true)
	await("GET http://inside.example.com/", http.StatusOK)
	tunnel, tunnelEnded = w.connect()
	open(t, tunnel, "inside.example.com:80")
	begin = time.Now()
	require.NoError(t, s.DeleteDomain(t.Context(), account, private))
	add(t, s, "inside.example.com", false)
	within(t, begin, tunnelEnded)
	await("GET http://inside.example.com/", http.StatusForbidden)
}

func TestAKeptConnectionDoesNotOutliveItsPermission(t *testing.T) {
	w := newWorld(t)
	w.host("inside.example.com", "10.0.0.1", "80", server(t, hello))
	w.allowPrivate("inside.example.com")
	conn, _ := w.connect()
	r := bufio.NewReader(conn)
	read := func() string {
		_, err := io.WriteString(conn, "GET http://inside.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return w.proxy.Busy() == 0 }, 5*time.Second, time.Millisecond)
		return res.Status
	}
	require.Equal(t, "200 OK", read())
	w.forbid("inside.example.com")
	w.allow("inside.example.com")
	require.Equal(t, "403 Forbidden", read(), "the kept connection to the private address is not used")
	require.Len(t, w.dials(), 1)
}

var _ egress.Whitelist = (*store.Views)(nil)
