package client_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

func TestTheWayToOtherHosts(t *testing.T) {
	t.Parallel()
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		asked = append(asked, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery+" "+string(body))
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api/account/12345678/egress/attempts":
			_, _ = io.WriteString(w, `{"attempts":[{"lambdaUUID":"l-1","timestamp":5,"host":"api.example.com","port":443,"method":"CONNECT","verdict":"refused","rule":"rate","durationMs":1.5,"count":3}],"next":"more"}`)
		case "/api/account/12345678/egress/check":
			_, _ = io.WriteString(w, `{"verdict":"allowed","rule":"listed","message":"m","scheme":"https","host":"a","port":443,"entry":"*.a","addresses":["1.1.1.1"]}`)
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"id":1,"domain":"a","createdAt":"2026-11-25T00:00:00.000Z","createdBy":"x","privateAddresses":true}`)
		}
	})
	list, next, err := c.Attempts(t.Context(), client.Query{Verdict: "refused", Rules: []string{"rate", "busy"}, Host: "api", LambdaID: "l-1"})
	require.NoError(t, err)
	require.Equal(t, "more", next)
	require.Equal(t, []client.Attempt{{LambdaID: "l-1", Timestamp: 5, Host: "api.example.com", Port: 443, Method: "CONNECT", Verdict: "refused", Rule: "rate", DurationMs: 1.5, Count: 3}}, list)
	check, err := c.CheckEgress(t.Context(), "https://a/")
	require.NoError(t, err)
	require.Equal(t, &client.EgressCheck{Verdict: "allowed", Rule: "listed", Message: "m", Scheme: "https", Host: "a", Port: 443, Entry: "*.a", Addresses: []string{"1.1.1.1"}}, check)
	d, err := c.AddPrivateDomain(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, d.PrivateAddresses)
	require.Len(t, asked, 3)
	require.Equal(t, "GET /api/account/12345678/egress/attempts?host=api&lambdaUUID=l-1&rule=rate&rule=busy&v=1&verdict=refused ", asked[0])
	require.Contains(t, asked[1], `{"url":"https://a/"}`)
	require.Contains(t, asked[2], `"privateAddresses":true`)
}
