package egress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"

	"github.com/sluice-faas/sluice/gateway/egress"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestAHostOnTheListIsReached(t *testing.T) {
	w := newWorld(t)
	w.host("api.example.com", "93.184.216.34", "80", server(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.RequestURI, r.Header.Get("X-Own"))
	}))
	w.allow("api.example.com")
	req, err := http.NewRequest("GET", "http://API.Example.com./a%2Fb//c?q=1;2&x", nil)
	require.NoError(t, err)
	req.Header.Set("X-Own", "mine")
	res, err := w.client().Do(req)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, "GET api.example.com /a%2Fb//c?q=1;2&x mine", string(b))
	require.Empty(t, res.Header.Get(egress.RuleHeader))
	require.Equal(t, []string{"93.184.216.34:80"}, w.dials())
	a := w.told()
	require.Len(t, a, 1)
	require.Equal(t, lambda.RuleListed, a[0].Rule)
	require.Equal(t, "api.example.com", a[0].Host)
	require.Equal(t, 80, a[0].Port)
	require.Equal(t, "api.example.com", a[0].Entry)
	require.Equal(t, "GET", a[0].Method)
	require.Equal(t, caller, a[0].LambdaID)
	require.Equal(t, 1, a[0].Count)
	require.Equal(t, []string{"api.example.com."}, w.asked, "the name is looked up as it is, and not below the system's own domains")
}

func TestARefusedRequestSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.host("other.example.com", "93.184.216.34", "80", server(t, hello))
	w.allow("api.example.com")
	c := w.client()
	res, body := get(t, c, "http://other.example.com/")
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	require.Equal(t, "You do not have access to the page or resource you are trying to reach\n", body)
	require.Equal(t, "not-listed", res.Header.Get(egress.RuleHeader))
	require.Contains(t, res.Header.Get(egress.MessageHeader), "other.example.com is not on the domain whitelist of account 12345678 (rule not-listed)")
	require.Empty(t, w.dials())
	require.Empty(t, w.asked, "a name that is not listed is not looked up")

	_, err := c.Get("https://other.example.com/")
	require.ErrorContains(t, err, "Forbidden")
	a := w.told()
	require.Len(t, a, 2)
	require.Equal(t, "CONNECT", a[1].Method)
	require.Equal(t, lambda.RuleNotListed, a[1].Rule)
	require.Equal(t, 443, a[1].Port)
}

func TestWhatIsRefused(t *testing.T) {
	w := newWorld(t)
	w.allow("api.example.com")
	w.allow("gone.example.com")
	w.allow("down.example.com")
	w.allow("*.wild.example.com")
	w.host("down.example.com", "93.184.216.34", "80", nil)
	for _, c := range []struct {
		say, request string
		status       int
		rule         lambda.EgressRule
	}{
		{"an address", "GET http://93.184.216.34/ HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"an address in octal", "GET http://0177.0.0.1/ HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"an address in hexadecimal", "CONNECT 0x7f000001:443 HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"an IPv6 address", "CONNECT [::1]:443 HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"a metadata address", "GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"the Host field counts for nothing", "GET http://evil.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n", 403, lambda.RuleNotListed},
		{"a user that looks like the host", "CONNECT api.example.com@evil.example.com:443 HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"a name that the entry is the end of", "CONNECT notapi.example.com:443 HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"a name that begins with the entry", "CONNECT api.example.com.evil.org:443 HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"below an entry without wildcard", "CONNECT a.api.example.com:443 HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"what a wildcard is below of", "CONNECT wild.example.com:443 HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleNotListed},
		{"no whole URL", "GET / HTTP/1.1\r\nHost: api.example.com\r\n", 403, lambda.RuleMethod},
		{"https without a tunnel", "GET https://api.example.com/ HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleMethod},
		{"another scheme", "GET ftp://api.example.com/ HTTP/1.1\r\nHost: x\r\n", 403, lambda.RuleMethod},
		{"OPTIONS of the proxy", "OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\n", 403, lambda.RuleMethod},
		{"a CONNECT with a body", "CONNECT api.example.com:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n", 403, lambda.RuleMethod},
		{"a CONNECT without a port", "CONNECT api.example.com HTTP/1.1\r\nHost: x\r\n", 403, lambda.RulePort},
		{"the port of mail", "CONNECT api.example.com:25 HTTP/1.1\r\nHost: x\r\n", 403, lambda.RulePort},
		{"a name that there is not", "GET http://gone.example.com/ HTTP/1.1\r\nHost: x\r\n", 502, lambda.RuleUnresolved},
		{"where nothing listens", "GET http://down.example.com/ HTTP/1.1\r\nHost: x\r\n", 502, lambda.RuleUnreachable},
		{"where nothing listens, by a tunnel", "CONNECT down.example.com:80 HTTP/1.1\r\nHost: x\r\n", 502, lambda.RuleUnreachable},
	} {
		t.Run(c.say, func(t *testing.T) {
			before := len(w.told())
			conn, done := w.connect()
			_, err := io.WriteString(conn, c.request+"Connection: close\r\n\r\n")
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, c.status, res.StatusCode)
			require.Equal(t, string(c.rule), res.Header.Get(egress.RuleHeader))
			message := res.Header.Get(egress.MessageHeader)
			require.Contains(t, message, "(rule "+string(c.rule)+")")
			require.NoError(t, res.Body.Close())
			require.NoError(t, conn.Close())
			ended(t, done)
			told := w.told()
			require.Len(t, told, before+1)
			require.Equal(t, c.rule, told[before].Rule)
			require.Contains(t, message+"this is a proxy", told[before].Host[:min(1, len(told[before].Host))])
		})
	}
}

func TestGarbageIsNoRequest(t *testing.T) {
	w := newWorld(t)
	for _, request := range []string{
		"GET http://exa%6dple.com/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://a b/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost : x\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	} {
		conn, done := w.connect()
		go func() { _, _ = io.WriteString(conn, request) }()
		if tcp, ok := conn.(*net.TCPConn); ok && request[0] == 0x16 {
			time.AfterFunc(50*time.Millisecond, func() { _ = tcp.CloseWrite() })
		}
		b, _ := io.ReadAll(conn)
		require.Regexp(t, `^(HTTP/1.[01] (400|403|431|501|505) |$)`, string(b), "%.40q", request)
		_ = conn.Close()
		ended(t, done)
	}
	require.Empty(t, w.dials())
}

func TestAfterARefusalTheConnectionGoesOn(t *testing.T) {
	w := newWorld(t)
	w.host("api.example.com", "93.184.216.34", "80", server(t, hello))
	w.allow("api.example.com")
	conn, _ := w.connect()
	r := bufio.NewReader(conn)
	for range 20 {
		for _, c := range []struct {
			request string
			status  int
		}{
			{"GET http://evil.example.com/ HTTP/1.1\r\nHost: evil.example.com\r\n\r\n", 403},
			{"CONNECT evil.example.com:443 HTTP/1.1\r\nHost: evil.example.com\r\n\r\n", 403},
			{"POST http://evil.example.com/ HTTP/1.1\r\nHost: evil.example.com\r\nContent-Length: 3\r\n\r\nabc", 403},
			{"GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 200},
		} {
			_, err := io.WriteString(conn, c.request)
			require.NoError(t, err)
			method, _, _ := strings.Cut(c.request, " ")
			res, err := http.ReadResponse(r, &http.Request{Method: method})
			require.NoError(t, err)
			require.Equal(t, c.status, res.StatusCode)
			_, err = io.Copy(io.Discard, res.Body)
			require.NoError(t, err)
			require.False(t, res.Close)
		}
	}
	require.Len(t, w.dials(), 1, "the connection to the host is kept, too")
}

func TestHeadersOfTheWayAreNotSentOn(t *testing.T) {
	w := newWorld(t)
	got := make(chan http.Header, 1)
	w.host("api.example.com", "93.184.216.34", "80", server(t, func(rw http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		rw.Header().Set(egress.RuleHeader, "not-listed")
		rw.Header().Set(egress.MessageHeader, "forged")
		rw.Header().Set("Proxy-Authenticate", "Basic")
		rw.Header()["Content-Type"] = nil
		rw.Header()["Date"] = nil
		rw.WriteHeader(http.StatusForbidden)
	}))
	w.allow("api.example.com")
	conn, _ := w.connect()
	_, err := io.WriteString(conn, "GET http://me:secret@api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\n"+
		"Connection: X-Hop\r\nX-Hop: 1\r\nTe: gzip\r\nKeep-Alive: 5\r\nX-Forwarded-For: 1.2.3.4\r\nX-Own: 2\r\n\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.Header{"X-Forwarded-For": {"1.2.3.4"}, "X-Own": {"2"}}, <-got)
	require.Equal(t, http.Header{"Content-Length": {"0"}}, res.Header, "and nothing comes back that only the proxy may say")
}

// roots trusts a test server's certificate.
func roots(s *httptest.Server) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{RootCAs: pool, ServerName: "example.com"}
}

func TestHTTPSGoesThroughATunnel(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	w.host("api.example.com", "93.184.216.34", "8443", s)
	w.allow("*.example.com")
	c := w.client()
	transport := c.Transport.(*http.Transport)
	transport.TLSClientConfig, transport.ForceAttemptHTTP2 = roots(s), true
	for range 5 {
		res, body := get(t, c, "https://api.example.com:8443/")
		require.Equal(t, "hello", body)
		require.Equal(t, s.Certificate().Raw, res.TLS.PeerCertificates[0].Raw, "it is the host's own certificate")
		require.Equal(t, 2, res.ProtoMajor, "what is inside is nobody's business")
	}
	require.Len(t, w.told(), 1, "a tunnel is one attempt")
	require.Equal(t, "*.example.com", w.told()[0].Entry)
	require.Equal(t, "93.184.216.34", w.told()[0].Address.String())
}

func TestBodiesOfAnySizeAndShape(t *testing.T) {
	w := newWorld(t)
	w.host("api.example.com", "93.184.216.34", "80", server(t, func(rw http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			rw.WriteHeader(http.StatusTeapot)
			return
		}
		rw.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(rw, "%d %v %d\n", n, r.TransferEncoding, r.ContentLength)
		_ = http.NewResponseController(rw).Flush()
		_, _ = io.CopyN(rw, rand.NewChaCha8([32]byte{1}), 8<<20)
		rw.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
	}))
	w.allow("api.example.com")
	c := w.client()
	body := make([]byte, 9<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(body)
	for _, chunked := range []bool{false, true} {
		var from io.Reader = bytes.NewReader(body)
		want := fmt.Sprintf("%d [] %d\n", len(body), len(body))
		if chunked {
			from, want = struct{ io.Reader }{from}, fmt.Sprintf("%d [chunked] -1\n", len(body))
		}
		res, err := c.Post("http://api.example.com/", "application/octet-stream", from)
		require.NoError(t, err)
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Len(t, got, len(want)+8<<20)
		require.Equal(t, want, string(got[:len(want)]))
		require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(body)), res.Trailer.Get("X-Sum"))
	}
}

func TestEventsComeAsTheyHappen(t *testing.T) {
	w := newWorld(t)
	next := make(chan string)
	w.host("api.example.com", "93.184.216.34", "80", server(t, func(rw http.ResponseWriter, r *http.Request) {
		for text := range next {
			_, _ = io.WriteString(rw, text)
			_ = http.NewResponseController(rw).Flush()
		}
	}))
	w.allow("api.example.com")
	next2 := func(text string) { next <- text }
	go next2("one\n")
	res, err := w.client().Get("http://api.example.com/")
	require.NoError(t, err)
	r := bufio.NewReader(res.Body)
	for _, want := range []string{"one\n", "two\n"} {
		if want != "one\n" {
			next2(want)
		}
		got, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	close(next)
	require.NoError(t, res.Body.Close())
}

// socket is a websocket server that says back what it hears.
func socket(t testing.TB) *httptest.Server {
	return server(t, websocket.Handler(func(c *websocket.Conn) {
		var heard string
		for websocket.Message.Receive(c, &heard) == nil && websocket.Message.Send(c, heard) == nil {
		}
	}).ServeHTTP)
}

func talk(t testing.TB, conn net.Conn, location string) {
	t.Helper()
	config, err := websocket.NewConfig(location, "http://lambda.example.com")
	require.NoError(t, err)
	c, err := websocket.NewClient(config, conn)
	require.NoError(t, err)
	for i := range 50 {
		want := strings.Repeat(fmt.Sprint(i), 1+i*100)
		require.NoError(t, websocket.Message.Send(c, want))
		var got string
		require.NoError(t, websocket.Message.Receive(c, &got))
		require.Equal(t, want, got)
	}
	require.NoError(t, c.Close())
}

// wholeURL is a connection whose first request names a whole URL.
type wholeURL struct {
	net.Conn
	host string
	done bool
}

func (c *wholeURL) Write(b []byte) (int, error) {
	if c.done {
		return c.Conn.Write(b)
	}
	c.done = true
	n := len(b)
	_, err := c.Conn.Write(bytes.Replace(b, []byte("GET /"), []byte("GET http://"+c.host+"/"), 1))
	return n, err
}

func TestWebSocket(t *testing.T) {
	w := newWorld(t)
	w.host("ws.example.com", "93.184.216.34", "80", socket(t))
	w.allow("ws.example.com")

	t.Run("by an upgrade", func(t *testing.T) {
		conn, done := w.connect()
		talk(t, &wholeURL{Conn: conn, host: "ws.example.com"}, "ws://ws.example.com/")
		ended(t, done)
	})
	t.Run("by a tunnel", func(t *testing.T) {
		conn, done := w.connect()
		open(t, conn, "ws.example.com:80")
		talk(t, conn, "ws://ws.example.com/")
		ended(t, done)
	})
	require.Len(t, w.told(), 2)
}

// open opens a tunnel on conn.
func open(t testing.TB, conn net.Conn, to string) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to)
	require.NoError(t, err)
	head := make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n"))
	_, err = io.ReadFull(conn, head)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 200 Connection established\r\n\r\n", string(head))
}

// listener accepts raw connections for a host.
func (w *world) listener(name, address, port string) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = l.Close() })
	w.host(name, address, port, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[net.JoinHostPort(address, port)] = l.Addr().String()
	return l
}

func TestEachDirectionOfATunnelEndsByItself(t *testing.T) {
	w := newWorld(t)
	l := w.listener("raw.example.com", "93.184.216.34", "7000")
	w.allow("raw.example.com")
	conn, done := w.connect()
	// What comes right behind the request is the tunnel's.
	_, err := io.WriteString(conn, "CONNECT raw.example.com:7000 HTTP/1.1\r\nHost: raw.example.com:7000\r\n\r\nearly ")
	require.NoError(t, err)
	host, err := l.Accept()
	require.NoError(t, err)
	_, err = io.WriteString(conn, "late")
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	heard, err := io.ReadAll(host)
	require.NoError(t, err)
	require.Equal(t, "early late", string(heard))
	_, err = io.WriteString(host, "and yet an answer")
	require.NoError(t, err)
	require.NoError(t, host.Close())
	b, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 200 Connection established\r\n\r\nand yet an answer", string(b))
	ended(t, done)
}

func TestTheEndOfTheProcessEndsEverything(t *testing.T) {
	w := newWorld(t)
	l := w.listener("raw.example.com", "93.184.216.34", "7000")
	waits := make(chan struct{})
	w.host("slow.example.com", "93.184.216.35", "80", server(t, func(_ http.ResponseWriter, r *http.Request) {
		close(waits)
		<-r.Context().Done()
	}))
	w.allow("*.example.com")
	for _, c := range []struct {
		say   string
		begin func(conn net.Conn)
	}{
		{"nothing asked", func(net.Conn) {}},
		{"a tunnel", func(conn net.Conn) { open(t, conn, "raw.example.com:7000") }},
		{"a request without an answer", func(conn net.Conn) {
			_, err := io.WriteString(conn, "GET http://slow.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
			require.NoError(t, err)
			<-waits
		}},
	} {
		t.Run(c.say, func(t *testing.T) {
			process, gateway := pair(t)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.proxy.For(account, caller).ServeConn(ctx, gateway)
			}()
			c.begin(process)
			cancel()
			ended(t, done)
			_, err := process.Read(make([]byte, 1))
			require.Error(t, err)
			require.NoError(t, process.Close())
		})
	}
	host, err := l.Accept()
	require.NoError(t, err)
	_, err = host.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err, "the host's side is closed too")
	require.NoError(t, host.Close())
}

func TestCloseEndsEverything(t *testing.T) {
	w := newWorld(t)
	w.listener("raw.example.com", "93.184.216.34", "7000")
	w.allow("*.example.com")
	idle, first := w.connect()
	_, err := io.WriteString(idle, "GET http://a.example.org/ HTTP/1.1\r\nHost: x\r\n\r\n") // taken up: one that comes too late is told so
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(idle), nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	tunnel, second := w.connect()
	open(t, tunnel, "raw.example.com:7000")
	require.NoError(t, w.proxy.Close(t.Context()))
	ended(t, first)
	ended(t, second)
	for name, c := range map[string]net.Conn{"idle": idle, "tunnel": tunnel} {
		b := make([]byte, 64)
		n, err := c.Read(b)
		require.Error(t, err, "%s: %q", name, b[:n])
	}
	_, late := w.connect()
	ended(t, late)
}

func TestARedirectIsDecidedAnew(t *testing.T) {
	w := newWorld(t)
	w.host("api.example.com", "93.184.216.34", "80", server(t, func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, r.URL.Query().Get("to"), http.StatusFound)
	}))
	w.host("inside.example.com", "169.254.169.254", "80", server(t, hello))
	w.allow("*.example.com")
	for to, rule := range map[string]lambda.EgressRule{
		"http://169.254.169.254/latest": lambda.RuleNotListed, "http://[::ffff:169.254.169.254]/": lambda.RuleNotListed,
		"http://inside.example.com/": lambda.RulePrivate, "http://other.example.org/": lambda.RuleNotListed,
	} {
		res, body := get(t, w.client(), "http://api.example.com/?to="+url.QueryEscape(to))
		require.Equal(t, http.StatusForbidden, res.StatusCode)
		require.Equal(t, string(rule), res.Header.Get(egress.RuleHeader))
		require.NotEqual(t, "hello", body)
	}
	for _, d := range w.dials() {
		require.Equal(t, "93.184.216.34:80", d)
	}
}

func TestWhatMovesNothingIsClosed(t *testing.T) {
	w := newWorld(t, func(c *egress.Config) { c.Idle = 100 * time.Millisecond })
	l := w.listener("raw.example.com", "93.184.216.34", "7000")
	w.host("slow.example.com", "93.184.216.35", "80", server(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "some")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	}))
	w.host("mute.example.com", "93.184.216.36", "80", server(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	w.allow("*.example.com")

	t.Run("a tunnel", func(t *testing.T) {
		conn, done := w.connect()
		open(t, conn, "raw.example.com:7000")
		host, err := l.Accept()
		require.NoError(t, err)
		ended(t, done)
		require.NoError(t, host.Close())
	})
	t.Run("a body of the process", func(t *testing.T) {
		conn, done := w.connect()
		_, err := io.WriteString(conn, "POST http://slow.example.com/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
		require.NoError(t, err)
		ended(t, done)
	})
	t.Run("a body of the host", func(t *testing.T) {
		conn, done := w.connect()
		_, err := io.WriteString(conn, "GET http://slow.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		ended(t, done)
	})
	t.Run("a connection between requests", func(t *testing.T) {
		conn, done := w.connect()
		_, err := io.WriteString(conn, "GET http://a.example.org/ HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		ended(t, done)
	})
	t.Run("a host that does not answer is told", func(t *testing.T) {
		conn, _ := w.connect()
		_, err := io.WriteString(conn, "GET http://mute.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadGateway, res.StatusCode)
		require.Equal(t, "unreachable", res.Header.Get(egress.RuleHeader))
		require.NoError(t, res.Body.Close())
	})
}

func TestWhatIsOpenForTooLongIsClosed(t *testing.T) {
	w := newWorld(t)
	w.listener("raw.example.com", "93.184.216.34", "7000")
	w.allow("raw.example.com")
	conn, done := w.connect()
	open(t, conn, "raw.example.com:7000")
	w.clock.Store(int64(egress.DefaultTotal))
	ended(t, done)
}

func TestTooManyConnections(t *testing.T) {
	w := newWorld(t, func(c *egress.Config) { c.Connections = 8 })
	first, done := w.connect()
	w.connect()
	require.Eventually(t, func() bool { return w.proxy.Stats().Connections == 2 }, 5*time.Second, time.Millisecond)
	for range 100 {
		third, ended3 := w.connect()
		res, err := http.ReadResponse(bufio.NewReader(third), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		require.Equal(t, "busy", res.Header.Get(egress.RuleHeader))
		ended(t, ended3)
		_ = third.Close()
	}
	w.connectAs("87654321", caller) // another account has room
	require.Eventually(t, func() bool { return w.proxy.Stats().Connections == 3 }, 5*time.Second, time.Millisecond)
	require.NoError(t, first.Close())
	ended(t, done)
	require.Equal(t, uint64(100), w.proxy.Stats().Attempts[lambda.RuleBusy])
	require.NoError(t, w.proxy.Close(t.Context()))
	all := 0
	for _, a := range w.told() {
		all += a.Count
	}
	require.Equal(t, 100, all, "each is told")
	require.LessOrEqual(t, len(w.told()), 10, "and they are told together")
}

func TestTheRate(t *testing.T) {
	w := newWorld(t, func(c *egress.Config) {
		c.Rate = 20
		at := time.Now()
		c.Now = func() time.Time { return at }
	})
	w.host("api.example.com", "93.184.216.34", "80", server(t, hello))
	w.allow("api.example.com")
	c := w.client()
	for i := range 50 {
		res, body := get(t, c, "http://api.example.com/")
		if i < 20 {
			require.Equal(t, http.StatusOK, res.StatusCode)
			continue
		}
		require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
		require.Equal(t, "1", res.Header.Get("Retry-After"))
		require.Equal(t, "rate", res.Header.Get(egress.RuleHeader))
		require.Contains(t, body, "the limit is 20 requests a second")
	}
	conn, _ := w.connect()
	_, err := io.WriteString(conn, "CONNECT api.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode, "a tunnel counts as one")
	require.NoError(t, res.Body.Close())

	other, _ := w.connectAs(account, "another lambda")
	_, err = io.WriteString(other, "GET http://api.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	res, err = http.ReadResponse(bufio.NewReader(other), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "another lambda has its own")
	require.NoError(t, res.Body.Close())

	w.proxy.SetGateways(4)
	third, _ := w.connectAs(account, "a third lambda")
	r := bufio.NewReader(third)
	for i := range 6 {
		_, err = io.WriteString(third, "GET http://api.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		res, err = http.ReadResponse(r, nil)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		require.Equal(t, i >= 5, res.StatusCode == http.StatusTooManyRequests, "one gateway of four allows its share")
	}
	require.NoError(t, w.proxy.Close(t.Context()))
	count := 0
	for _, a := range w.told() {
		if a.Rule == lambda.RuleRate {
			count += a.Count
		}
	}
	require.Equal(t, 32, count)
}

func TestTenThousandRefusalsLeaveNothing(t *testing.T) {
	w := newWorld(t)
	conn, done := w.connect()
	go func() {
		for range 10_000 {
			_, _ = io.WriteString(conn, "GET http://evil.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}()
	r := bufio.NewReader(conn)
	for range 10_000 {
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusForbidden, res.StatusCode)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
	}
	require.NoError(t, conn.Close())
	ended(t, done)
	require.Equal(t, uint64(10_000), w.proxy.Stats().Attempts[lambda.RuleNotListed])
	require.Zero(t, w.proxy.Stats().Connections)
	// goleak looks in TestMain whether anything else is left.
}
