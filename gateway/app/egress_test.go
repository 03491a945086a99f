package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/app"
	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// fetch asks for an URL as a process does: by the proxy that its environment names.
func fetch(text string) (runtime.Result, error) {
	network, address, _ := strings.Cut(os.Getenv("SLUICE_EGRESS"), ":")
	transport := &http.Transport{
		Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:3128"}),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(text)
	if err != nil {
		return runtime.Result{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 100))
	if err != nil {
		return runtime.Result{}, err
	}
	payload, err := json.Marshal(fmt.Sprintf("%d %s %.20s", res.StatusCode, res.Header.Get("X-Sluice-Egress"), body))
	return runtime.Result{Payload: payload}, err
}

func TestALambdaReachesWhatItsAccountAllows(t *testing.T) {
	g := start(t, t.TempDir(), "--limit", "egress-requests=0") // it asks until a change holds
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	inside := "http://localhost:" + port + "/"
	_, adminPort, err := net.SplitHostPort(strings.TrimPrefix(g.Info().URLs.Admin, "http://"))
	require.NoError(t, err)
	brand, admin := g.brand(t), g.as(t, "FaaS-Admin")
	ask := func(url string) string {
		t.Helper()
		answer, err := brand.Invoke(t.Context(), g.Info().Lambda.UUID, map[string]string{"fetch": url})
		require.NoError(t, err)
		var text string
		require.NoError(t, json.Unmarshal(answer, &text))
		return text
	}
	await := func(url, want string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.HasPrefix(ask(url), want) }, 2*time.Second, 20*time.Millisecond)
	}

	require.Equal(t, "403 not-listed You do not have acce", ask(inside))
	require.Contains(t, ask(g.Info().URLs.CSDS+"/limits"), "200  ", "its own gateway")
	d, err := admin.AddDomain(t.Context(), "localhost")
	require.NoError(t, err)
	await(inside, "403 private-address")
	require.NoError(t, admin.DeleteDomain(t.Context(), d.ID))
	_, err = admin.AddPrivateDomain(t.Context(), "localhost")
	require.NoError(t, err)
	await(inside, "200  inside")
	require.Contains(t, ask("http://localhost:"+adminPort+"/metrics"), "403 private-address", "the admin listener is the operator's")

	check, err := admin.CheckEgress(t.Context(), inside)
	require.NoError(t, err)
	require.Equal(t, "allowed", check.Verdict)
	require.Equal(t, "localhost", check.Entry)
	var refused []client.Attempt
	require.Eventually(t, func() bool {
		refused, _, err = admin.Attempts(t.Context(), client.Query{Verdict: "refused", Rules: []string{"not-listed"}})
		return err == nil && len(refused) > 0
	}, 5*time.Second, 20*time.Millisecond)
	require.Equal(t, "localhost", refused[0].Host)
	require.Equal(t, g.Info().Lambda.UUID, refused[0].LambdaID)
	_, metrics := g.admin(t, "/metrics")
	require.Regexp(t, `sluice_egress_attempts_total\{rule="not-listed",verdict="refused"\} [1-9]`, metrics)
}

func TestWhatTheGatewayWorksWithIsOutOfReach(t *testing.T) {
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = admin.Close() }()
	t.Setenv("VAULT_ADDR", "https://vault.internal")
	addresses, hosts := app.OperatorsOnly(admin, "https://etcd.internal:2379", "localhost:2379", "http://127.0.0.1:2379", "[::1]:2379")
	require.Equal(t, []netip.AddrPort{
		netip.MustParseAddrPort(admin.Addr().String()), netip.MustParseAddrPort("127.0.0.1:2379"), netip.MustParseAddrPort("[::1]:2379"),
	}, addresses)
	require.Equal(t, []string{"etcd.internal:2379", "localhost:2379", "vault.internal:443"}, hosts)
}
