package egress_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/egress"
)

func TestWhoSendsAByteNowAndThenIsCutOff(t *testing.T) {
	w := newWorld(t, func(c *egress.Config) { c.Idle = 200 * time.Millisecond })
	for _, begin := range []string{"G", "GET http://api.example.com/ HTTP/1.1\r\nHost: x\r\nX-Slow: "} {
		conn, done := w.connect()
		_, err := io.WriteString(conn, begin)
		require.NoError(t, err)
		go func() { // a byte is no head of a request, however many come
			for {
				if _, err := io.WriteString(conn, "a"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		ended(t, done)
	}
	require.Empty(t, w.told())
}

func TestWhoTakesNoAnswerIsCutOff(t *testing.T) {
	w := newWorld(t, func(c *egress.Config) { c.Idle = 200 * time.Millisecond })
	w.host("api.example.com", "93.184.216.34", "80", server(t, func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.CopyN(rw, endless{}, 64<<20)
	}))
	w.allow("api.example.com")
	conn, done := w.connect()
	_, err := io.WriteString(conn, "GET http://api.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	ended(t, done)
}

// What the kernel holds of connections to a host that does not read is nobody's memory.
func TestLittleIsHeldForAHostThatDoesNotRead(t *testing.T) {
	w := newWorld(t)
	l := w.listener("slow.example.com", "93.184.216.34", "443")
	w.allow("slow.example.com")
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	conn, _ := w.connect()
	require.NoError(t, conn.(*net.TCPConn).SetWriteBuffer(16<<10))
	_, err := io.WriteString(conn, "CONNECT slow.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	answer := make([]byte, len("HTTP/1.1 200"))
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 200", string(answer))
	host := <-accepted
	defer func() { _ = host.Close() }()
	require.NoError(t, host.(*net.TCPConn).SetReadBuffer(16<<10))
	held, chunk := 0, make([]byte, 16<<10)
	for err == nil {
		var n int
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
		n, err = conn.Write(chunk)
		held += n
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, held, 2<<20)
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestAnAnswerWithAnEndlessHeadIsNone(t *testing.T) {
	w := newWorld(t)
	l := w.listener("raw.example.com", "93.184.216.34", "80")
	w.allow("raw.example.com")
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for i := 0; err == nil; i++ {
			_, err = fmt.Fprintf(c, "X-%d: %0100d\r\n", i, i)
		}
	}()
	w.refused("GET http://raw.example.com/", "unreachable", "raw.example.com:80 broke off")
}

// answering has a host say the same, byte by byte, to each first request of a connection.
func (w *world) answering(name, ip, text string) {
	l := w.listener(name, ip, "80")
	w.allow(name)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, text)
				}
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
}

// A host that names its answer's length twice is not believed.
func TestAnAnswerOfTwoLengthsIsNone(t *testing.T) {
	w := newWorld(t)
	w.answering("raw.example.com", "93.184.216.34", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 6\r\n\r\nokmore")
	w.refused("GET http://raw.example.com/", "unreachable", "raw.example.com:80")
}

// A host that sends an answer too many speaks for itself alone: what it may spoil
// is its own next answer, and never that of another host, nor the next lambda's.
func TestAHostCannotAnswerForAnother(t *testing.T) {
	w := newWorld(t)
	w.answering("raw.example.com", "93.184.216.34", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
	w.host("api.example.com", "93.184.216.35", "80", server(t, hello))
	w.allow("api.example.com")
	ask := func(conn net.Conn, r *bufio.Reader, host string) string {
		_, err := fmt.Fprintf(conn, "GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n", host)
		require.NoError(t, err)
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(b)
	}
	for range 20 {
		conn, _ := w.connect()
		r := bufio.NewReader(conn)
		require.Equal(t, "ok", ask(conn, r, "raw.example.com"), "nothing is left of what the host sent to others")
		require.Equal(t, "hello", ask(conn, r, "api.example.com"))
		ask(conn, r, "raw.example.com")
		require.Equal(t, "hello", ask(conn, r, "api.example.com"))
	}
}

// Whatever comes, it ends, and nothing but the listed host is dialled.
func FuzzConnection(f *testing.F) {
	w := newWorld(f)
	w.host("api.example.com", "93.184.216.34", "80", server(f, hello))
	w.host("inside.example.com", "127.0.0.1", "80", nil)
	w.allow("*.example.com")
	for _, s := range []string{
		"GET http://api.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT api.example.com:80 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST http://api.example.com/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET http://inside.example.com/ HTTP/1.0\r\n\r\n",
		"GET http://api.example.com/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
		"GET / HTTP/1.1\r\n\r\n", "\x00\xff\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		process, gateway := pair(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.proxy.For(account, caller).ServeConn(context.Background(), gateway)
		}()
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			_, _ = io.Copy(io.Discard, process)
		}()
		_, _ = process.Write(sent)
		_ = process.(*net.TCPConn).CloseWrite()
		ended(t, done)
		<-heard
		_ = process.Close()
		for _, d := range w.dials() {
			if d != "93.184.216.34:80" {
				host, _, err := net.SplitHostPort(d)
				require.NoError(t, err)
				require.Equal(t, "93.184.216.34", host, d)
			}
		}
	})
}

// What a request costs by the proxy, against the same without it.
func BenchmarkRequest(b *testing.B) {
	w := newWorld(b)
	s := server(b, hello)
	w.host("api.example.com", "93.184.216.34", "80", s)
	w.allow("api.example.com")
	run := func(name, url string, c *http.Client) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				res, err := c.Get(url)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	run("direct", s.URL, s.Client())
	run("by the proxy", "http://api.example.com/", w.client())
	c := w.client()
	c.Transport.(*http.Transport).DisableKeepAlives = true
	run("by the proxy, connected anew", "http://api.example.com/", c)
	d := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	run("direct, connected anew", s.URL, d)
	b.Run("by a tunnel for each", func(b *testing.B) {
		for b.Loop() {
			conn, done := w.connect()
			open(b, conn, "api.example.com:80")
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
			<-done
		}
	})
}
