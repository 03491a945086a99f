package directory_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/julienschmidt/httprouter"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/directory"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func open(t *testing.T, c directory.Config) *directory.Directory {
	t.Helper()
	d, _, err := directory.New(c)
	require.NoError(t, err)
	return d
}

// get asks through a router with the two routes that the gateway has.
func get(t *testing.T, d *directory.Directory, path string) (*httptest.ResponseRecorder, error) {
	t.Helper()
	var failed error
	serve := func(w http.ResponseWriter, r *http.Request) { failed = d.HandleService(w, r) }
	router := httprouter.New()
	router.HandlerFunc("GET", "/api/account/:account/service/:service", serve)
	router.HandlerFunc("GET", "/api/account/:account/service/:service/:file", serve)
	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w, failed
}

func TestServiceAnswers(t *testing.T) {
	d := open(t, directory.Config{
		Base:    "127.0.0.1:8443",
		Domains: map[string]string{"faasGW": "va.faasgw.example.com", "msgHist": "hist.example.com"},
	})
	const list = `{"baseURIs":[
		{"service":"agentVep","account":"12345678","baseURI":"127.0.0.1:8443"},
		{"service":"csds","account":"12345678","baseURI":"127.0.0.1:8443"},
		{"service":"faasGW","account":"12345678","baseURI":"va.faasgw.example.com"},
		{"service":"faasUI","account":"12345678","baseURI":"127.0.0.1:8443"},
		{"service":"msgHist","account":"12345678","baseURI":"hist.example.com"},
		{"service":"sentinel","account":"12345678","baseURI":"127.0.0.1:8443"}]}`
	const one = `{"service":"faasGW","account":"12345678","baseURI":"va.faasgw.example.com"}`
	const account = "/api/account/12345678/service/"
	for name, c := range map[string]struct {
		path string
		body string
		kind lambda.Kind
	}{
		"the list":                          {path: account + "baseURI.json?version=1.0", body: list},
		"the list without .json":            {path: account + "baseURI", body: list},
		"one service":                       {path: account + "faasGW/baseURI.json?version=1.0", body: one},
		"one service without .json":         {path: account + "faasGW/baseURI", body: one},
		"a service that is only configured": {path: account + "msgHist/baseURI.json", body: `{"service":"msgHist","account":"12345678","baseURI":"hist.example.com"}`},
		"an account nobody has answers too": {path: "/api/account/1/service/csds/baseURI", body: `{"service":"csds","account":"1","baseURI":"127.0.0.1:8443"}`},
		"an unknown service":                {path: account + "nothing/baseURI.json", kind: lambda.KindNotFound},
		"a service in the wrong case":       {path: account + "FAASGW/baseURI.json", kind: lambda.KindNotFound},
		"a service without baseURI":         {path: account + "faasGW", kind: lambda.KindNotFound},
		"another file of a service":         {path: account + "faasGW/other.json", kind: lambda.KindNotFound},
		"the word baseURI twice":            {path: account + "baseURI.json/baseURI.json", kind: lambda.KindNotFound},
		"an account with letters":           {path: "/api/account/le123/service/baseURI.json", kind: lambda.KindInvalid},
		"an account that is too long":       {path: "/api/account/" + strings.Repeat("1", 21) + "/service/baseURI.json", kind: lambda.KindInvalid},
		"an account with other digits":      {path: "/api/account/" + url.PathEscape("١٢٣") + "/service/baseURI.json", kind: lambda.KindInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := get(t, d, c.path)
			if c.body == "" {
				require.Truef(t, lambda.Is(err, c.kind), "got %v", err)
				require.NotEmpty(t, lambda.As(err).Code)
				require.Zero(t, w.Body.Len(), "the answer to an error is the router's")
				return
			}
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.JSONEq(t, c.body, w.Body.String())
		})
	}
}

func TestAnswersHaveNoKeyThatClientsRefuse(t *testing.T) {
	w, err := get(t, open(t, directory.Config{Base: "gw"}), "/api/account/1/service/baseURI.json")
	require.NoError(t, err)
	var list map[string][]map[string]string
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
	require.Len(t, list, 1)
	for _, entry := range list["baseURIs"] {
		require.Len(t, entry, 3)
		require.NotEmpty(t, entry["baseURI"])
	}
}

func TestBaseURI(t *testing.T) {
	d := open(t, directory.Config{Base: "[::1]:8443"})
	host, err := d.BaseURI("1", "faasUI")
	require.NoError(t, err)
	require.Equal(t, "[::1]:8443", host)
	_, err = d.BaseURI("1", "none")
	require.True(t, lambda.Is(err, lambda.KindNotFound))
}

func TestParseDomains(t *testing.T) {
	for setting, complaint := range map[string]string{
		"faasGW=gw.example.com":                     "",
		"faasGW=gw.example.com:8443":                "",
		"faasGW=localhost":                          "",
		"faasGW=127.0.0.1:443":                      "",
		"faasGW=[::1]":                              "",
		"faasGW=[2001:db8::1]:443":                  "",
		"asyncMessaging=va-a.msg.example":           "",
		"faasGW":                                    "write service=host",
		"=gw.example.com":                           "the service is missing",
		"faasgw=gw.example.com":                     "write faasGW",
		"a b=gw.example.com":                        "letters, digits",
		"faasGW=":                                   "the host is missing",
		"faasGW=https://gw.example.com":             "without a scheme: gw.example.com",
		"faasGW=gw.example.com/":                    "without a path",
		"faasGW=gw.example.com?x":                   "without a path",
		"faasGW=me@gw.example.com":                  "without a user",
		"faasGW=gw.example.com:":                    "port",
		"faasGW=gw.example.com:0":                   "port",
		"faasGW=gw.example.com:65536":               "port",
		"faasGW=gw.example.com:https":               "port",
		"faasGW=gw.example.com:+80":                 "port",
		"faasGW=:443":                               "not a host name",
		"faasGW=::1":                                "brackets",
		"faasGW=[::1":                               "IPv6",
		"faasGW=[127.0.0.1]":                        "IPv6",
		"faasGW=[fe80::1%eth0]":                     "IPv6",
		"faasGW=gw..example.com":                    "not a host name",
		"faasGW=-gw.example.com":                    "not a host name",
		"faasGW=gw_1.example.com":                   "not a host name",
		"faasGW=gw example.com":                     "not a host name",
		"faasGW=gw.exämple.com":                     "ASCII",
		"faasGW=" + strings.Repeat("a", 64):         "not a host name",
		"faasGW=" + strings.Repeat("a.", 127) + "a": "limit is 253",
	} {
		t.Run(setting, func(t *testing.T) {
			domains, err := directory.ParseDomains([]string{setting})
			if complaint == "" {
				require.NoError(t, err)
				require.Len(t, domains, 1)
				_, _, err = directory.New(directory.Config{Base: "gw", Domains: domains})
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, complaint)
			if setting != "faasGW" {
				service, host, _ := strings.Cut(setting, "=")
				_, _, err = directory.New(directory.Config{Base: "gw", Domains: map[string]string{service: host}})
				require.ErrorContains(t, err, complaint, "the same whichever way it came")
			}
		})
	}
}

func TestLastDomainOfAServiceCounts(t *testing.T) {
	domains, err := directory.ParseDomains([]string{"faasGW=one", "faasGW=two"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"faasGW": "two"}, domains)
}

func TestBaseMustBeAHost(t *testing.T) {
	for _, base := range []string{"", "https://gw", "gw:0", ":8443"} {
		_, _, err := directory.New(directory.Config{Base: base})
		require.ErrorContains(t, err, "own address")
	}
}

func TestWarnsOfHostsThatBreakClients(t *testing.T) {
	for name, c := range map[string]struct {
		service, host string
		warnings      int
	}{
		"a plain name":                       {"faasGW", "va.faasgw.example.com", 0},
		"a port on faasGW":                   {"faasGW", "gw.example.com:8443", 1},
		"a port on faasUI":                   {"faasUI", "[::1]:8443", 1},
		"a port on sentinel is harmless":     {"sentinel", "gw.example.com:8443", 0},
		"the word functions":                 {"faasUI", "Functions.example.com", 1},
		"the word fninvocations and a port":  {"faasGW", "fninvocations.example.com:1", 2},
		"functions in the name of sentinel":  {"sentinel", "functions.example.com", 0},
		"the colons of an address, no port":  {"faasGW", "[::1]", 0},
		"the part of a word is not the word": {"faasGW", "function.example.com", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings, err := directory.New(directory.Config{Base: "127.0.0.1:8443", Domains: map[string]string{c.service: c.host}})
			require.NoError(t, err)
			require.Len(t, warnings, c.warnings)
			for _, w := range warnings {
				require.Contains(t, w, c.host)
			}
		})
	}
}

func TestServes(t *testing.T) {
	domains := map[string]string{"faasGW": "gw.example.com", "faasUI": "ui.example.com:8443", "sentinel": "ui.example.com", "msgHist": "hist.example.com"}
	lenient := open(t, directory.Config{Base: "127.0.0.1:8443", Domains: domains})
	strict := open(t, directory.Config{Base: "127.0.0.1:8443", Domains: domains, Strict: true})
	for name, c := range map[string]struct {
		host, service   string
		lenient, strict bool
	}{
		"a name serves its service":            {"gw.example.com", "faasGW", true, true},
		"and no other":                         {"gw.example.com", "faasUI", false, false},
		"two services on one name":             {"ui.example.com", "sentinel", true, true},
		"the port does not matter":             {"GW.example.com:4711", "faasGW", true, true},
		"nor the dot at the end":               {"gw.example.com.", "faasUI", false, false},
		"a name that is not configured":        {"127.0.0.1:8443", "faasGW", true, false},
		"no name at all":                       {"", "faasGW", true, false},
		"a name of a service that is not ours": {"hist.example.com", "faasGW", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.lenient, lenient.Serves(c.host, c.service))
			require.Equal(t, c.strict, strict.Serves(c.host, c.service))
		})
	}
	moved := open(t, directory.Config{Base: "127.0.0.1:8443", Domains: map[string]string{"faasGW": "localhost:8443", "faasUI": "127.0.0.1:8443"}})
	require.True(t, moved.Serves("localhost:8443", "sentinel"), "a loopback name belongs to no service")
	require.True(t, moved.Serves("127.0.0.1:8443", "sentinel"), "the services that were not moved are still there")
	require.True(t, open(t, directory.Config{Base: "gw", Strict: true}).Serves("anything", "faasGW"), "nothing is configured")
	require.Zero(t, testing.AllocsPerRun(100, func() { lenient.Serves("gw.example.com", "faasGW") }))
}

func FuzzDomain(f *testing.F) {
	for _, seed := range []string{"faasGW=gw.example.com:8443", "faasUI=[::1]:1", "=", "a=https://b", "faasGW=[]", "x=]:["} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, setting string) {
		domains, err := directory.ParseDomains([]string{setting})
		if err != nil {
			return
		}
		d, _, err := directory.New(directory.Config{Base: "gw", Domains: domains})
		require.NoError(t, err)
		for service, host := range domains {
			u, err := url.Parse("https://" + host + "/path")
			require.NoError(t, err)
			require.Equal(t, host, u.Host, "clients build URLs of it")
			require.Equal(t, "/path", u.Path)
			d.Serves(host, service)
		}
	})
}
