package app_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/app"
)

// drip sends one byte now and then until the far side has had enough.
func drip(w io.Writer) {
	for {
		if _, err := w.Write([]byte(" ")); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// half begins a request that is never sent to its end, and closes the
// connection when the test ends.
func half(t *testing.T, conn net.Conn, head string) {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	_, err := io.WriteString(conn, head)
	require.NoError(t, err)
	go drip(conn)
}

func TestWhoDoesNotSendDoesNotHoldTheStop(t *testing.T) {
	g, err := open(t, t.TempDir())
	require.NoError(t, err)
	i := g.Info()
	token, err := g.brand(t).Token(t.Context())
	require.NoError(t, err)
	ca := x509.NewCertPool()
	require.True(t, ca.AppendCertsFromPEM([]byte(read(t, i.CA))))
	trust := &tls.Config{RootCAs: ca}
	invoke := "/api/account/" + i.AccountID + "/lambdas/" + i.Lambda.UUID + "/invoke?v=1&userId=x"
	post := func(path, header string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n" + header + "\r\n{"
	}
	plain := func() net.Conn {
		conn, err := net.Dial("tcp", address(t, i.URLs.CSDS))
		require.NoError(t, err)
		return conn
	}
	encrypted := func() net.Conn {
		conn, err := tls.Dial("tcp", address(t, i.URLs.FaasGW), trust)
		require.NoError(t, err)
		return conn
	}
	bearer := "Authorization: Bearer " + token + "\r\n"
	half(t, plain(), post(invoke, bearer))
	half(t, encrypted(), post(invoke, bearer))
	half(t, plain(), post(invoke, ""))          // answered before its body is read
	half(t, plain(), post("/no/such/path", "")) // likewise
	half(t, plain(), "POST "+invoke+" HTTP/1.1\r\nHost: ")
	half(t, plain(), "")
	silent := plain()
	t.Cleanup(func() { _ = silent.Close() })
	secondary := make(chan struct{})
	go func() { // over HTTP/2, on one connection with a call that is to finish
		defer close(secondary)
		transport := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		h2(t, transport, i.URLs.FaasGW+invoke, token)
	}()
	requireMetric(t, g, "sluice_calls_open 1")
	time.Sleep(100 * time.Millisecond) // for the halves to be in their handlers

	began := time.Now()
	require.NoError(t, g.Close(context.Background()), "nothing of value was cut off")
	require.Less(t, time.Since(began), 12*time.Second)
	<-secondary
}

// h2 begins a body that never ends, and makes a call of four seconds beside it.
func h2(t *testing.T, transport *http.Transport, address, token string) {
	request := func(body io.Reader) *http.Request {
		req, err := http.NewRequest(http.MethodPost, address, body)
		if err != nil {
			t.Error(err)
			return nil
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		return req
	}
	client := &http.Client{Transport: transport}
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	go drip(w)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		resp, err := client.Do(request(r))
		_ = r.Close()
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				t.Error("half a body was taken for a call")
			}
		}
	}()
	rr, ww := io.Pipe()
	go func() {
		_, _ = fmt.Fprintf(ww, `{"payload":{"sleep":%d}}`, 4*time.Second)
		_ = ww.Close()
	}()
	resp, err := client.Do(request(rr))
	if err != nil {
		t.Error(err)
		return
	}
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
		t.Errorf("HTTP/%d, status %d", resp.ProtoMajor, resp.StatusCode)
	}
	_ = resp.Body.Close()
	<-ended
}

func address(t *testing.T, base string) string {
	t.Helper()
	u, err := url.Parse(base)
	require.NoError(t, err)
	return u.Host
}

func TestABodyThatEndsDuringTheStopIsCalled(t *testing.T) {
	g, err := open(t, t.TempDir())
	require.NoError(t, err)
	i := g.Info()
	token, err := g.brand(t).Token(t.Context())
	require.NoError(t, err)
	conn, err := net.Dial("tcp", address(t, i.URLs.CSDS))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	body := fmt.Sprintf(`{"payload":{"sleep":%d}}`, 4*time.Second) // longer than a slow body is waited for
	_, err = fmt.Fprintf(conn, "POST /api/account/%s/lambdas/%s/invoke?v=1&userId=x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		i.AccountID, i.Lambda.UUID, token, len(body), body[:5])
	require.NoError(t, err)
	time.Sleep(100 * time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- g.Close(context.Background()) }()
	require.Eventually(t, func() bool {
		status, _ := g.admin(t, "/readyz")
		return status == http.StatusServiceUnavailable
	}, 5*time.Second, 5*time.Millisecond)
	time.Sleep(300 * time.Millisecond) // the stop has begun to hurry
	_, err = io.WriteString(conn, body[5:])
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, <-closed)
}

func TestADrainThatRunsOutIsSaidAndIsNoError(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var log output
	s, err := app.ServeForTest(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-leave
	}), 100*time.Millisecond, &log)
	require.NoError(t, err)
	t.Cleanup(func() { close(leave) })
	go func() {
		resp, err := http.Get("http://" + s.Addr)
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-entered
	require.NoError(t, s.Stop(t.Context()))
	require.Contains(t, log.String(), `"level":"warn"`)
	require.Contains(t, log.String(), `"requests":1`)
}
