package e2e_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

func TestTheDomainAPILeadsToEveryService(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	c, err := g.Client()
	require.NoError(t, err)
	for _, origin := range []string{g.Info.URLs["csds"], g.Info.URLs["faasGW"]} {
		found, err := client.Discover(t.Context(), c.HTTP(), origin, g.Info.AccountID)
		require.NoError(t, err)
		there, err := client.New(g.Info.AccountID, client.WithEndpoints(found), client.WithHTTPClient(c.HTTP()))
		require.NoError(t, err)
		app, err := g.Info.App("client_credentials")
		require.NoError(t, err)
		implemented, err := there.With(client.AppCredentials(there, app.ClientID, app.ClientSecret)).IsImplemented(t.Context(), "nobody_listens")
		require.NoError(t, err)
		require.False(t, implemented)
	}

	call := newCaller(t, g, "")
	call.base = g.Info.URLs["csds"]
	services := "/api/account/" + call.account + "/service/"
	t.Run("the list has these keys only", func(t *testing.T) {
		r := call.send(t, http.MethodGet, services+"baseURI.json?version=1.0", nil, "Host", "adminlogin.liveperson.net")
		require.Equal(t, http.StatusOK, r.status)
		var list map[string][]map[string]string
		require.NoError(t, json.Unmarshal([]byte(r.body), &list))
		require.Len(t, list, 1)
		for _, entry := range list["baseURIs"] {
			require.Len(t, entry, 3)
			require.NotEmpty(t, entry["service"])
			require.Equal(t, call.account, entry["account"])
			require.NotEmpty(t, entry["baseURI"])
			require.NotContains(t, entry["baseURI"], "/")
		}
	})
	for _, path := range []string{"faasGW/baseURI.json?version=1.0", "faasGW/baseURI"} {
		r := call.send(t, http.MethodGet, services+path, nil)
		require.Equal(t, http.StatusOK, r.status, path)
		var one map[string]string
		require.NoError(t, json.Unmarshal([]byte(r.body), &one))
		require.Equal(t, "faasGW", one["service"])
	}
	r := call.send(t, http.MethodGet, services+"faasgw/baseURI.json?version=1.0", nil)
	require.Equal(t, http.StatusNotFound, r.status, "names are case-sensitive")
	requireErrorForm(t, r)
}
