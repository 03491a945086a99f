package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// addresses are those of names below example.com.
type addresses struct{}

func (addresses) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	switch host {
	case "api.example.com.", "api.example.com":
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	case "inside.example.com.", "inside.example.com":
		return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func TestAnEntryCanPermitPrivateAddresses(t *testing.T) {
	g := newGateway(t)
	dev, admin := g.tokens[lambda.RoleDeveloper], g.tokens[lambda.RoleAdmin]
	r := g.do("POST", "/proxy-settings", admin, `{"domain":"inside.example.com","privateAddresses":true}`)
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	require.Contains(t, r.body, `"privateAddresses":true`)
	r = g.do("POST", "/proxy-settings", admin, `{"domain":"api.example.com","privateAddresses":false}`)
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	require.NotContains(t, r.body, "privateAddresses", "clients of the contract know no such key")
	require.Equal(t, http.StatusForbidden, g.do("POST", "/proxy-settings", dev, `{"domain":"b.example.com","privateAddresses":true}`).StatusCode)
	require.Equal(t, http.StatusBadRequest, g.do("POST", "/proxy-settings", admin, `{"domain":"b.example.com","privateAddresses":"yes"}`).StatusCode)
	list := get[[]map[string]any](t, g, "/proxy-settings", dev)
	require.Equal(t, true, list[0]["privateAddresses"])
	require.NotContains(t, list[1], "privateAddresses")
}

func TestAnURLIsChecked(t *testing.T) {
	g := newGateway(t)
	dev, admin := g.tokens[lambda.RoleDeveloper], g.tokens[lambda.RoleAdmin]
	require.Equal(t, http.StatusCreated, g.do("POST", "/proxy-settings", admin, `{"domain":"*.example.com"}`).StatusCode)
	check := func(url string) map[string]any {
		t.Helper()
		body, err := json.Marshal(map[string]any{"url": url})
		require.NoError(t, err)
		var answer map[string]any
		require.Eventually(t, func() bool { // the entry is in the views soon
			r := g.do("POST", "/egress/check", dev, string(body))
			require.Equal(t, http.StatusOK, r.StatusCode, r.body)
			answer = nil
			require.NoError(t, json.Unmarshal([]byte(r.body), &answer))
			return answer["entry"] != nil || url == "https://other.example.org"
		}, 2*time.Second, 10*time.Millisecond)
		return answer
	}
	require.Equal(t, map[string]any{
		"verdict": "allowed", "rule": "listed", "message": "api.example.com:8443 may be reached (rule listed)", "scheme": "https",
		"host": "api.example.com", "port": 8443.0, "entry": "*.example.com", "addresses": []any{"93.184.216.34"},
	}, check("https://API.example.com:8443/x?secret=1"))
	c := check("http://inside.example.com/")
	require.Equal(t, "refused", c["verdict"])
	require.Equal(t, "private-address", c["rule"])
	require.Equal(t, []any{"10.0.0.1"}, c["addresses"])
	c = check("http://gone.example.com/")
	require.Equal(t, "failed", c["verdict"])
	require.Equal(t, "unresolved", c["rule"])
	c = check("https://other.example.org")
	require.Equal(t, "not-listed", c["rule"])
	require.Equal(t, []any{}, c["addresses"])
	for _, body := range []string{`{}`, `{"url":"ftp://a"}`, `{"url":"api.example.com"}`, `{"url":7}`, `[]`, ``} {
		require.Equal(t, http.StatusBadRequest, g.do("POST", "/egress/check", dev, body).StatusCode, body)
	}
	require.NotContains(t, g.log.String(), "secret=1")
}

func TestAttemptsAreListed(t *testing.T) {
	g := newGateway(t)
	dev := g.tokens[lambda.RoleDeveloper]
	r := g.do("POST", "/lambdas", dev, createBody("first", "a"))
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	var l struct{ UUID string }
	require.NoError(t, json.Unmarshal([]byte(r.body), &l))
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	for i, rule := range []lambda.EgressRule{lambda.RuleListed, lambda.RuleNotListed, lambda.RuleRate, lambda.RuleUnresolved} {
		g.journal.Attempt(lambda.Attempt{
			Account: account, LambdaID: l.UUID, At: at.Add(time.Duration(i) * time.Second), Host: fmt.Sprintf("h%d.example.com", i), Port: 443, Method: "CONNECT",
			Rule: rule, Duration: 1500 * time.Microsecond, Count: i + 1,
		})
	}
	g.journal.Attempt(lambda.Attempt{Account: account, LambdaID: "a deleted one", At: at, Host: "old.example.com", Method: "GET", Rule: lambda.RuleListed, Entry: "*.example.com", Address: netip.MustParseAddr("93.184.216.34")})
	g.journal.Attempt(lambda.Attempt{Account: other, LambdaID: l.UUID, At: at, Host: "foreign.example.com", Rule: lambda.RuleListed})
	require.NoError(t, g.journal.Flush(t.Context()))

	type page struct {
		Attempts []map[string]any
		Next     string
	}
	list := func(query url.Values) (hosts []any) {
		t.Helper()
		for {
			p := get[page](t, g, "/egress/attempts?"+query.Encode(), dev)
			for _, a := range p.Attempts {
				hosts = append(hosts, a["host"])
			}
			if p.Next == "" {
				return hosts
			}
			query.Set("cursor", p.Next)
		}
	}
	all := []any{"h3.example.com", "h2.example.com", "h1.example.com", "old.example.com", "h0.example.com"}
	require.Equal(t, all, list(url.Values{}))
	require.Equal(t, all, list(url.Values{"limit": {"2"}}))
	require.Equal(t, []any{"h2.example.com", "h1.example.com"}, list(url.Values{"verdict": {"refused"}}))
	require.Equal(t, []any{"h3.example.com", "h2.example.com"}, list(url.Values{"rule": {"rate", "unresolved"}}))
	require.Equal(t, []any{"h1.example.com"}, list(url.Values{"host": {"H1."}}))
	require.Equal(t, []any{"h3.example.com", "h2.example.com", "h1.example.com", "h0.example.com"}, list(url.Values{"lambdaUUID": {l.UUID}}))
	p := get[page](t, g, "/egress/attempts?host=h2", g.tokens[lambda.RoleInvocation])
	require.Equal(t, map[string]any{
		"lambdaUUID": l.UUID, "timestamp": float64(at.Add(2 * time.Second).UnixMilli()), "host": "h2.example.com", "port": 443.0, "method": "CONNECT",
		"verdict": "refused", "rule": "rate", "durationMs": 1.5, "count": 3.0,
	}, p.Attempts[0])
	p = get[page](t, g, "/egress/attempts?host=old", dev)
	require.Equal(t, "93.184.216.34", p.Attempts[0]["address"])
	require.Equal(t, "*.example.com", p.Attempts[0]["entry"])

	for query, status := range map[string]int{
		"verdict=perhaps": 400, "rule=none": 400, "limit=0": 400, "limit=1001": 400, "cursor=x": 400, "startTimestamp=1": 400, "lambdaUUID=none": 404,
	} {
		require.Equal(t, status, g.do("GET", "/egress/attempts?"+query, dev, "").StatusCode, query)
	}
}
