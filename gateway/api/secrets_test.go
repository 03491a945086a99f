package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
	"github.com/sluice-faas/sluice/gateway/secret/sealed"
	"github.com/sluice-faas/sluice/gateway/secret/secrettest"
	"github.com/sluice-faas/sluice/gateway/store"
)

// newSecrets is the service over the gateway's own etcd.
func newSecrets(t *testing.T, st *store.Store, limits lambda.Limits, log zerolog.Logger) *secret.Service {
	t.Helper()
	kept, err := sealed.Open(t.Context(), sealed.Config{Records: st, KeyFile: filepath.Join(t.TempDir(), "secrets.key")})
	require.NoError(t, err)
	s := secret.New(secret.Config{Store: kept, Limits: limits, Log: log})
	t.Cleanup(s.Close)
	return s
}

func TestSecretsOfAnAccount(t *testing.T) {
	g := newGateway(t)
	admin, developer := g.tokens[lambda.RoleAdmin], g.tokens[lambda.RoleDeveloper]
	r := g.do("POST", "/secrets", admin, `{"timestamp":0,"key":"api-key_1","value":"a distinctive value","type":"string"}`)
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	made := r.object()
	require.Equal(t, `"`+made["revision"].(string)+`"`, r.Header.Get("ETag"))
	require.Equal(t, true, made["encrypted"])
	require.Equal(t, "faas-admin", made["createdBy"])
	require.NotContains(t, r.body, "distinctive")

	t.Run("are listed encrypted, for a Developer and for an Admin", func(t *testing.T) {
		require.Equal(t, http.StatusCreated, g.do("POST", "/secrets", admin, `{"key":"A","value":{"b":[1]}}`).StatusCode)
		for _, token := range []string{admin, developer} {
			r := g.do("GET", "/secrets?plain=true", token, "")
			require.Equal(t, http.StatusOK, r.StatusCode)
			var all []map[string]any
			require.NoError(t, json.Unmarshal([]byte(r.body), &all))
			require.Len(t, all, 2)
			require.Equal(t, "A", all[0]["key"])
			require.Equal(t, "json", all[0]["type"])
			require.Equal(t, made["value"], all[1]["value"])
			require.NotContains(t, r.body, "distinctive")
		}
	})
	t.Run("are read one by one, by an Admin", func(t *testing.T) {
		r := g.do("GET", "/secrets/api-key_1", admin, "")
		require.Equal(t, http.StatusOK, r.StatusCode, r.body)
		require.Equal(t, "a distinctive value", r.object()["value"])
		require.Equal(t, false, r.object()["encrypted"])
		require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
		require.Equal(t, `"`+made["revision"].(string)+`"`, r.Header.Get("ETag"))
		require.Equal(t, http.StatusForbidden, g.do("GET", "/secrets/api-key_1", developer, "").StatusCode)
	})
	t.Run("are changed, and lambdas see it at once", func(t *testing.T) {
		_, err := g.secrets.ReadForLambda(t.Context(), account, "api-key_1")
		require.NoError(t, err)
		r := g.do("PUT", "/secrets/api-key_1", admin, `{"value":"second"}`, "If-Match", `"`+made["revision"].(string)+`"`)
		require.Equal(t, http.StatusOK, r.StatusCode, r.body)
		require.EqualValues(t, 2, r.object()["version"])
		found, err := g.secrets.ReadForLambda(t.Context(), account, "api-key_1")
		require.NoError(t, err)
		require.Equal(t, `"second"`, string(found.Value))
		require.Equal(t, "second", g.do("GET", "/secrets/api-key_1", admin, "").object()["value"])
	})
	t.Run("are not changed by who has not seen the last change", func(t *testing.T) {
		for _, method := range []string{"PUT", "DELETE"} {
			r := g.do(method, "/secrets/api-key_1", admin, `{"value":"third"}`, "If-Match", `"`+made["revision"].(string)+`"`)
			require.Equal(t, http.StatusPreconditionFailed, r.StatusCode, r.body)
			require.Equal(t, lambda.CodeSecretConflict, r.code())
			require.Equal(t, http.StatusBadRequest, g.do(method, "/secrets/api-key_1", admin, `{"value":"third"}`, "If-Match", "1").StatusCode)
		}
		require.Equal(t, "second", g.do("GET", "/secrets/api-key_1", admin, "").object()["value"])
	})
	t.Run("are deleted", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.do("DELETE", "/secrets/api-key_1", admin, "", "If-Match", "*").StatusCode)
		for method, body := range map[string]string{"GET": "", "PUT": `{"value":"x"}`, "DELETE": ""} {
			r := g.do(method, "/secrets/api-key_1", admin, body)
			require.Equal(t, http.StatusNotFound, r.StatusCode, r.body)
			require.Equal(t, lambda.CodeSecretNotFound, r.code())
			require.Contains(t, r.body, "There is no Secret api-key_1 for this account")
		}
		require.Equal(t, http.StatusCreated, g.do("POST", "/secrets", admin, `{"key":"api-key_1","value":1}`).StatusCode)
	})
	t.Run("are no other account's", func(t *testing.T) {
		r := g.operate("GET", "/api/account/"+other+"/secrets", "")
		require.Equal(t, "[]", r.body)
		require.Equal(t, http.StatusNotFound, g.operate("GET", "/api/account/"+other+"/secrets/A", "").StatusCode)
	})
}

func TestValuesOfSecretsComeBackAsTheyWereWritten(t *testing.T) {
	g := newGateway(t)
	admin := g.tokens[lambda.RoleAdmin]
	for i, value := range []string{`"ü𝄞\u0000\n"`, `""`, `12345678901234567890`, `-0.10`, `{"a":{"b":[null,true]}}`, `[]`} {
		key := "k" + strconv.Itoa(i)
		r := g.do("POST", "/secrets", admin, fmt.Sprintf(`{"key":%q,"value":%s}`, key, value))
		require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
		r = g.do("GET", "/secrets/"+key, admin, "")
		require.Contains(t, r.body, `"value":`+value+`,`)
	}
}

func TestWhatIsNoSecret(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.SecretValue = 20 })
	admin := g.tokens[lambda.RoleAdmin]
	const value = "x-distinctive-value-x"
	require.Equal(t, http.StatusCreated, g.do("POST", "/secrets", admin, `{"key":"text","value":"short"}`).StatusCode)
	for name, c := range map[string]struct {
		body, want string
	}{
		"no key":                     {`{"value":"1"}`, "key is missing: give 1 to 100 letters, digits, - and _"},
		"a key with other letters":   {`{"key":"a b","value":"1"}`, "leave them out"},
		"a key with a slash":         {`{"key":"a/b","value":"1"}`, "leave them out"},
		"a key with an umlaut":       {`{"key":"ü","value":"1"}`, "leave them out"},
		"a key that is too long":     {`{"key":"` + strings.Repeat("k", 101) + `","value":"1"}`, "key has 101 characters: the limit is 100"},
		"a key that is a number":     {`{"key":1,"value":"1"}`, "key must be a string"},
		"no value":                   {`{"key":"k"}`, "value is missing"},
		"null":                       {`{"key":"k","value":null}`, "true, false or null"},
		"true":                       {`{"key":"k","value":true}`, "true, false or null"},
		"false":                      {`{"key":"k","value":false}`, "true, false or null"},
		"a string that is too long":  {`{"key":"k","value":"` + value + `"}`, "value has 21 characters: the limit is 20"},
		"a number that is too long":  {`{"key":"k","value":` + strings.Repeat("1", 21) + `}`, "the limit is 20"},
		"JSON that is too long":      {`{"key":"k","value":{"a":"` + value + `"}}`, "the limit is 20"},
		"a type that is none":        {`{"key":"k","value":"a","type":"boolean"}`, "none of string, number, json"},
		"a type that is another":     {`{"key":"k","value":"1","type":"number"}`, "make them agree"},
		"a type that is no text":     {`{"key":"k","value":"1","type":1}`, "type must be a string"},
		"no JSON":                    {`{"key":"k","value":"` + value, "not valid JSON"},
		"an array":                   {`["` + value + `"]`, "must be a JSON object"},
		"nothing":                    {"", "must be a JSON object"},
		"a key of the platform":      {`{"key":"lp-faas-default-app-key","value":"1"}`, "the platform's own"},
		"a value that is not UTF-8":  {"{\"key\":\"k\",\"value\":\"\xff\"}", "UTF-8"},
		"a hundred thousand bracket": {`{"key":"k","value":` + strings.Repeat("[", 100_000), "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.do("POST", "/secrets", admin, c.body)
			require.Equal(t, http.StatusBadRequest, r.StatusCode, r.body)
			require.Contains(t, r.body, c.want)
			require.NotContains(t, r.body, value)
			if !strings.Contains(name, "key") {
				r = g.do("PUT", "/secrets/text", admin, c.body)
				require.Equal(t, http.StatusBadRequest, r.StatusCode, r.body)
				require.NotContains(t, r.body, value)
			}
		})
	}
	t.Run("a value of another type than before", func(t *testing.T) {
		r := g.do("PUT", "/secrets/text", admin, `{"value":1}`)
		require.Equal(t, http.StatusBadRequest, r.StatusCode)
		require.Contains(t, r.body, "the secret text holds a string")
	})
	t.Run("20 characters of four bytes each are", func(t *testing.T) {
		require.Equal(t, http.StatusCreated, g.do("POST", "/secrets", admin, `{"key":"k","value":"`+strings.Repeat("𝄞", 20)+`"}`).StatusCode)
	})
	for _, key := range []string{"%20", "..%2f", "a%00b", "%ff", strings.Repeat("k", 5_000), "ü", "*"} {
		r := g.do("GET", "/secrets/"+key, admin, "")
		require.Equal(t, http.StatusNotFound, r.StatusCode, r.body)
	}
	require.NotContains(t, g.log.String(), value)
}

func TestAnAccountHasSoManySecrets(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.Secrets = 3 })
	admin := g.tokens[lambda.RoleAdmin]
	var mu sync.Mutex
	statuses := map[int]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := g.do("POST", "/secrets", admin, fmt.Sprintf(`{"key":"k%d","value":1}`, i))
			mu.Lock()
			defer mu.Unlock()
			statuses[r.StatusCode]++
			if r.StatusCode == http.StatusConflict {
				require.Equal(t, lambda.CodeSecretLimit, r.code())
			}
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{http.StatusCreated: 3, http.StatusConflict: 5}, statuses)
	r := g.do("POST", "/secrets", admin, `{"key":"another","value":1}`)
	require.Contains(t, r.body, "the account has 3 secrets: the limit is 3")
}

func TestTheSecretsOfThePlatform(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.Secrets = 1 })
	lpa := g.tokens[lambda.RoleLPA]
	const path = "/api/account/" + account + "/secrets"
	r := g.operate("POST", path, `{"key":"lp-faas-default-app-key","value":{"consumerKey":"k"}}`)
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	require.Equal(t, http.StatusCreated, g.do("POST", "/secrets", lpa, `{"key":"own","value":1}`).StatusCode, "it does not count")
	require.NotContains(t, g.do("GET", "/secrets", lpa, "").body, "lp-faas")
	require.Contains(t, g.operate("GET", path, "").body, `"key":"lp-faas-default-app-key"`, "the operator, who set it, sees that it is there")
	for method, body := range map[string]string{"GET": "", "PUT": `{"value":{}}`, "DELETE": ""} {
		r := g.do(method, "/secrets/lp-faas-default-app-key", lpa, body)
		require.Equal(t, http.StatusNotFound, r.StatusCode, r.body)
		require.Equal(t, g.do(method, "/secrets/lp-faas-nothing", lpa, body).StatusCode, r.StatusCode)
	}
	found, err := g.secrets.ReadForLambda(t.Context(), account, "lp-faas-default-app-key")
	require.NoError(t, err)
	require.Equal(t, `{"consumerKey":"k"}`, string(found.Value))
	require.Equal(t, http.StatusOK, g.operate("PUT", path+"/lp-faas-default-app-key", `{"value":{"consumerKey":"l"}}`).StatusCode)
	require.Equal(t, http.StatusOK, g.operate("DELETE", path+"/lp-faas-default-app-key", "").StatusCode)
}

func TestNoValueOfASecretIsInTheLogOrTheMetrics(t *testing.T) {
	g := newGateway(t)
	admin := g.tokens[lambda.RoleAdmin]
	const value = "Tr0ub4dor-and-3-staples"
	for _, r := range []reply{
		g.do("POST", "/secrets", admin, `{"key":"k","value":"`+value+`"}`),
		g.do("POST", "/secrets", admin, `{"key":"k","value":"`+value+`"}`),
		g.do("POST", "/secrets", admin, `{"key":"k2","value":"`+value+`","type":"number"}`),
		g.do("POST", "/secrets", admin, `{"key":"k2","value":"`+value),
		g.do("PUT", "/secrets/k", admin, `{"value":"`+value+` again"}`),
		g.do("PUT", "/secrets/k", admin, `{"value":{"a":"`+value+`"}}`),
		g.do("PUT", "/secrets/none", admin, `{"value":"`+value+`"}`),
		g.do("GET", "/secrets", admin, ""),
		g.do("DELETE", "/secrets/k", admin, "", "If-Match", `"0000000000000000"`),
	} {
		for _, form := range secrettest.Forms(value) {
			require.NotContains(t, r.body, form)
		}
	}
	require.Contains(t, g.do("GET", "/secrets/k", admin, "").body, value)
	for _, form := range secrettest.Forms(value) {
		require.NotContains(t, g.log.String(), form)
	}
}

func TestWhoDidWhatWithASecretIsNoted(t *testing.T) {
	g := newGateway(t)
	admin := g.tokens[lambda.RoleAdmin]
	const value = "Tr0ub4dor-and-3-staples"
	g.do("POST", "/secrets", admin, `{"key":"k","value":"`+value+`"}`)
	g.do("GET", "/secrets/k", admin, "")
	g.do("GET", "/secrets/k", g.tokens[lambda.RoleDeveloper], "")
	g.do("GET", "/secrets", admin, "")
	g.do("PUT", "/secrets/k", admin, `{"value":"`+value+`"}`)
	g.do("DELETE", "/secrets/k", admin, "")
	g.do("DELETE", "/secrets/k", admin, "")
	page, err := g.journal.Activities(t.Context(), journal.ActivityQuery{Account: account, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	var did []journal.Action
	for _, a := range page.Activities {
		require.Equal(t, journal.Secret, a.Noun)
		require.Equal(t, "k", a.Name)
		require.Equal(t, "faas-admin", a.By)
		require.NotContains(t, fmt.Sprintf("%+v", a), value)
		did = append(did, a.Action)
	}
	require.ElementsMatch(t, []journal.Action{journal.Create, journal.Reveal, journal.Update, journal.Delete}, did)
}

func TestASecretIsNotShownWhenItCannotBeNotedWhoLooked(t *testing.T) {
	g := newGateway(t)
	admin := g.tokens[lambda.RoleAdmin]
	const value = "Tr0ub4dor-and-3-staples"
	g.do("POST", "/secrets", admin, `{"key":"k","value":"`+value+`"}`)
	g.journal.full.Store(true)
	r := g.do("GET", "/secrets/k", admin, "")
	require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
	require.Equal(t, lambda.CodeUnavailable, r.code())
	require.Contains(t, r.body, "it could not be recorded who looked at it")
	require.NotContains(t, r.body, value)
	require.Contains(t, g.log.String(), "no space left on device")
	require.Contains(t, g.metrics(), "sluice_activities_lost_total 0", "nothing was done that is not noted")
	require.Equal(t, http.StatusOK, g.do("PUT", "/secrets/k", admin, `{"value":"other"}`).StatusCode, "changes go on")
	g.journal.full.Store(false)
	require.Contains(t, g.do("GET", "/secrets/k", admin, "").body, "other")
}
