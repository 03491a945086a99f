package egress_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/egress"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// whitelist is one in memory. See change_test.go for the real one.
type whitelist struct {
	mu        sync.Mutex
	entries   map[string]*lambda.Domain // by account and name
	listeners []func(string)
}

func (l *whitelist) DomainOf(account, host string) (*lambda.Domain, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range lambda.DomainsOf(host) {
		if d := l.entries[account+"/"+name]; d != nil {
			return d, true
		}
	}
	return nil, false
}

func (l *whitelist) OnDomain(f func(string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = append(l.listeners, f)
}

func (l *whitelist) set(account, name string, d *lambda.Domain) {
	l.mu.Lock()
	if d == nil {
		delete(l.entries, account+"/"+name)
	} else {
		l.entries[account+"/"+name] = d
	}
	told := l.listeners
	l.mu.Unlock()
	for _, f := range told {
		f(account)
	}
}

// world is a proxy and what is around it: names that resolve to any address, and
// addresses that lead to servers on loopback, or nowhere.
type world struct {
	t     testing.TB
	proxy *egress.Proxy
	list  *whitelist

	mu       sync.Mutex
	names    map[string][]netip.Addr
	servers  map[string]string // address that is dialled → where it leads
	dialled  []string
	attempts []lambda.Attempt
	asked    []string // names
	clock    atomic.Int64
}

const (
	account = "12345678"
	caller  = "0a8e6a4e-5f43-4f5d-a1c1-5b2b5f8f6a10"
)

func newWorld(t testing.TB, change ...func(*egress.Config)) *world {
	w := &world{t: t, list: &whitelist{entries: map[string]*lambda.Domain{}}, names: map[string][]netip.Addr{}, servers: map[string]string{}}
	c := egress.Config{
		Whitelist: w.list, Resolver: w, Dial: w.dial, Log: zerolog.Nop(),
		Report: func(a lambda.Attempt) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.attempts = append(w.attempts, a)
		},
		Now: func() time.Time { return time.Now().Add(time.Duration(w.clock.Load())) },
	}
	for _, f := range change {
		f(&c)
	}
	var err error
	w.proxy, err = egress.New(c)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, w.proxy.Close(ctx))
	})
	return w
}

func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, host)
	if l := len(host) - 1; l > 0 && host[l] == '.' {
		host = host[:l]
	}
	a, ok := w.names[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return a, nil
}

var errNowhere = errors.New("the test has no server there")

// dial never leaves loopback.
func (w *world) dial(ctx context.Context, _, address string) (net.Conn, error) {
	w.mu.Lock()
	to, ok := w.servers[address]
	w.dialled = append(w.dialled, address)
	w.mu.Unlock()
	if !ok {
		return nil, errNowhere
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	return &distant{conn.(*net.TCPConn), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}, nil
}

// distant is a connection that seems to lead to another address.
type distant struct {
	*net.TCPConn
	remote net.Addr
}

func (d *distant) RemoteAddr() net.Addr { return d.remote }

// host makes a name that resolves to an address, at whose port a server is.
func (w *world) host(name, address string, port string, server *httptest.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[name] = append(w.names[name], netip.MustParseAddr(address))
	if server != nil {
		w.servers[net.JoinHostPort(address, port)] = server.Listener.Addr().String()
	}
}

// list puts an entry on the account's whitelist.
func (w *world) allow(name string) {
	w.list.set(account, name, &lambda.Domain{Account: account, Name: name})
}

func (w *world) allowPrivate(name string) {
	w.list.set(account, name, &lambda.Domain{Account: account, Name: name, PrivateAddresses: true})
}

func (w *world) forbid(name string) { w.list.set(account, name, nil) }

func (w *world) told() []lambda.Attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]lambda.Attempt(nil), w.attempts...)
}

func (w *world) dials() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.dialled...)
}

// connect gives a connection of a process, and a channel that is closed when the
// proxy has done with it.
func (w *world) connect() (net.Conn, <-chan struct{}) { return w.connectAs(account, caller) }

func (w *world) connectAs(account, lambdaID string) (net.Conn, <-chan struct{}) {
	w.t.Helper()
	process, gateway := pair(w.t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.proxy.For(account, lambdaID).ServeConn(context.Background(), gateway)
	}()
	w.t.Cleanup(func() { _ = process.Close() })
	return process, done
}

// pair are the two ends of a connection on loopback.
func pair(t testing.TB) (a, b net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	a, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	b, err = l.Accept()
	require.NoError(t, err)
	return a, b
}

// client is a process's HTTP client, which uses the proxy for everything.
func (w *world) client() *http.Client {
	t := &http.Transport{
		Proxy:       http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:3128"}),
		DialContext: func(context.Context, string, string) (net.Conn, error) { c, _ := w.connect(); return c, nil },
	}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 20 * time.Second}
}

// server runs a handler on loopback.
func server(t testing.TB, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func get(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	res, err := c.Get(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}

func ended(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the connection does not end")
	}
}
