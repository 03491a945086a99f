package vault_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret/secrettest"
	"github.com/sluice-faas/sluice/gateway/secret/vault"
	"github.com/sluice-faas/sluice/tests/vaulttest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}))
}

// environment sets Vault's variables, and clears those that the machine may have.
func environment(t *testing.T, variables ...string) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "VAULT_") {
			t.Setenv(name, "")
		}
	}
	for i := 0; i < len(variables); i += 2 {
		t.Setenv(variables[i], variables[i+1])
	}
}

func config(t *testing.T) vault.Config {
	t.Helper()
	return vault.Config{
		Mount: "secret", Prefix: "sluice", TransitMount: "transit", TransitKey: "sluice", AppRoleMount: "approle",
		Log: zerolog.New(zerolog.NewTestWriter(t)),
	}
}

func open(t *testing.T, c vault.Config) *vault.Store {
	t.Helper()
	s, away, err := vault.Open(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, away)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

// byToken opens a store by a token with the policy of deploy/vault alone.
func byToken(t *testing.T, server *vaulttest.Server) *vault.Store {
	t.Helper()
	token, err := server.Token(t.Context(), 0, true)
	require.NoError(t, err)
	environment(t, "VAULT_ADDR", server.Address, "VAULT_TOKEN", token)
	return open(t, config(t))
}

func appRole(t *testing.T, server *vaulttest.Server) vault.Config {
	t.Helper()
	c := config(t)
	role, id, err := server.AppRole(t.Context())
	require.NoError(t, err)
	c.RoleID, c.SecretIDFile = role, filepath.Join(t.TempDir(), "secret-id")
	require.NoError(t, os.WriteFile(c.SecretIDFile, []byte(id+"\n"), 0o600))
	return c
}

func byAppRole(t *testing.T, server *vaulttest.Server) *vault.Store {
	t.Helper()
	environment(t, "VAULT_ADDR", server.Address)
	return open(t, appRole(t, server))
}

func TestTheBattery(t *testing.T) {
	t.Run("by token, with Vault killed", func(t *testing.T) {
		server := vaulttest.Start(t)
		s := byToken(t, server)
		secrettest.Run(t, func(*testing.T) secrettest.Subject {
			return secrettest.Subject{Store: s, Cut: func(t *testing.T) func() {
				server.Kill()
				return func() { require.NoError(t, server.Restart(t.Context())) }
			}}
		})
	})
	t.Run("by AppRole, with Vault sealed", func(t *testing.T) {
		server := vaulttest.Start(t)
		s := byAppRole(t, server)
		secrettest.Run(t, func(*testing.T) secrettest.Subject {
			return secrettest.Subject{Store: s, Cut: func(t *testing.T) func() {
				require.NoError(t, server.Seal(t.Context()))
				require.ErrorContains(t, s.Check(t.Context()), "vault is sealed")
				return func() { require.NoError(t, server.Unseal(t.Context())) }
			}}
		})
	})
}

// proxy stands before a Vault and can hold up what it passes on, or answer itself.
type proxy struct {
	url    string
	seen   func(*http.Request)
	delay  atomic.Int64
	answer atomic.Pointer[func(http.ResponseWriter)] // instead of Vault's
}

// listen serves handler until the test ends.
func listen(t *testing.T, handler http.Handler, after func()) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		if after != nil {
			after()
		}
	})
	return server.URL
}

func newProxy(t *testing.T, server *vaulttest.Server, seen func(*http.Request)) *proxy {
	t.Helper()
	to, err := url.Parse(server.Address)
	require.NoError(t, err)
	p := &proxy{seen: seen}
	transport := &http.Transport{}
	pass := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	p.url = listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.seen != nil {
			p.seen(r)
		}
		if answer := p.answer.Load(); answer != nil {
			(*answer)(w)
			return
		}
		select {
		case <-time.After(time.Duration(p.delay.Load())):
		case <-r.Context().Done():
			return
		}
		pass.ServeHTTP(w, r)
	}), transport.CloseIdleConnections)
	return p
}

func TestASlowVault(t *testing.T) {
	server := vaulttest.Start(t)
	p := newProxy(t, server, nil)
	token, err := server.Token(t.Context(), 0, true)
	require.NoError(t, err)
	environment(t, "VAULT_ADDR", p.url, "VAULT_TOKEN", token)
	s := open(t, config(t))
	one := secrettest.New(secrettest.Account(), "key", `"value"`)
	_, err = s.Create(t.Context(), one, 0)
	require.NoError(t, err)

	p.delay.Store(int64(time.Hour))
	began := time.Now()
	_, err = s.Read(t.Context(), one.Account, "key")
	require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
	require.ErrorContains(t, err, "does not answer in time")
	require.Less(t, time.Since(began), 20*time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began = time.Now()
	_, err = s.Read(ctx, one.Account, "key")
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(began), 4*time.Second, "a caller who left is not kept waiting")

	t.Run("many requests at once wait, and none is lost", func(t *testing.T) {
		p.delay.Store(int64(30 * time.Millisecond))
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				_, err := s.Read(t.Context(), one.Account, "key")
				require.NoError(t, err)
			})
		}
		wg.Wait()
	})
}

func TestTheTokenIsRevokedInTheMiddleOfUse(t *testing.T) {
	server := vaulttest.Start(t)
	tokens := make(chan string, 10_000)
	p := newProxy(t, server, func(r *http.Request) { tokens <- r.Header.Get("X-Vault-Token") })
	environment(t, "VAULT_ADDR", p.url)
	s := open(t, appRole(t, server))
	one := secrettest.New(secrettest.Account(), "key", `0`)
	made, err := s.Create(t.Context(), one, 0)
	require.NoError(t, err)
	revoke := func() {
		for token := ""; token == ""; {
			for len(tokens) > 0 {
				token = <-tokens
			}
			if token != "" {
				require.NoError(t, server.Revoke(t.Context(), token))
			}
		}
	}

	t.Run("a login by AppRole is made anew, and no request fails", func(t *testing.T) {
		stop, failed := make(chan struct{}), make(chan error, 8)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := s.Read(t.Context(), one.Account, "key"); err != nil {
						failed <- err
						return
					}
				}
			})
		}
		for range 3 {
			time.Sleep(100 * time.Millisecond)
			revoke()
		}
		close(stop)
		wg.Wait()
		close(failed)
		for err := range failed {
			require.NoError(t, err)
		}
		revoke()
		made.Value = json.RawMessage(`1`)
		_, err := s.Update(t.Context(), *made)
		require.NoError(t, err, "a write is made once more, too: the one that was refused wrote nothing")
		revoke()
		require.NoError(t, s.Check(t.Context()), "readiness brings it back as well")
	})
	t.Run("while its role is gone it is said, and over when it is back", func(t *testing.T) {
		require.NoError(t, server.Write(t.Context(), "auth/approle/role/sluice", map[string]any{"token_policies": "default"}))
		// The token that was seen last need not be the one in use: another login may
		// just have ended.
		var err error
		require.Eventually(t, func() bool {
			revoke()
			_, err = s.Read(t.Context(), one.Account, "key")
			return err != nil
		}, 20*time.Second, 10*time.Millisecond)
		require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
		require.Equal(t, lambda.CodeSecretAuth, lambda.As(err).Code)
		require.ErrorContains(t, err, "its policy does not cover this")
		require.NoError(t, server.Write(t.Context(), "auth/approle/role/sluice", map[string]any{"token_policies": "sluice"}))
		revoke()
		_, err = s.Read(t.Context(), one.Account, "key")
		require.NoError(t, err)
	})
}

func TestARevokedTokenOfTheEnvironmentIsSaid(t *testing.T) {
	server := vaulttest.Start(t)
	token, err := server.Token(t.Context(), 0, true)
	require.NoError(t, err)
	environment(t, "VAULT_ADDR", server.Address, "VAULT_TOKEN", token)
	s := open(t, config(t))
	require.NoError(t, server.Revoke(t.Context(), token))
	for range 3 {
		_, err = s.Read(t.Context(), "1", "key")
		require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
		require.Equal(t, lambda.CodeSecretAuth, lambda.As(err).Code)
		require.NotContains(t, err.Error(), token)
	}
	require.ErrorContains(t, s.Check(t.Context()), "VAULT_TOKEN was revoked")
}

func TestTheLifeOfATokenOfTheEnvironment(t *testing.T) {
	server := vaulttest.Start(t)
	for name, c := range map[string]struct {
		ttl       time.Duration
		renewable bool
		warning   string
	}{
		"that can be renewed is fine":                  {time.Hour, true, ""},
		"that ends in a long time is fine":             {100 * time.Hour, false, ""},
		"that ends soon and cannot be renewed is said": {30 * time.Minute, false, "VAULT_TOKEN ends in "},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := server.Token(t.Context(), c.ttl, c.renewable)
			require.NoError(t, err)
			environment(t, "VAULT_ADDR", server.Address, "VAULT_TOKEN", token)
			s := open(t, config(t))
			err = s.Check(t.Context())
			if c.warning == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.warning)
			}
			left, ends := s.TokenTTL()
			require.True(t, ends)
			require.Greater(t, left, c.ttl-time.Minute)
		})
	}
	t.Run("that never ends is fine", func(t *testing.T) {
		environment(t, "VAULT_ADDR", server.Address, "VAULT_TOKEN", server.Root)
		s := open(t, config(t))
		require.NoError(t, s.Check(t.Context()))
		left, known := s.TokenTTL()
		require.True(t, known)
		require.Equal(t, vault.Forever, left)
	})
}

func TestTokensThatEndSoonAreRenewedAndReplaced(t *testing.T) {
	server := vaulttest.Start(t)
	require.NoError(t, server.Write(t.Context(), "auth/approle/role/sluice", map[string]any{"token_policies": "sluice", "token_ttl": "2s", "token_max_ttl": "5s"}))
	var logins, renewals atomic.Int64
	p := newProxy(t, server, func(r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/login"):
			logins.Add(1)
		case strings.HasSuffix(r.URL.Path, "/renew-self"):
			renewals.Add(1)
		}
	})
	environment(t, "VAULT_ADDR", p.url)
	s := open(t, appRole(t, server))
	one := secrettest.New(secrettest.Account(), "key", `0`)
	_, err := s.Create(t.Context(), one, 0)
	require.NoError(t, err)
	for logins.Load() < 3 {
		_, err := s.Read(t.Context(), one.Account, "key")
		require.NoError(t, err)
		time.Sleep(20 * time.Millisecond)
	}
	require.GreaterOrEqual(t, renewals.Load(), int64(2))
}

func TestAVaultThatIsAwayForLongerThanTheTokenLives(t *testing.T) {
	server := vaulttest.Start(t)
	require.NoError(t, server.Write(t.Context(), "auth/approle/role/sluice", map[string]any{"token_policies": "sluice", "token_ttl": "1s", "token_max_ttl": "1s"}))
	s := byAppRole(t, server)
	one := secrettest.New(secrettest.Account(), "key", `0`)
	_, err := s.Create(t.Context(), one, 0)
	require.NoError(t, err)
	server.Kill()
	time.Sleep(1500 * time.Millisecond)
	_, err = s.Read(t.Context(), one.Account, "key")
	require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool {
		_, err := s.Read(t.Context(), one.Account, "key")
		return err == nil
	}, 40*time.Second, 100*time.Millisecond)
}

func TestAStartWithVaultAwayServesWhenItIsBack(t *testing.T) {
	server := vaulttest.Start(t)
	c := appRole(t, server)
	environment(t, "VAULT_ADDR", server.Address)
	server.Kill()
	s, away, err := vault.Open(t.Context(), c)
	require.NoError(t, err)
	require.ErrorContains(t, away, "vault cannot be reached")
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	require.Error(t, s.Check(t.Context()))
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool { return s.Check(t.Context()) == nil }, 40*time.Second, 100*time.Millisecond)
	_, err = s.Create(t.Context(), secrettest.New(secrettest.Account(), "key", `0`), 10)
	require.NoError(t, err)
}

func TestAStartThatAnOperatorHasToMend(t *testing.T) {
	server := vaulttest.Start(t)
	ctx := t.Context()
	token, err := server.Token(ctx, 0, true)
	require.NoError(t, err)
	require.NoError(t, server.Client.Sys().MountWithContext(ctx, "old", &vaultapi.MountInput{Type: "kv", Options: map[string]string{"version": "1"}}))
	require.NoError(t, server.Write(ctx, "transit/keys/plain", map[string]any{}))
	page := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello") }), nil)
	for name, c := range map[string]struct {
		environment []string
		change      func(*vault.Config)
		want        []string
	}{
		"no login":                       {nil, nil, []string{"VAULT_TOKEN", "--vault-role-id"}},
		"a token that is none":           {[]string{"VAULT_TOKEN", "hvs.nonsense"}, nil, []string{"VAULT_TOKEN"}},
		"a token that cannot be sent":    {[]string{"VAULT_TOKEN", "a\nb"}, nil, []string{"VAULT_TOKEN"}},
		"an address that is none":        {[]string{"VAULT_TOKEN", token, "VAULT_ADDR", "://x"}, nil, []string{"VAULT_ADDR"}},
		"an address of something else":   {[]string{"VAULT_TOKEN", token, "VAULT_ADDR", page}, nil, []string{"VAULT_ADDR", "not what it should be"}},
		"TLS where there is none":        {[]string{"VAULT_TOKEN", token, "VAULT_ADDR", strings.Replace(server.Address, "http", "https", 1)}, nil, []string{"VAULT_ADDR"}},
		"a CA file that is missing":      {[]string{"VAULT_TOKEN", token, "VAULT_CACERT", "/nowhere/ca.pem"}, nil, []string{"VAULT_CACERT"}},
		"a mount that is none":           {[]string{"VAULT_TOKEN", token}, func(c *vault.Config) { c.Mount = "nothing" }, []string{"--vault-mount nothing"}},
		"a mount of version 1":           {[]string{"VAULT_TOKEN", server.Root}, func(c *vault.Config) { c.Mount = "old" }, []string{"--vault-mount old", "version 2"}},
		"a mount that is no KV":          {[]string{"VAULT_TOKEN", server.Root}, func(c *vault.Config) { c.Mount = "transit" }, []string{"--vault-mount transit", "KV"}},
		"a folder that the policy lacks": {[]string{"VAULT_TOKEN", token}, func(c *vault.Config) { c.Prefix = "others" }, []string{"--vault-prefix others", "policy"}},
		"a transit key that is none":     {[]string{"VAULT_TOKEN", token}, func(c *vault.Config) { c.TransitKey = "nothing" }, []string{"--vault-transit-key nothing"}},
		"a transit key that is shared":   {[]string{"VAULT_TOKEN", server.Root}, func(c *vault.Config) { c.TransitKey = "plain" }, []string{"--vault-transit-key plain", "derived"}},
		"no secret id":                   {nil, func(c *vault.Config) { c.RoleID, c.SecretIDFile = "r", "/nowhere/id" }, []string{"--vault-secret-id-file", "/nowhere/id"}},
		"an empty secret id": {nil, func(c *vault.Config) {
			c.RoleID, c.SecretIDFile = "r", filepath.Join(t.TempDir(), "id")
			require.NoError(t, os.WriteFile(c.SecretIDFile, []byte(" \n"), 0o600))
		}, []string{"--vault-secret-id-file", "empty"}},
		"a role that is none":           {nil, func(c *vault.Config) { *c = appRole(t, server); c.RoleID = "nobody" }, []string{"--vault-role-id"}},
		"an AppRole mount that is none": {nil, func(c *vault.Config) { *c = appRole(t, server); c.AppRoleMount = "nothing" }, []string{"--vault-approle-mount nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			environment(t, append([]string{"VAULT_ADDR", server.Address}, c.environment...)...)
			with := config(t)
			if c.change != nil {
				c.change(&with)
			}
			_, away, err := vault.Open(ctx, with)
			require.NoError(t, away)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), token)
		})
	}
}

func TestTheNamespaceIsSent(t *testing.T) {
	server := vaulttest.Start(t)
	spaces := make(chan string, 1_000)
	p := newProxy(t, server, func(r *http.Request) {
		spaces <- r.Header.Get("X-Vault-Namespace")
		r.Header.Del("X-Vault-Namespace") // this Vault has none
	})
	environment(t, "VAULT_ADDR", p.url, "VAULT_NAMESPACE", "team/region")
	open(t, appRole(t, server))
	for len(spaces) > 0 {
		require.Equal(t, "team/region", <-spaces)
	}
}

func TestThePolicyForbidsWhatTheGatewayDoesNotNeed(t *testing.T) {
	server := vaulttest.Start(t)
	ctx := t.Context()
	s := byToken(t, server)
	_, err := s.Create(ctx, secrettest.New("1", "key", `"value"`), 10)
	require.NoError(t, err)
	require.NoError(t, server.Write(ctx, "secret/data/other/1/key", map[string]any{"data": map[string]any{"a": "b"}}))
	token := os.Getenv("VAULT_TOKEN")
	for _, c := range []struct{ method, path, body string }{
		{"GET", "secret/data/other/1/key", ""},
		{"PUT", "secret/data/other/1/key", `{"data":{}}`},
		{"GET", "secret/data/sluice", ""},
		{"GET", "secret/data/sluice/1", ""},
		{"GET", "secret/data/sluice/1/key/deeper", ""},
		{"DELETE", "secret/data/sluice/1/key", ""},
		{"LIST", "secret/metadata", ""},
		{"LIST", "secret/metadata/sluice", ""},
		{"LIST", "secret/metadata/other/1", ""},
		{"GET", "secret/metadata/sluice/1/key", ""},
		{"PUT", "secret/metadata/sluice/1/key", `{"max_versions":1}`},
		{"PUT", "secret/undelete/sluice/1/key", `{"versions":[1]}`},
		{"PUT", "secret/destroy/sluice/1/key", `{"versions":[1]}`},
		{"GET", "secret/config", ""},
		{"GET", "transit/keys/sluice", ""},
		{"PUT", "transit/keys/sluice/rotate", `{}`},
		{"PUT", "transit/keys/sluice/config", `{"exportable":true}`},
		{"GET", "transit/export/encryption-key/sluice", ""},
		{"PUT", "transit/decrypt/sluice", `{"ciphertext":"vault:v1:x","context":"MQ=="}`},
		{"PUT", "transit/encrypt/another", `{"plaintext":"MQ==","context":"MQ=="}`},
		{"PUT", "transit/keys/another", `{}`},
		{"GET", "sys/mounts", ""},
		{"GET", "sys/policies/acl/sluice", ""},
		{"PUT", "sys/policies/acl/sluice", `{"policy":""}`},
		{"PUT", "sys/seal", `{}`},
		{"GET", "sys/raw/core", ""},
		{"GET", "auth/approle/role/sluice/role-id", ""},
		{"PUT", "auth/approle/role/sluice/secret-id", `{}`},
		{"PUT", "auth/token/create", `{}`},
		{"PUT", "auth/token/lookup", `{"token":"` + server.Root + `"}`},
		{"PUT", "cubbyhole/x", `{"a":"b"}`},
	} {
		status, err := server.As(ctx, token, c.method, c.path, c.body)
		require.NoError(t, err)
		require.Equal(t, http.StatusForbidden, status, "%s %s", c.method, c.path)
	}
}

func TestTheEncryptedFormIsTheAccountsOwn(t *testing.T) {
	server := vaulttest.Start(t)
	s := byToken(t, server)
	made, err := s.Create(t.Context(), secrettest.New("4711", "key", `"the value"`), 0)
	require.NoError(t, err)
	decrypt := func(account string) string {
		answer, err := server.Client.Logical().WriteWithContext(t.Context(), "transit/decrypt/sluice", map[string]any{
			"ciphertext": made.Crypted, "context": base64.StdEncoding.EncodeToString([]byte(account)),
		})
		if err != nil {
			return ""
		}
		text, err := base64.StdEncoding.DecodeString(answer.Data["plaintext"].(string))
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, `"the value"`, decrypt("4711"))
	require.Empty(t, decrypt("4712"))
}

func TestADeletionIsFinal(t *testing.T) {
	server := vaulttest.Start(t)
	s := byToken(t, server)
	ctx := t.Context()
	one := secrettest.New("1", "key", `"first"`)
	made, err := s.Create(ctx, one, 0)
	require.NoError(t, err)
	made.Value = json.RawMessage(`"second"`)
	_, err = s.Update(ctx, *made)
	require.NoError(t, err)
	require.NoError(t, s.Delete(ctx, "1", "key", 2))
	left, err := server.Client.Logical().ReadWithContext(ctx, "secret/metadata/sluice/1/key")
	require.NoError(t, err)
	require.Nil(t, left, "no version is left")

	t.Run("a tombstone that was just written keeps a creation waiting", func(t *testing.T) {
		bury := map[string]any{"data": map[string]any{"deleted": "true"}}
		require.NoError(t, server.Write(ctx, "secret/data/sluice/1/key", bury))
		_, err := s.Read(ctx, "1", "key")
		require.True(t, lambda.Is(err, lambda.KindNotFound), "%v", err)
		require.True(t, lambda.Is(s.Delete(ctx, "1", "key", 0), lambda.KindNotFound))
		_, err = s.Create(ctx, one, 10)
		require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
		all, err := s.List(ctx, "1")
		require.NoError(t, err)
		require.Empty(t, all)
	})
	t.Run("one whose gateway died gives way", func(t *testing.T) {
		vault.SetGraveTime(s, 0)
		defer vault.SetGraveTime(s, 2*time.Minute)
		made, err := s.Create(ctx, one, 10)
		require.NoError(t, err)
		require.Equal(t, 1, made.Version)
	})
	t.Run("and is removed when the account's secrets are listed", func(t *testing.T) {
		require.NoError(t, server.Write(ctx, "secret/data/sluice/1/left", map[string]any{"data": map[string]any{"deleted": "true"}}))
		vault.SetGraveTime(s, 0)
		defer vault.SetGraveTime(s, 2*time.Minute)
		all, err := s.List(ctx, "1")
		require.NoError(t, err)
		require.Len(t, all, 1)
		left, err := server.Client.Logical().ReadWithContext(ctx, "secret/metadata/sluice/1/left")
		require.NoError(t, err)
		require.Nil(t, left)
	})
	t.Run("what was deleted with Vault's own commands is gone and can be created", func(t *testing.T) {
		_, err := server.Client.Logical().DeleteWithContext(ctx, "secret/data/sluice/1/key")
		require.NoError(t, err)
		_, err = s.Read(ctx, "1", "key")
		require.True(t, lambda.Is(err, lambda.KindNotFound), "%v", err)
		made, err := s.Create(ctx, one, 10)
		require.NoError(t, err)
		require.Equal(t, 2, made.Version, "its versions go on")
		_, err = s.Create(ctx, one, 10)
		require.Equal(t, lambda.CodeSecretExists, lambda.As(err).Code)
	})
}

func TestWhatIsNotTheGatewaysIsLeftAlone(t *testing.T) {
	server := vaulttest.Start(t)
	s := byToken(t, server)
	ctx := t.Context()
	for path, data := range map[string]map[string]any{
		"1/by-hand":  {"value": "plain text of somebody"},
		"1/no-times": {"value": `"x"`, "type": "string"},
	} {
		require.NoError(t, server.Write(ctx, "secret/data/sluice/"+path, map[string]any{"data": data}))
	}
	for _, key := range []string{"by-hand", "no-times"} {
		_, err := s.Read(ctx, "1", key)
		require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
		require.ErrorContains(t, err, "was not written by a gateway")
		require.NotContains(t, err.Error(), "plain text of somebody")
		_, err = s.Create(ctx, secrettest.New("1", key, `1`), 10)
		require.Equal(t, lambda.CodeSecretExists, lambda.As(err).Code)
		require.True(t, lambda.Is(s.Delete(ctx, "1", key, 0), lambda.KindUnavailable))
		left, err := server.Client.Logical().ReadWithContext(ctx, "secret/data/sluice/1/"+key)
		require.NoError(t, err)
		require.NotNil(t, left)
	}
	_, err := s.Create(ctx, secrettest.New("1", "own", `1`), 10)
	require.NoError(t, err)
	all, err := s.List(ctx, "1")
	require.NoError(t, err)
	require.Len(t, all, 1, "and keeps nobody from seeing what is theirs")
	for _, account := range []string{"..", "", "a/b", "1/..", "%2e%2e", "a b", strings.Repeat("1", 101)} {
		_, err := s.Read(ctx, account, "key")
		require.True(t, lambda.Is(err, lambda.KindNotFound), "%q: %v", account, err)
		all, err := s.List(ctx, account)
		require.NoError(t, err)
		require.Empty(t, all)
	}
}

func TestAnAnswerThatHoldsAValueIsInNoErrorAndNoLog(t *testing.T) {
	const value = "a-value-that-came-back"
	server := vaulttest.Start(t)
	p := newProxy(t, server, nil)
	token, err := server.Token(t.Context(), 0, true)
	require.NoError(t, err)
	environment(t, "VAULT_ADDR", p.url, "VAULT_TOKEN", token)
	var log secrettest.Log
	c := config(t)
	c.Log = zerolog.New(&log).Level(zerolog.TraceLevel)
	s := open(t, c)
	one := secrettest.New("1", "key", `"`+value+`"`)
	one.Version = 1
	for name, answer := range map[string]func(http.ResponseWriter){
		"an error of Vault": func(w http.ResponseWriter) {
			w.WriteHeader(500)
			fmt.Fprintf(w, `{"errors":["cannot store %s"]}`, value)
		},
		"a refusal":             func(w http.ResponseWriter) { w.WriteHeader(403); fmt.Fprintf(w, `{"errors":["no %s"]}`, value) },
		"a fault of ours":       func(w http.ResponseWriter) { w.WriteHeader(400); fmt.Fprintf(w, `{"errors":["bad %s"]}`, value) },
		"nothing there":         func(w http.ResponseWriter) { w.WriteHeader(404); fmt.Fprintf(w, `{"errors":["no %s"]}`, value) },
		"a page of a proxy":     func(w http.ResponseWriter) { w.WriteHeader(502); fmt.Fprintf(w, `<html>%s`, value) },
		"a page with success":   func(w http.ResponseWriter) { fmt.Fprintf(w, `<html>%s`, value) },
		"JSON that breaks off":  func(w http.ResponseWriter) { fmt.Fprintf(w, `{"data":{"data":{"value":"%s`, value) },
		"JSON of another shape": func(w http.ResponseWriter) { fmt.Fprintf(w, `{"data":"%s"}`, value) },
		"a secret of another type": func(w http.ResponseWriter) {
			fmt.Fprintf(w, `{"data":{"data":{"value":"%s"},"metadata":{"version":1}}}`, value)
		},
		"a list of something else": func(w http.ResponseWriter) { fmt.Fprintf(w, `{"data":{"keys":["%s"]}}`, value) },
		"a broken line":            func(w http.ResponseWriter) { hijack(t, w, value+"\r\n\r\n") },
		"a broken header":          func(w http.ResponseWriter) { hijack(t, w, "HTTP/1.1 200 OK\r\n"+value+"\r\n\r\n") },
		"more than any answer has": func(w http.ResponseWriter) { fmt.Fprint(w, `{"data":"`, strings.Repeat(value, 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			p.answer.Store(&answer)
			defer p.answer.Store(nil)
			_, errRead := s.Read(t.Context(), "1", "key")
			_, errCreate := s.Create(t.Context(), one, 10)
			_, errUpdate := s.Update(t.Context(), one)
			_, errList := s.List(t.Context(), "1")
			for _, err := range []error{errRead, errCreate, errUpdate, errList, s.Delete(t.Context(), "1", "key", 1), s.Check(t.Context())} {
				if err != nil {
					require.NotContains(t, fmt.Sprintf("%v %+v", err, err), value)
				}
			}
			require.Error(t, errRead)
			require.NotContains(t, log.String(), value)
		})
	}
}

// hijack answers with bytes that are no HTTP.
func hijack(t *testing.T, w http.ResponseWriter, text string) {
	t.Helper()
	connection, _, err := w.(http.Hijacker).Hijack()
	require.NoError(t, err)
	_, _ = connection.Write([]byte(text))
	_ = connection.Close()
}
