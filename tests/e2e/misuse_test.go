package e2e_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

const badInput = client.CodeBadInput

// noLambda is a well-formed id that no lambda has.
const noLambda = "00000000-0000-4000-8000-000000000000"

func TestABodyThatIsNoInvocationIsTheCallersMistake(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "body", versioned("1"))
	call := newCaller(t, g, appToken(t, g))

	for name, body := range map[string]string{
		"broken JSON":                     `{"payload":`,
		"two values":                      `{} {}`,
		"a comment":                       `{/*x*/}`,
		"an array":                        `[]`,
		"a string":                        `"text"`,
		"null":                            `null`,
		"a number":                        `5`,
		"not JSON at all":                 `payload=1`,
		"XML":                             `<payload/>`,
		"NaN":                             `{"payload":NaN}`,
		"a single quote":                  `{'payload':1}`,
		"NUL bytes":                       "\x00\x00",
		"invalid UTF-8 in a string":       "{\"payload\":\"\xff\xfe\"}",
		"invalid UTF-8 in a key":          "{\"\xc3\":1}",
		"a timestamp that is a string":    `{"timestamp":"now"}`,
		"a timestamp that is an object":   `{"timestamp":{}}`,
		"headers that are an object":      `{"headers":{"a":"b"}}`,
		"headers that are a string":       `{"headers":"a"}`,
		"headers of strings":              `{"headers":["a"]}`,
		"a header without a value":        `{"headers":[{"key":"a"}]}`,
		"a header with a number as value": `{"headers":[{"key":"a","value":1}]}`,
		"a header that is null":           `{"headers":[null]}`,
		"nesting without end":             `{"payload":` + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			requireError(t, call.invoke(t, l.ID, body), http.StatusBadRequest, badInput)
		})
	}
	for name, tt := range map[string]struct{ body, payload string }{
		"an empty body":               {``, `{}`},
		"blanks only":                 {" \r\n\t", `{}`},
		"an empty object":             {`{}`, `{}`},
		"a timestamp alone":           {`{"timestamp":0}`, `{}`},
		"a payload of null":           {`{"payload":null}`, `{}`},
		"a payload of false":          {`{"payload":false}`, `false`},
		"a payload of zero":           {`{"payload":0}`, `0`},
		"an empty string":             {`{"payload":""}`, `""`},
		"unknown keys":                {`{"more":[1],"payload":1}`, `1`},
		"an escaped NUL":              {`{"payload":"\u0000"}`, `"\u0000"`},
		"a lone surrogate":            {`{"payload":"\ud800"}`, `"\ud800"`},
		"the key __proto__":           {`{"payload":{"__proto__":{"x":1}}}`, `{"__proto__":{"x":1}}`},
		"a number beyond a double":    {`{"payload":{"a":0.1}}`, `{"a":0.1}`},
		"line separators in a string": {`{"payload":"` + "\u2028\u2029" + `"}`, `"\u2028\u2029"`},
	} {
		t.Run(name+" is legal", func(t *testing.T) {
			r := call.invoke(t, l.ID, tt.body)
			require.Equal(t, http.StatusOK, r.status, r.body)
			require.JSONEq(t, `{"version":"1","got":`+tt.payload+`}`, r.body)
		})
	}
}

func TestAManagementBodyThatIsWrongIsTheCallersMistake(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	call := newCaller(t, g, sessionToken(t, g, "FaaS-Developer"))
	path := "/api/account/" + call.account + "/lambdas?v=1"
	code := `"implementation":{"code":"function lambda(i, c) { c() }","dependencies":[],"environmentVariables":[]}`
	for name, body := range map[string]string{
		"an empty body":                  ``,
		"broken JSON":                    `{`,
		"an array":                       `[]`,
		"a name that is a number":        `{"name":1,"description":"d",` + code + `}`,
		"a name with a blank":            `{"name":"a b","description":"d",` + code + `}`,
		"a name of 51 characters":        `{"name":"` + strings.Repeat("n", 51) + `","description":"d",` + code + `}`,
		"no name":                        `{"description":"d",` + code + `}`,
		"no description":                 `{"name":"ok",` + code + `}`,
		"no implementation":              `{"name":"ok","description":"d"}`,
		"an implementation of null":      `{"name":"ok","description":"d","implementation":null}`,
		"a code that is an object":       `{"name":"ok","description":"d","implementation":{"code":{}}}`,
		"100 001 characters of code":     `{"name":"ok","description":"d","implementation":{"code":"function lambda(){}` + strings.Repeat(" ", 100_000) + `"}}`,
		"a reserved environment name":    `{"name":"ok","description":"d","implementation":{"code":"function lambda(){}","environmentVariables":[{"key":"NODE_OPTIONS","value":"x"}]}}`,
		"environment that is a string":   `{"name":"ok","description":"d","implementation":{"code":"function lambda(){}","environmentVariables":"x"}}`,
		"a runtime that does not exist":  `{"name":"ok","description":"d","runtime":{"uuid":"no","name":"COBOL 60"},` + code + `}`,
		"invalid UTF-8 in the name":      "{\"name\":\"\xff\",\"description\":\"d\"," + code + `}`,
		"a version that is a word":       `{"version":"new","name":"ok","description":"d",` + code + `}`,
		"a description with a NUL":       `{"name":"ok","description":"a\u0000b",` + code + `}`,
		"a description of 201 character": `{"name":"ok","description":"` + strings.Repeat("d", 201) + `",` + code + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := call.send(t, http.MethodPost, path, []byte(body))
			require.Equal(t, http.StatusBadRequest, r.status, r.body)
			requireErrorForm(t, r)
		})
	}
	t.Run("a body of 10 MB", func(t *testing.T) {
		r := call.send(t, http.MethodPost, path, bytes.Repeat([]byte("x"), 10<<20))
		requireError(t, r, http.StatusRequestEntityTooLarge, badInput)
	})
}

func TestALargeBodyIsRefusedAndNamesTheLimit(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "large", `function lambda(input, callback) { callback(null, input.payload.length) }`)
	call := newCaller(t, g, appToken(t, g))
	body := `{"payload":"` + strings.Repeat("x", 10<<20) + `"}`
	r := call.invoke(t, l.ID, body)
	requireError(t, r, http.StatusRequestEntityTooLarge, badInput)
	require.Regexp(t, `[0-9]{6,}`, r.message())

	t.Run("also when it comes in chunks", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, call.base+call.invokePath(l.ID), io.MultiReader(strings.NewReader(body)))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+call.token)
		resp, err := call.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	})
	t.Run("and over HTTP/1.1", func(t *testing.T) {
		r := exchange(t, g, "POST "+call.invokePath(l.ID)+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+call.token+
			fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", 10<<20))
		requireError(t, r, http.StatusRequestEntityTooLarge, badInput)
	})
	t.Run("one of 5 MB is not too large", func(t *testing.T) {
		r := call.invoke(t, l.ID, `{"payload":"`+strings.Repeat("x", 5<<20)+`"}`)
		require.Equal(t, http.StatusOK, r.status, clip(r.body))
		require.Equal(t, "5242880", r.body)
	})
}

func TestTheContractsAnswersToCallersWhoMayNot(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	l := deployed(t, author, "may", versioned("1"))
	app := appToken(t, g)

	t.Run("tokens that are none", func(t *testing.T) {
		for name, token := range forgeries(t, g, app) {
			t.Run(name, func(t *testing.T) {
				requireError(t, newCaller(t, g, token).invoke(t, l.ID, `{}`), http.StatusUnauthorized, client.CodeUnauthorized)
			})
		}
	})
	t.Run("headers that are no bearer", func(t *testing.T) {
		call := newCaller(t, g, "")
		requireError(t, call.invoke(t, l.ID, `{}`), http.StatusUnauthorized, client.CodeUnauthorized)
		for _, header := range []string{"Bearer", "Bearer ", "Basic dTpw", "DPoP " + app, "Bearer " + app + " x", app, "bearer\t" + app[:20]} {
			requireError(t, call.invoke(t, l.ID, `{}`, "Authorization", header), http.StatusUnauthorized, client.CodeUnauthorized)
		}
	})
	t.Run("a token in the query is none", func(t *testing.T) {
		call := newCaller(t, g, "")
		r := call.send(t, http.MethodPost, call.invokePath(l.ID)+"&access_token="+app, []byte(`{}`))
		requireError(t, r, http.StatusUnauthorized, client.CodeUnauthorized)
	})
	t.Run("a foreign account", func(t *testing.T) {
		for _, token := range []string{app, sessionToken(t, g, "LPA")} {
			call := newCaller(t, g, token)
			call.account = "99999999"
			requireError(t, call.invoke(t, l.ID, `{}`), http.StatusUnauthorized, client.CodeUnauthorized)
			r := call.send(t, http.MethodGet, "/api/account/99999999/lambdas", nil)
			requireError(t, r, http.StatusUnauthorized, client.CodeUnauthorized)
		}
	})
	t.Run("a session that has ended", func(t *testing.T) {
		c, err := g.Client()
		require.NoError(t, err)
		user, err := g.Info.User("FaaS-Invocation")
		require.NoError(t, err)
		session, err := c.Login(t.Context(), user.Username, user.Password)
		require.NoError(t, err)
		call := newCaller(t, g, session.Bearer)
		require.Equal(t, http.StatusOK, call.invoke(t, l.ID, `{}`).status)
		require.NoError(t, c.Refresh(t.Context(), session))
		require.NoError(t, c.Logout(t.Context(), session))
		require.Eventually(t, func() bool { return call.invoke(t, l.ID, `{}`).status == http.StatusUnauthorized }, 2*time.Second, 20*time.Millisecond)
		require.True(t, client.IsStatus(c.Refresh(t.Context(), session), http.StatusUnauthorized))
	})
	t.Run("permissions", func(t *testing.T) { permissions(t, g, l.ID, app) })
}

// permissions walks what each role may do; 403 is the answer to everything else.
func permissions(t *testing.T, g *dev.Gateway, id, app string) {
	const account = "/api/account/"
	lambdas := account + g.Info.AccountID + "/lambdas"
	deployments := account + g.Info.AccountID + "/deployments/" + noLambda
	for role, may := range map[string]map[string]bool{
		"FaaS-Admin":      {"read": true},
		"FaaS-Developer":  {"read": true, "write": true, "deploy": true, "invoke": true},
		"FaaS-Invocation": {"invoke": true},
		"LPA":             {"read": true, "write": true, "deploy": true, "invoke": true},
		"app":             {"invoke": true},
	} {
		token := app
		if role != "app" {
			token = sessionToken(t, g, role)
		}
		call := newCaller(t, g, token)
		for _, tt := range []struct{ method, path, needs string }{
			{"POST", call.invokePath(id), "invoke"},
			{"GET", account + g.Info.AccountID + "/events/none/isImplemented", "invoke"},
			{"GET", lambdas, "read"},
			{"GET", lambdas + "/" + id, "read"},
			{"GET", account + g.Info.AccountID + "/runtimes", "read"},
			{"POST", lambdas, "write"},
			{"PUT", lambdas + "/" + id, "write"},
			{"DELETE", lambdas + "/" + noLambda, "write"},
			{"POST", deployments, "deploy"},
			{"DELETE", deployments, "deploy"},
		} {
			t.Run(role+" "+tt.method+" "+tt.needs, func(t *testing.T) {
				r := call.send(t, tt.method, tt.path, []byte(`{}`))
				if !may[tt.needs] {
					requireError(t, r, http.StatusForbidden, client.CodeForbidden)
					return
				}
				require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, r.status)
				require.Less(t, r.status, 500, r.body)
			})
		}
	}
}

// forgeries are bearer tokens that nobody may accept, made from a good one.
func forgeries(t *testing.T, g *dev.Gateway, good string) map[string]string {
	t.Helper()
	parts := strings.Split(good, ".")
	require.Len(t, parts, 3)
	head := map[string]any{}
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &head))
	kid := head["kid"]

	own, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	jwks := newCaller(t, g, "")
	jwks.base = g.Info.URLs["sentinel"]
	published := jwks.send(t, http.MethodGet, "/sentinel/well-known/jwks", nil)
	require.Equal(t, http.StatusOK, published.status)

	claims := func(change string, value any) string {
		all := map[string]any{}
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &all))
		all[change] = value
		return part(t, all)
	}
	header := func(alg string) string { return part(t, map[string]any{"alg": alg, "typ": "JWT", "kid": kid}) }
	return map[string]string{
		"alg none":                       header("none") + "." + parts[1] + ".",
		"alg None":                       header("None") + "." + parts[1] + "." + parts[2],
		"signed by another key":          signRS256(t, own, header("RS256")+"."+parts[1]),
		"HMAC with the published key":    signHS256(header("HS256")+"."+parts[1], published.body),
		"HMAC with nothing":              signHS256(header("HS256")+"."+parts[1], ""),
		"another kid":                    part(t, map[string]any{"alg": "RS256", "kid": "../../etc/passwd"}) + "." + parts[1] + "." + parts[2],
		"claims changed":                 parts[0] + "." + claims("exp", time.Now().Add(24*time.Hour).Unix()) + "." + parts[2],
		"claims of an expired token":     parts[0] + "." + claims("exp", 1) + "." + parts[2],
		"the signature cut":              good[:len(good)-8],
		"the signature left out":         parts[0] + "." + parts[1] + ".",
		"two parts only":                 parts[0] + "." + parts[1],
		"a key in the header":            part(t, map[string]any{"alg": "RS256", "jwk": map[string]any{"kty": "RSA"}, "kid": kid}) + "." + parts[1] + "." + parts[2],
		"an opaque token nobody gave":    strings.Repeat("ab", 32),
		"a token of 30 kB":               strings.Repeat("a", 30_000),
		"dots only":                      "...",
		"signed by another key, alg 384": signRS256(t, own, header("RS384")+"."+parts[1]),
	}
}

func part(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(text)
}

func signRS256(t *testing.T, key *rsa.PrivateKey, text string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	require.NoError(t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func signHS256(text, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestAnUnknownLambdaAndAWrongPathAreNotFound(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	call := newCaller(t, g, appToken(t, g))
	for _, id := range []string{noLambda, "no-uuid", "%00", "..", "ü", strings.Repeat("a", 5000), "' OR 1=1 --", "${jndi:x}"} {
		r := call.invoke(t, id, `{}`)
		requireError(t, r, http.StatusNotFound, client.CodeMissingLambda)
	}
	for _, path := range []string{"/api", "/api/account/", "/api/nothing", "/sentinel", "/ui/nothing", "/api/account/" + call.account + "/lambdas/x/y/z"} {
		r := call.send(t, http.MethodGet, path, nil)
		require.Equal(t, http.StatusNotFound, r.status, path)
		requireErrorForm(t, r)
	}
}

func TestAWrongMethodIsToldSo(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	call := newCaller(t, g, appToken(t, g))
	account := "/api/account/" + call.account
	for _, tt := range []struct{ method, path string }{
		{"GET", account + "/lambdas/" + noLambda + "/invoke"}, {"PUT", account + "/lambdas/" + noLambda + "/invoke"},
		{"DELETE", account + "/lambdas"}, {"PATCH", account + "/lambdas/" + noLambda}, {"GET", account + "/login"},
		{"POST", account + "/events/e/isImplemented"}, {"OPTIONS", account + "/lambdas"}, {"BREW", account + "/lambdas"},
		{"GET", "/sentinel/api/account/" + call.account + "/app/token"}, {"POST", account + "/service/baseURI.json"},
	} {
		r := call.send(t, tt.method, tt.path, nil)
		require.Equal(t, http.StatusMethodNotAllowed, r.status, "%s %s", tt.method, tt.path)
		requireErrorForm(t, r)
		require.NotEmpty(t, r.header.Get("Allow"))
	}
}

// exchange sends text over TLS as it is and reads one answer of HTTP/1.
func exchange(t *testing.T, g *dev.Gateway, text string) reply {
	t.Helper()
	conn := dialTLS(t, g, "http/1.1")
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
	return readReply(t, conn)
}

func readReply(t *testing.T, conn io.Reader) reply {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return reply{resp.StatusCode, resp.Header, string(body)}
}

func dialTLS(t *testing.T, g *dev.Gateway, protocol string) *tls.Conn {
	t.Helper()
	u, err := url.Parse(g.Info.URLs["faasGW"])
	require.NoError(t, err)
	config := trust(t, g)
	config.NextProtos = []string{protocol}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", u.Host, config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTricksWithThePathReachNothing(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "tricks", versioned("1"))
	token := appToken(t, g)
	account := "/api/account/" + g.Info.AccountID
	invoke := "/lambdas/" + l.ID + "/invoke"
	for name, path := range map[string]string{
		"dots before the lambda":      account + "/x/.." + invoke,
		"dots to another account":     "/api/account/99999999/../" + g.Info.AccountID + invoke,
		"encoded dots":                account + "/x/%2e%2e" + invoke,
		"an encoded slash":            account + "%2flambdas/" + l.ID + "/invoke",
		"an encoded slash in the id":  account + "/lambdas/x%2f" + l.ID + "/invoke",
		"two slashes":                 account + "//lambdas/" + l.ID + "/invoke",
		"two slashes first":           "/" + account + invoke,
		"a slash at the end":          account + invoke + "/",
		"a NUL":                       account + "/lambdas/" + l.ID + "%00/invoke",
		"a backslash":                 account + `\lambdas\` + l.ID + `\invoke`,
		"a semicolon":                 account + ";x" + invoke,
		"a path of 64 kB":             account + "/lambdas/" + strings.Repeat("a", 64<<10) + "/invoke",
		"a thousand parts":            strings.Repeat("/a", 1000),
		"capital letters":             account + "/LAMBDAS/" + l.ID + "/INVOKE",
		"an escape that is none":      account + "/lambdas/%zz/invoke",
		"no slash first":              "api/account",
		"a star":                      "*",
		"an account with a blank":     "/api/account/%20" + invoke,
		"an account of another shape": "/api/account/" + g.Info.AccountID + "%0d%0aX:1" + invoke,
	} {
		t.Run(name, func(t *testing.T) {
			r := exchange(t, g, "POST "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\nContent-Length: 2\r\n\r\n{}")
			require.GreaterOrEqual(t, r.status, 400, r.body)
			require.Less(t, r.status, 500, r.body)
			require.NotContains(t, r.header, "X")
		})
	}
}

func TestOtherFormsOfHTTP(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "http", versioned("1"))
	token := appToken(t, g)
	post := "POST /api/account/" + g.Info.AccountID + "/lambdas/" + l.ID + "/invoke?v=1 HTTP/1."
	auth := "Authorization: Bearer " + token + "\r\n"

	for name, tt := range map[string]struct {
		request string
		status  int // 501 and 505 are net/http's own words for a request it cannot read
	}{
		"HTTP/1.0":                          {post + "0\r\n" + auth + "Content-Length: 2\r\n\r\n{}", 200},
		"HTTP/1.0 without a length":         {post + "0\r\n" + auth + "\r\n", 200},
		"HTTP/1.1 without a host":           {post + "1\r\n" + auth + "Content-Length: 2\r\n\r\n{}", 400},
		"a length and chunks":               {post + "1\r\nHost: x\r\n" + auth + "Connection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200},
		"two lengths":                       {post + "1\r\nHost: x\r\n" + auth + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
		"a negative length":                 {post + "1\r\nHost: x\r\n" + auth + "Content-Length: -2\r\n\r\n{}", 400},
		"chunks":                            {post + "1\r\nHost: x\r\n" + auth + "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200},
		"a broken chunk":                    {post + "1\r\nHost: x\r\n" + auth + "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400},
		"an encoding that is unknown":       {post + "1\r\nHost: x\r\n" + auth + "Connection: close\r\nTransfer-Encoding: gzip\r\n\r\n{}", 501},
		"another content type":              {post + "1\r\nHost: x\r\n" + auth + "Connection: close\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 200},
		"a header folded over two lines":    {post + "1\r\nHost: x\r\n" + auth + "Connection: close\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}", 200},
		"a header with a blank in its name": {post + "1\r\nHost: x\r\n" + auth + "X A: b\r\nContent-Length: 2\r\n\r\n{}", 400},
		"an unknown version":                {strings.TrimSuffix(post, "HTTP/1.") + "HTTP/9.9\r\nHost: x\r\n\r\n", 505},
		"rubbish":                           {"\x16\x03\x01 nonsense\r\n\r\n", 400},
		"5 000 headers":                     {post + "1\r\nHost: x\r\n" + auth + "Connection: close\r\n" + strings.Repeat("X-Many: 1\r\n", 5000) + "Content-Length: 2\r\n\r\n{}", 200},
		"one header of 4 MB":                {post + "1\r\nHost: x\r\n" + auth + "X-Long: " + strings.Repeat("a", 4<<20) + "\r\n\r\n", 431},
		"an X-Request-ID of 10 kB":          {post + "1\r\nHost: x\r\n" + auth + "Connection: close\r\nX-Request-ID: " + strings.Repeat("a", 10<<10) + "\r\nContent-Length: 2\r\n\r\n{}", 400},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialTLS(t, g, "http/1.1")
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			_, _ = io.WriteString(conn, tt.request) // refused before its end, a write may fail: the answer counts
			r := readReply(t, conn)
			require.Equal(t, tt.status, r.status, r.body)
		})
	}
}

func TestTheRequestIDIsEchoed(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "echo", versioned("1"))
	call := newCaller(t, g, appToken(t, g))
	require.Equal(t, "my own id/1", call.invoke(t, l.ID, `{}`, "X-Request-ID", "my own id/1").header.Get("X-Request-Id"))
	first, second := call.invoke(t, l.ID, `{}`).header.Get("X-Request-Id"), call.invoke(t, l.ID, `{}`).header.Get("X-Request-Id")
	require.NotEmpty(t, first)
	require.NotEqual(t, first, second)
}

func TestSlowClientsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "slow", versioned("1"))
	call := newCaller(t, g, appToken(t, g))
	const most = 90 * time.Second // the gateway gives a request 75 s

	starts := map[string]string{
		"in the request line": "POST /api/acc",
		"in the headers":      "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"in the body":         "POST " + call.invokePath(l.ID) + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + call.token + "\r\nContent-Length: 100000\r\n\r\n{",
	}
	var wg sync.WaitGroup
	for name, start := range starts {
		for range 20 {
			conn := dialTLS(t, g, "http/1.1")
			wg.Go(func() {
				if err := drip(conn, start, most); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	silent := dialTLS(t, g, "http/1.1") // says nothing at all
	wg.Go(func() {
		if err := drip(silent, "", most); err != nil {
			t.Errorf("silent: %v", err)
		}
	})
	for range 50 {
		begin := time.Now()
		require.Equal(t, http.StatusOK, call.invoke(t, l.ID, `{}`).status)
		require.Less(t, time.Since(begin), 5*time.Second)
	}
	wg.Wait()
}

// drip sends start and then, unless start is empty, a byte a second; the server
// must end the connection in time.
func drip(conn net.Conn, start string, most time.Duration) error {
	deadline := time.Now().Add(most)
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}()
	if _, err := io.WriteString(conn, start); err != nil {
		return nil // ended already
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ended: //nolint:errcheck // how it ended does not matter here
			if time.Now().After(deadline) {
				return fmt.Errorf("the connection was still open after %s", most)
			}
			return nil
		case <-tick.C:
			if start != "" {
				_, _ = conn.Write([]byte("a")) // fails once the server has ended it: the reader tells
			}
		}
	}
}

func TestResetsOfHTTP2StreamsDoNoHarm(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "resets", `function lambda(input, callback) { setTimeout(() => callback(null, 1), 20) }`)
	call := newCaller(t, g, appToken(t, g))
	for range 3 {
		resetMany(t, g, call, l.ID, 2000)
	}
	begin := time.Now()
	require.Equal(t, http.StatusOK, call.invoke(t, l.ID, `{}`).status)
	require.Less(t, time.Since(begin), 5*time.Second)
}

// resetMany opens streams and resets each at once, until the server has enough
// of it or n are through.
func resetMany(t *testing.T, g *dev.Gateway, call *caller, id string, n uint32) {
	t.Helper()
	conn := dialTLS(t, g, "h2")
	require.Equal(t, "h2", conn.ConnectionState().NegotiatedProtocol)
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
	out := bufio.NewWriter(conn)
	framer := http2.NewFramer(out, nil)
	require.NoError(t, framer.WriteSettings())
	require.NoError(t, framer.WriteSettingsAck())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := range n {
		block.Reset()
		for _, f := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", call.invokePath(id)},
			{"authorization", "Bearer " + call.token}, {"content-length", "2"},
		} {
			require.NoError(t, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
		}
		stream := 2*i + 1
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}) != nil ||
			framer.WriteData(stream, true, []byte("{}")) != nil ||
			framer.WriteRSTStream(stream, http2.ErrCodeCancel) != nil || out.Flush() != nil {
			return // the server closed the connection, as it may
		}
	}
}

func TestLoginsAreSlowedDownAfterWrongPasswords(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample")
	c, err := g.Client()
	require.NoError(t, err)
	user, err := g.Info.User("FaaS-Admin")
	require.NoError(t, err)
	limited := false
	for range 30 {
		_, err := c.Login(t.Context(), user.Username, "wrong")
		if client.IsStatus(err, http.StatusTooManyRequests) {
			limited = true
			break
		}
		require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)
	}
	require.True(t, limited, "30 wrong passwords and no 429")
	require.NotNil(t, as(t, g, "FaaS-Developer"), "another user is not held up")
}
