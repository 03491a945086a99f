package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// asker asks other hosts as its payload says, and tells what came of it. loads
// stays 1 as long as its process is the same.
const asker = `let loads = 0; const started = Date.now() + '-' + Math.random();
const { Toolbelt } = require('lp-faas-toolbelt');
const seen = (e) => ({ name: e.name, message: e.message, code: e.code, host: e.host, rule: e.rule, cause: e.cause && e.cause.message });
const ways = {
  fetch: async (url, o) => { const r = await fetch(url, o); return { status: r.status, body: await r.text() }; },
  client: (url, o) => Toolbelt.HTTPClient()(url, { simple: false, resolveWithFullResponse: true, ...o }).then((r) => ({ status: r.statusCode, body: r.body })),
  http: (url) => new Promise((done, failed) => require(url.split(':')[0]).get(url, (r) => {
    let body = ''; r.on('data', (d) => body += d); r.on('end', () => done({ status: r.statusCode, body }));
  }).on('error', failed)),
  socket: (url) => new Promise((done, failed) => {
    const s = new WebSocket(url);
    s.onopen = () => s.send('ping'); s.onmessage = (m) => { done({ body: m.data }); s.close(); };
    s.onerror = (e) => failed(e.error || new Error(e.message || 'closed'));
  }),
  many: async (url, n) => (await Promise.all(Array.from({ length: n }, () => fetch(url)))).map((r) => r.status),
};
async function lambda({ payload: { way = 'fetch', url, options } }, callback) {
  callback(null, { started, ...await ways[way](url, options).then((r) => Array.isArray(r) ? { statuses: r } : r, (e) => ({ error: seen(e) })) });
}`

// asked is what became of a request of asker.
type asked struct {
	Started  string `json:"started"`
	Status   int    `json:"status"`
	Body     string `json:"body"`
	Statuses []int  `json:"statuses"`
	Error    struct {
		Name    string `json:"name"`
		Message string `json:"message"`
		Code    string `json:"code"`
		Host    string `json:"host"`
		Rule    string `json:"rule"`
		Cause   string `json:"cause"`
	} `json:"error"`
}

// refusedBody is the proxy's answer to a plain request that it refuses
// (contract/javascript-runtime.md §4).
const refusedBody = "You do not have access to the page or resource you are trying to reach\n"

// changeLimit is how soon a change of the whitelist counts.
const changeLimit = 2 * time.Second

func TestLambdasReachWhatTheWhitelistHas(t *testing.T) {
	t.Parallel()
	near := http.NewServeMux()
	near.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	near.Handle("/metadata", http.RedirectHandler("http://169.254.169.254/latest/meta-data/", http.StatusFound))
	near.Handle("/mapped", http.RedirectHandler("http://[::ffff:127.0.0.1]:8099/", http.StatusFound))
	near.Handle("/echo", websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }})
	near.HandleFunc("/no-socket", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "none here", http.StatusTeapot) })
	plain := httptest.NewServer(near)
	t.Cleanup(plain.Close)
	secure, ca := localhostServer(t, near)
	httpURL, httpsURL := "http://localhost:"+portOf(t, plain.URL), "https://localhost:"+portOf(t, secure.URL)

	g := ownGateway(t, filepath.Join(t.TempDir(), "data"), "--no-sample", "--limit", dev.NoLimits, "--limit", "egress-requests=60", "--egress-ca-file", ca)
	admin, reader := as(t, g, "FaaS-Admin"), as(t, g, invocationRole)
	l := deployed(t, developer(t, g), "asker", asker)
	ask := func(t *testing.T, way, url string, options ...any) (asked, *client.ManualResult) {
		t.Helper()
		payload := map[string]any{"way": way, "url": url}
		if len(options) > 0 {
			payload["options"] = options[0]
		}
		r, err := developer(t, g).InvokeManual(t.Context(), l.ID, payload)
		require.NoError(t, err)
		var a asked
		require.NoError(t, json.Unmarshal(r.Result, &a), "%s", r.Result)
		return a, r
	}
	// refused is a request over TLS that must fail with an error that says why.
	refused := func(t *testing.T, way, url, rule string) {
		t.Helper()
		a, r := ask(t, way, url)
		require.Equal(t, "EGRESS_DENIED", a.Error.Code, "%+v", a)
		require.Equal(t, rule, a.Error.Rule, "%+v", a)
		require.Contains(t, a.Error.Message, "localhost")
		require.Len(t, r.Logs, 1, "the log says it, once")
		require.Contains(t, r.Logs[0].Message, "localhost")
		require.Contains(t, r.Logs[0].Message, rule)
	}

	t.Run("no entry", func(t *testing.T) {
		for _, way := range []string{"fetch", "client", "http"} {
			a, r := ask(t, way, httpURL+"/hello")
			require.Equal(t, http.StatusForbidden, a.Status, "%s: %+v", way, a)
			require.Equal(t, refusedBody, a.Body)
			require.Len(t, r.Logs, 1, way)
			require.Contains(t, r.Logs[0].Message, "localhost")
			refused(t, way, httpsURL+"/hello", "not-listed")
		}
		refused(t, "socket", "wss://localhost:"+portOf(t, secure.URL)+"/echo", "not-listed")
	})

	before, _ := ask(t, "fetch", httpURL+"/hello")
	var entry *client.Domain
	t.Run("an entry without private addresses", func(t *testing.T) {
		var err error
		entry, err = admin.AddDomain(t.Context(), "localhost")
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			a, _ := ask(t, "fetch", httpsURL+"/hello")
			return a.Error.Rule == "private-address"
		}, changeLimit, 50*time.Millisecond)
		refused(t, "client", httpsURL+"/hello", "private-address")
	})

	t.Run("an entry with them", func(t *testing.T) {
		require.NoError(t, admin.DeleteDomain(t.Context(), entry.ID))
		var err error
		entry, err = admin.AddPrivateDomain(t.Context(), "localhost")
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			a, _ := ask(t, "fetch", httpURL+"/hello")
			return a.Status == http.StatusOK
		}, changeLimit, 50*time.Millisecond)
		for _, way := range []string{"fetch", "client", "http"} {
			for _, base := range []string{httpURL, httpsURL} {
				a, r := ask(t, way, base+"/hello")
				require.Equal(t, "hello", a.Body, "%s %s: %+v", way, base, a)
				require.Empty(t, r.Logs)
				require.Equal(t, before.Started, a.Started, "the same process: nothing was deployed anew")
			}
		}
		for _, url := range []string{"ws://localhost:" + portOf(t, plain.URL) + "/echo", "wss://localhost:" + portOf(t, secure.URL) + "/echo"} {
			a, _ := ask(t, "socket", url)
			require.Equal(t, "ping", a.Body, "%s: %+v", url, a)
		}
		a, _ := ask(t, "socket", "ws://localhost:"+portOf(t, plain.URL)+"/no-socket")
		require.NotEmpty(t, a.Error.Name, "%+v", a)
		require.Empty(t, a.Error.Rule, "the host itself refused this: %+v", a)
	})

	t.Run("a redirect leads to no other host", func(t *testing.T) {
		for _, way := range []string{"fetch", "client"} {
			for _, path := range []string{"/metadata", "/mapped"} {
				a, _ := ask(t, way, httpURL+path)
				require.Equal(t, http.StatusForbidden, a.Status, "%s %s: %+v", way, path, a)
				require.Equal(t, refusedBody, a.Body)
			}
		}
		a, _ := ask(t, "fetch", "http://127.0.0.1:"+portOf(t, plain.URL)+"/hello")
		require.Equal(t, http.StatusForbidden, a.Status, "an address is no name on the list")
	})

	t.Run("more requests than the rate", func(t *testing.T) {
		a, _ := ask(t, "many", httpURL+"/hello", 200)
		counts := map[int]int{}
		for _, s := range a.Statuses {
			counts[s]++
		}
		require.Positive(t, counts[http.StatusOK], "%v", counts)
		require.Positive(t, counts[http.StatusTooManyRequests], "%v", counts)
		require.Equal(t, 200, counts[http.StatusOK]+counts[http.StatusTooManyRequests], "%v", counts)
	})

	t.Run("an entry that is taken away", func(t *testing.T) {
		require.NoError(t, admin.DeleteDomain(t.Context(), entry.ID))
		require.Eventually(t, func() bool {
			a, _ := ask(t, "fetch", httpURL+"/hello")
			return a.Status == http.StatusForbidden
		}, changeLimit, 50*time.Millisecond)
	})

	t.Run("every attempt is in the journal", func(t *testing.T) {
		require.Eventually(t, func() bool {
			found := map[string]int{}
			for _, verdict := range []string{"allowed", "refused"} {
				list, _, err := reader.Attempts(t.Context(), client.Query{LambdaID: l.ID, Verdict: verdict, Limit: 500})
				require.NoError(t, err)
				for _, a := range list {
					if a.Rule == "rate" { // told together, with the host of the first
						a.Host = "any"
					}
					found[a.Rule+" "+a.Host]++
				}
			}
			for _, wanted := range []string{"listed localhost", "not-listed localhost", "private-address localhost", "not-listed 169.254.169.254", "rate any"} {
				if found[wanted] == 0 {
					t.Logf("%q is missing in %v", wanted, found)
					return false
				}
			}
			return true
		}, 10*time.Second, 500*time.Millisecond)
	})
}

func portOf(t *testing.T, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	return u.Port()
}

// localhostServer serves TLS as localhost, with a certificate whose CA is in file.
func localhostServer(t *testing.T, handler http.Handler) (s *httptest.Server, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)) //nolint:gosec // a certificate is public
	s = httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, file
}
