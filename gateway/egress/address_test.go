package egress_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/egress"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// ask sends one request on a connection of its own and gives the answer, read.
func (w *world) ask(request string) (*http.Response, string) {
	w.t.Helper()
	conn, done := w.connect()
	_, err := io.WriteString(conn, request+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.NoError(w.t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(w.t, err)
	if res.StatusCode == http.StatusOK && request[:1] == "C" {
		require.NoError(w.t, conn.Close())
		ended(w.t, done)
		return res, ""
	}
	b, err := io.ReadAll(res.Body)
	require.NoError(w.t, err)
	require.NoError(w.t, conn.Close())
	ended(w.t, done)
	return res, string(b)
}

func (w *world) refused(request string, rule lambda.EgressRule, says ...string) {
	w.t.Helper()
	res, _ := w.ask(request)
	require.Equal(w.t, string(rule), res.Header.Get(egress.RuleHeader), request)
	for _, s := range says {
		require.Contains(w.t, res.Header.Get(egress.MessageHeader), s)
	}
}

func TestANameThatLeadsInsideIsRefused(t *testing.T) {
	w := newWorld(t)
	w.allow("*.example.com")
	for name, address := range map[string]string{
		"a": "127.0.0.1", "b": "10.1.2.3", "c": "192.168.0.1", "d": "169.254.169.254", "e": "::1", "f": "fd00::1", "g": "::ffff:127.0.0.1",
		"h": "64:ff9b::a9fe:a9fe", "i": "64:ff9b:1::7f00:1", "j": "2002:7f00:1::", "k": "0.0.0.0", "l": "100.64.0.1", "m": "224.0.0.1", "n": "fe80::1",
	} {
		w.host(name+".example.com", address, "80", nil)
		w.refused("GET http://"+name+".example.com/", lambda.RulePrivate, name+".example.com may not be reached", "(rule private-address)")
		w.refused("CONNECT "+name+".example.com:80", lambda.RulePrivate)
		require.Equal(t, netip.MustParseAddr(address).Unmap(), w.told()[len(w.told())-1].Address)
	}
	require.Empty(t, w.dials())
}

func TestAnEntryCanPermitPrivateAddresses(t *testing.T) {
	w := newWorld(t)
	s := server(t, hello)
	for name, address := range map[string]string{"a.example.com": "10.1.2.3", "b.example.com": "::1", "c.example.com": "100.64.0.1", "meta.example.com": "169.254.169.254", "any.example.com": "0.0.0.0"} {
		w.host(name, address, "80", s)
	}
	w.allowPrivate("*.example.com")
	for _, name := range []string{"a", "b", "c"} {
		res, body := w.ask("GET http://" + name + ".example.com/")
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, "hello", body)
		res, _ = w.ask("CONNECT " + name + ".example.com:80")
		require.Equal(t, http.StatusOK, res.StatusCode)
	}
	// What gives out credentials stays out of reach.
	w.refused("GET http://meta.example.com/", lambda.RulePrivate, "169.254.169.254 has a special purpose, and no entry permits it")
	w.refused("GET http://any.example.com/", lambda.RulePrivate)
	// The closest entry counts, also where it permits less.
	w.allow("a.example.com")
	w.refused("GET http://a.example.com/", lambda.RulePrivate, "an administrator can add an entry")
}

func TestTheOperatorSaysWhichPrivateNetworksEntriesCanPermit(t *testing.T) {
	s := server(t, hello)
	for _, c := range []struct {
		networks []netip.Prefix
		want     map[string]int
	}{
		{nil, map[string]int{"office.example.com": http.StatusOK, "here.example.com": http.StatusOK, "service.example.com": http.StatusOK}},
		{[]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, map[string]int{"office.example.com": http.StatusOK, "here.example.com": http.StatusForbidden, "service.example.com": http.StatusOK}},
		{[]netip.Prefix{}, map[string]int{"office.example.com": http.StatusForbidden, "here.example.com": http.StatusForbidden, "service.example.com": http.StatusOK}},
	} {
		w := newWorld(t, func(e *egress.Config) { e.PrivateNetworks, e.Services = c.networks, []string{"service.example.com:80"} })
		for name, address := range map[string]string{"office.example.com": "10.1.2.3", "here.example.com": "127.0.0.1", "service.example.com": "127.0.0.2"} {
			w.host(name, address, "80", s)
		}
		w.allowPrivate("*.example.com")
		for name, status := range c.want {
			res, _ := w.ask("GET http://" + name + "/")
			require.Equal(t, status, res.StatusCode, "%s with %v", name, c.networks)
			if status == http.StatusForbidden {
				w.refused("CONNECT "+name+":80", lambda.RulePrivate, "in none of the private networks that the operator of the gateway opens to lambdas")
			}
		}
	}
}

func TestOfSeveralAddressesOnlyTheOpenOnesAreTried(t *testing.T) {
	w := newWorld(t)
	w.allow("api.example.com")
	w.host("api.example.com", "127.0.0.1", "80", nil)
	w.host("api.example.com", "93.184.216.30", "80", nil) // nobody answers there
	w.host("api.example.com", "93.184.216.34", "80", server(t, hello))
	w.host("api.example.com", "10.0.0.1", "80", nil)
	res, body := w.ask("GET http://api.example.com/")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "hello", body)
	require.Equal(t, []string{"93.184.216.30:80", "93.184.216.34:80"}, w.dials())
	require.Equal(t, "93.184.216.34", w.told()[0].Address.String())
}

// rebinder gives another answer every time.
type rebinder struct {
	asked   atomic.Int64
	answers []netip.Addr
}

func (r *rebinder) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	n := r.asked.Add(1) - 1
	return r.answers[int(n)%len(r.answers):][:1], nil
}

func TestTheAddressThatWasCheckedIsTheOneThatIsDialled(t *testing.T) {
	r := &rebinder{answers: []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("169.254.169.254")}}
	w := newWorld(t, func(c *egress.Config) { c.Resolver = r })
	w.host("", "93.184.216.34", "80", server(t, hello))
	w.allow("rebind.example.com")
	for i := range 10 {
		res, _ := w.ask("GET http://rebind.example.com/")
		require.Equal(t, int64(i+1), r.asked.Load(), "a name is looked up once for each request")
		want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[i%2 == 0]
		require.Equal(t, want, res.StatusCode)
	}
	for _, d := range w.dials() {
		require.Equal(t, "93.184.216.34:80", d)
	}
}

func TestWhatEveryLambdaMayReach(t *testing.T) {
	gateway := server(t, hello)
	_, port, err := net.SplitHostPort(gateway.Listener.Addr().String())
	require.NoError(t, err)
	denied := netip.MustParseAddrPort("127.0.0.1:9090")
	w := newWorld(t, func(c *egress.Config) {
		c.Services = []string{gateway.Listener.Addr().String(), "gw.internal.example:8443", "plain.example"}
		c.Denied = []netip.AddrPort{denied}
	})
	w.host("", "127.0.0.1", port, gateway)
	w.host("gw.internal.example", "10.0.0.9", "8443", gateway)
	w.host("plain.example", "10.0.0.9", "443", nil)
	w.host("z1.msghist.liveperson.net", "93.184.216.34", "443", gateway)
	w.host("api.liveperson.net", "93.184.216.35", "443", nil)
	w.host("evil.v.liveperson.net", "10.0.0.8", "443", gateway)

	res, body := w.ask("GET http://127.0.0.1:" + port + "/")
	require.Equal(t, http.StatusOK, res.StatusCode, "its own gateway, by address and port")
	require.Equal(t, "hello", body)
	require.Equal(t, lambda.RuleService, w.told()[0].Rule)
	res, _ = w.ask("CONNECT gw.internal.example:8443")
	require.Equal(t, http.StatusOK, res.StatusCode)
	res, _ = w.ask("CONNECT z1.msghist.liveperson.net:443")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "*.msghist.liveperson.net", w.told()[2].Entry)
	require.Equal(t, lambda.RuleOpen, w.told()[2].Rule)
	w.refused("CONNECT api.liveperson.net:443", lambda.RuleUnreachable)
	w.refused("CONNECT plain.example:443", lambda.RuleUnreachable)

	w.refused("CONNECT evil.v.liveperson.net:443", lambda.RulePrivate)
	w.refused("GET http://plain.example/", lambda.RuleNotListed)
	w.refused("CONNECT gw.internal.example:443", lambda.RuleNotListed)
	w.refused("CONNECT msghist.liveperson.net:443", lambda.RuleNotListed)
	w.refused("CONNECT www.liveperson.net:443", lambda.RuleNotListed)
	w.refused("CONNECT 127.0.0.1:9090", lambda.RuleNotListed)

	// The operator's own are out of reach, whatever an administrator permits.
	w.host("localhost", "127.0.0.1", "9090", nil)
	w.allowPrivate("localhost")
	w.refused("CONNECT localhost:9090", lambda.RulePrivate, "127.0.0.1:9090 is the operator's alone")
	w.refused("CONNECT localhost:9091", lambda.RuleUnreachable)
}

// An operator names what the gateway works with, more often than not.
func TestTheOperatorsOwnByName(t *testing.T) {
	w := newWorld(t, func(c *egress.Config) {
		c.DeniedHosts = []string{"store.internal:2379", "lost.internal:4444", "vault.example.com"}
	})
	w.host("store.internal", "10.0.0.5", "2379", nil)
	w.host("store.internal", "10.0.0.5", "80", nil)
	w.host("alias.internal", "::ffff:10.0.0.5", "2379", nil)
	w.host("other.internal", "10.0.0.6", "2379", nil)
	w.host("other.internal", "10.0.0.6", "4444", nil)
	w.host("vault.example.com", "93.184.216.34", "443", nil)
	w.host("www.example.com", "93.184.216.35", "443", nil)
	for _, name := range []string{"store.internal", "alias.internal", "other.internal"} {
		w.allowPrivate(name)
	}
	w.allow("*.example.com")
	w.refused("CONNECT store.internal:2379", lambda.RulePrivate, "the operator's alone")
	w.refused("CONNECT alias.internal:2379", lambda.RulePrivate, "10.0.0.5]:2379 is the operator's alone")
	w.refused("CONNECT other.internal:4444", lambda.RulePrivate, "the operator's alone")
	w.refused("CONNECT vault.example.com:443", lambda.RulePrivate, "the operator's alone")
	require.Empty(t, w.dials())
	w.refused("CONNECT other.internal:2379", lambda.RuleUnreachable)
	w.refused("CONNECT store.internal:80", lambda.RuleUnreachable)
	asked := len(w.asked)
	w.refused("CONNECT www.example.com:443", lambda.RuleUnreachable)
	require.Len(t, w.asked, asked+1, "its own name alone")
}

func TestCheckTellsWhatWouldBecomeOfARequest(t *testing.T) {
	w := newWorld(t)
	w.host("api.example.com", "93.184.216.34", "443", nil)
	w.host("api.example.com", "10.0.0.1", "443", nil)
	w.host("inside.example.com", "10.0.0.1", "443", nil)
	w.allow("*.example.com")
	check := func(url string) egress.Check {
		t.Helper()
		c, err := w.proxy.Check(t.Context(), account, url)
		require.NoError(t, err)
		return c
	}
	c := check("wss://API.example.com/x?y#z")
	require.Equal(t, egress.Check{
		Rule: lambda.RuleListed, Scheme: "wss", Host: "api.example.com", Port: 443, Entry: "*.example.com",
		Message:   "api.example.com:443 may be reached (rule listed), but for 1 of its 2 addresses, which are private or special",
		Addresses: []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("10.0.0.1")},
	}, c)
	c = check("http://inside.example.com:8080/")
	require.Equal(t, lambda.RulePrivate, c.Rule)
	require.Equal(t, 8080, c.Port)
	require.Contains(t, c.Message, "10.0.0.1 is a private address")
	require.Len(t, c.Addresses, 1)
	require.Equal(t, lambda.RuleUnresolved, check("https://gone.example.com").Rule)
	asked := len(w.asked)
	require.Equal(t, lambda.RuleNotListed, check("https://other.example.org").Rule)
	require.Equal(t, lambda.RuleNotListed, check("http://[::1]/").Rule)
	require.Equal(t, lambda.RulePort, check("http://api.example.com:25").Rule)
	require.Len(t, w.asked, asked, "no name is looked up that is not allowed")
	for _, url := range []string{"", "api.example.com", "ftp://api.example.com", "http://", "http://a b/", "https://user@", "http://a:99999/", "http://exa%6dple.com/", "mailto:a@b"} {
		_, err := w.proxy.Check(t.Context(), account, url)
		require.True(t, lambda.Is(err, lambda.KindInvalid), "%q: %v", url, err)
		require.Equal(t, "url", lambda.As(err).Field)
	}
	require.Empty(t, w.dials())
	require.Empty(t, w.told())
}

func TestAProxyThatCannotBeMade(t *testing.T) {
	_, err := egress.New(egress.Config{})
	require.ErrorContains(t, err, "needs a whitelist")
	_, err = egress.New(egress.Config{Whitelist: &whitelist{}, Services: []string{"a b"}})
	require.ErrorContains(t, err, `the service at "a b"`)
	require.False(t, errors.Is(err, net.ErrClosed))
}
