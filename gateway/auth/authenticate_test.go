package auth_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const scopeInvoke = "faas.lambda.invoke"

func TestLoginTokenNamesItsUser(t *testing.T) {
	g := start(t)
	u := g.user("dev", lambda.RoleDeveloper)
	p := g.accepted(g.login("dev").Bearer)
	require.Equal(t, &auth.Principal{
		Account: g.account, UserID: u.ID, LoginName: "dev", Kind: auth.Login,
		Permissions: auth.Permissions([]lambda.Role{lambda.RoleDeveloper}),
	}, p)
	require.Equal(t, u.ID, p.Caller())
}

func TestChangedRolesCountAtOnce(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	token := g.login("dev").Bearer
	require.True(t, g.accepted(token).May(auth.Deploy))
	g.user("dev", lambda.RoleInvocation)
	require.False(t, g.accepted(token).May(auth.Deploy))
	require.True(t, g.accepted(token).May(auth.Invoke))
}

func TestAccessTokenNamesUserAndApp(t *testing.T) {
	g := start(t)
	u := g.user("dev", lambda.RoleInvocation)
	token, session := auth.NewToken(), auth.NewToken()
	g.app("app", scopeInvoke, "authorization_code")
	require.NoError(t, g.store.CreateSession(t.Context(), u,
		&lambda.Session{ID: auth.Hash(session), Account: g.account, UserID: u.ID, BearerHash: auth.Hash(token), ExpiresAt: g.clock.Now().Add(time.Hour)},
		&lambda.Token{Hash: auth.Hash(token), Kind: lambda.TokenAccess, Account: g.account, UserID: u.ID, ClientID: "app"}))
	p := g.accepted(token)
	require.Equal(t, auth.Access, p.Kind)
	require.Equal(t, "app", p.ClientID)
	require.Equal(t, u.ID, p.Caller())
	require.True(t, p.May(auth.Invoke))
}

func TestRefusesWhatIsNoToken(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	token := g.login("dev").Bearer
	for name, c := range map[string]struct{ header, says string }{
		"nothing":                     {"", "there is no token"},
		"a scheme alone":              {"Bearer", "no token after Bearer"},
		"a scheme and spaces":         {"Bearer    ", "no token after Bearer"},
		"a token alone":               {token, "does not begin with Bearer"},
		"another scheme":              {"Basic " + token, "does not begin with Bearer"},
		"the scheme DPoP":             {"DPoP " + token, "does not begin with Bearer"},
		"a tab instead of a space":    {"Bearer\t" + token, "does not begin with Bearer"},
		"a space before the scheme":   {" Bearer " + token, "does not begin with Bearer"},
		"words":                       {"Bearer let me in", "neither"},
		"two tokens":                  {"Bearer " + token + "," + token, "neither"},
		"a token and a space":         {"Bearer " + token + " ", "neither"},
		"an unknown token":            {"Bearer " + auth.NewToken(), "unknown or has expired"},
		"the hash of a token":         {"Bearer " + auth.Hash(token), "unknown or has expired"},
		"the token in capitals":       {"Bearer " + strings.ToUpper(token), "neither"},
		"a part of the token":         {"Bearer " + token[:63], "neither"},
		"dots":                        {"Bearer ..", "neither"},
		"far too much":                {"Bearer " + strings.Repeat("a", 5000), "the limit is 4096"},
		"bytes that are no text":      {"Bearer \xff\x00\xfe", "neither"},
		"a path instead of a token":   {"Bearer ../../../keys/" + strings.Repeat("a", 50), "neither"},
		"64 characters that look hex": {"Bearer " + strings.Repeat("g", 64), "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := g.authenticate(c.header)
			require.Nil(t, p)
			require.Truef(t, lambda.Is(err, lambda.KindUnauthorized), "got %v", err)
			require.Contains(t, err.Error(), c.says)
			require.Equal(t, lambda.PhaseAuthenticate, lambda.As(err).Phase)
		})
	}
}

func TestSchemeIsReadInAnyCase(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	token := g.login("dev").Bearer
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER ", "Bearer   "} {
		_, err := g.authenticate(scheme + token)
		require.NoError(t, err, scheme)
	}
}

func TestTokensOfAnotherAccountAreRefused(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleLPA)
	g.app("app", scopeInvoke)
	for _, token := range []string{g.login("dev").Bearer, g.appToken("app")} {
		for _, other := range []string{"1", "", g.account + "0", "x"} {
			_, err := g.authenticator.Authenticate(t.Context(), "Bearer "+token, other)
			require.Truef(t, lambda.Is(err, lambda.KindUnauthorized), "got %v", err)
			require.ErrorContains(t, err, "another account")
		}
		g.accepted(token)
	}
}

func TestLoginTokenEndsAfterEightHours(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	token := g.login("dev").Bearer
	g.clock.Add(8*time.Hour - time.Second)
	g.accepted(token)
	g.clock.Add(time.Second)
	g.refused(token, "log in again")
}

func TestTokenOfAUserWhoIsGone(t *testing.T) {
	g := start(t)
	u := g.user("dev", lambda.RoleDeveloper)
	token := g.login("dev").Bearer
	r, err := etcd(t).Delete(t.Context(), "/sluice/view/users/"+g.account+"/"+u.ID)
	require.NoError(t, err)
	require.NoError(t, g.views.WaitFor(t.Context(), r.Header.Revision))
	g.refused(token, "no longer exists")
}

func TestAppTokenMayInvokeAndNothingElse(t *testing.T) {
	g := start(t)
	g.app("app", "msg.consumer "+scopeInvoke)
	p := g.accepted(g.appToken("app"))
	require.Equal(t, &auth.Principal{
		Account: g.account, ClientID: "app", Kind: auth.App, Permissions: auth.Invoke, Scopes: []string{"msg.consumer", scopeInvoke},
	}, p)
	require.Equal(t, "app", p.Caller())

	g.app("other", "msg.consumer faas.lambda.invoke.not")
	p = g.accepted(g.appToken("other"))
	require.False(t, p.May(auth.Invoke), "the scope is missing")
}

func TestAppTokenEndsAfterAnHour(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	token := g.appToken("app")
	g.accepted(token)
	g.clock.Add(time.Hour - time.Second)
	g.accepted(token)
	g.clock.Add(time.Second)
	g.refused(token, "has expired")
	g.refused(token, "has expired")
}

func TestAppTokenFollowsTheInstallation(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke+" msg.consumer")
	token := g.appToken("app")
	require.True(t, g.accepted(token).May(auth.Invoke))

	g.app("app", "msg.consumer")
	p := g.accepted(token)
	require.False(t, p.May(auth.Invoke), "the scope was taken away")
	require.Equal(t, []string{"msg.consumer"}, p.Scopes)

	g.app("app", scopeInvoke+" msg.consumer and.more")
	p = g.accepted(token)
	require.True(t, p.May(auth.Invoke), "the scope came back")
	require.NotContains(t, p.Scopes, "and.more", "the token never had it")

	g.app("app", scopeInvoke, "authorization_code")
	g.refused(token, "no longer installed")

	r, err := etcd(t).Delete(t.Context(), "/sluice/view/apps/"+g.account+"/app")
	require.NoError(t, err)
	require.NoError(t, g.views.WaitFor(t.Context(), r.Header.Revision))
	g.refused(token, "no longer installed")
}

// signingKey gives the one key in etcd.
func (g *gateway) signingKey() (kid string, private *rsa.PrivateKey) {
	g.t.Helper()
	keys, _, err := g.store.SigningKeys(g.t.Context())
	require.NoError(g.t, err)
	require.Len(g.t, keys, 1)
	parsed, err := x509.ParsePKCS8PrivateKey(keys[0].PrivateKey)
	require.NoError(g.t, err)
	return keys[0].ID, parsed.(*rsa.PrivateKey)
}

func sign(t testing.TB, key any, alg jose.SignatureAlgorithm, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	require.NoError(t, err)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(t, err)
	return token
}

func TestForgedAndWrongJWTs(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	kid, private := g.signingKey()
	good := func(change ...any) map[string]any {
		now := g.clock.Now().Unix()
		c := map[string]any{"iss": "Sentinel", "aud": g.account, "azp": "app", "scope": scopeInvoke, "iat": now, "exp": now + 3600}
		for i := 0; i < len(change); i += 2 {
			if change[i+1] == nil {
				delete(c, change[i].(string))
			} else {
				c[change[i].(string)] = change[i+1]
			}
		}
		return c
	}
	ours := func(claims map[string]any) string { return sign(t, private, jose.RS256, kid, claims) }
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	header := func(alg string) string { return b64([]byte(`{"alg":"` + alg + `","kid":"` + kid + `"}`)) }
	payload, err := json.Marshal(good())
	require.NoError(t, err)
	hs256 := func(key []byte) string {
		signed := header("HS256") + "." + b64(payload)
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		return signed + "." + b64(mac.Sum(nil))
	}
	valid := ours(good())
	part := strings.Split(valid, ".")
	day := int64(24 * 3600)
	now := g.clock.Now().Unix()

	g.accepted(valid)
	for name, c := range map[string]struct{ token, says string }{
		"no signature at all":              {part[0] + "." + part[1] + ".", "neither"},
		"algorithm none":                   {header("none") + "." + b64(payload) + ".", "neither"},
		"HMAC with the public key":         {hs256(x509.MarshalPKCS1PublicKey(&private.PublicKey)), "neither"},
		"another RSA algorithm":            {sign(t, private, jose.RS512, kid, good()), "neither"},
		"PSS":                              {sign(t, private, jose.PS256, kid, good()), "neither"},
		"another's key under our kid":      {sign(t, stranger, jose.RS256, kid, good()), "neither"},
		"an unknown kid":                   {sign(t, private, jose.RS256, "other", good()), "a key that this Sentinel does not have"},
		"no kid":                           {sign(t, private, jose.RS256, "", good()), "a key that this Sentinel does not have"},
		"a changed payload":                {part[0] + "." + b64([]byte(strings.Replace(string(payload), "app", "ape", 1))) + "." + part[2], "neither"},
		"a changed signature":              {part[0] + "." + part[1] + "." + other(part[2][:1]) + part[2][1:], "neither"},
		"four parts":                       {valid + ".x", "neither"},
		"another issuer":                   {ours(good("iss", "sentinel")), "neither"},
		"no issuer":                        {ours(good("iss", nil)), "neither"},
		"no audience":                      {ours(good("aud", nil)), "neither"},
		"a list of audiences":              {ours(good("aud", []string{g.account, "2"})), "neither"},
		"an id token, for a client":        {ours(good("aud", "app", "sub", "user")), "another account"},
		"no client":                        {ours(good("azp", nil)), "neither"},
		"an app nobody installed":          {ours(good("azp", "ghost")), "no longer installed"},
		"no end":                           {ours(good("exp", nil)), "neither"},
		"an end that is text":              {ours(good("exp", "tomorrow")), "neither"},
		"an end before all time":           {ours(good("exp", -5)), "neither"},
		"an end a second ago":              {ours(good("exp", now-1)), "has expired"},
		"an end now":                       {ours(good("exp", now)), "has expired"},
		"begun tomorrow":                   {ours(good("iat", now+day, "exp", now+2*day)), "issued in the future"},
		"claims that are a list":           {sign(t, private, jose.RS256, kid, nil), "neither"},
		"an account with other characters": {ours(good("aud", "../"+g.account)), "another account"},
	} {
		t.Run(name, func(t *testing.T) {
			g := *g
			g.t = t
			g.refused(c.token, c.says)
			g.refused(c.token, c.says) // from memory as well
		})
	}
	t.Run("a clock that is a little ahead", func(t *testing.T) {
		g.accepted(ours(good("iat", now+30)))
	})
}

func TestWarmCallsNeedNoEtcd(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	g.app("app", scopeInvoke)
	bearer, signed := g.login("dev").Bearer, g.appToken("app")
	g.store.reads.Store(0)
	g.store.down.Store(true)
	for range 3 {
		g.accepted(bearer)
		g.accepted(signed)
	}
	require.Zero(t, g.store.reads.Load())
}

func TestTokensWorkBeforeTheWatchTellsOfThem(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	g.app("app", scopeInvoke)
	bearer, signed := g.login("dev").Bearer, g.appToken("app")
	behind := join(t, g.clock, auth.Config{})
	behind.account = g.account
	behind.build(auth.Config{}, blind{}) // knows no user, token, app or key
	require.Equal(t, "dev", behind.accepted(bearer).LoginName)
	require.Equal(t, "app", behind.accepted(signed).ClientID)
}

func TestStrangersAreLookedUpSparingly(t *testing.T) {
	g := start(t)
	unknown := auth.NewToken()
	g.store.reads.Store(0)
	for range 100 {
		g.refused(unknown, "unknown")
	}
	require.EqualValues(t, 1, g.store.reads.Load(), "one token, one look")
	g.clock.Add(3 * time.Second)
	g.refused(unknown, "unknown")
	require.EqualValues(t, 2, g.store.reads.Load(), "later another")

	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	g.store.reads.Store(0)
	for i := range 100 {
		g.refused(sign(t, stranger, jose.RS256, "kid"+string(rune('A'+i)), map[string]any{"iss": "Sentinel"}), "a key that this Sentinel does not have")
	}
	require.EqualValues(t, 1, g.store.reads.Load(), "many kids, one look")
}

func TestEtcdThatDoesNotAnswerIsNotTheCallersFault(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	bearer := g.login("dev").Bearer
	g.store.down.Store(true)
	g.accepted(bearer)
	_, err := g.authenticate("Bearer " + auth.NewToken())
	require.Truef(t, lambda.Is(err, lambda.KindUnavailable), "got %v", err)
	require.Positive(t, lambda.As(err).RetryAfter)
	require.Equal(t, lambda.PhaseAuthenticate, lambda.As(err).Phase)
}

// stuck is an etcd that never answers.
type stuck struct{ auth.Store }

func (stuck) Token(ctx context.Context, _ string) (*lambda.Token, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestEtcdThatHangsHoldsNobodyForLong(t *testing.T) {
	g := start(t)
	cfg := auth.Config{ReadTimeout: 20 * time.Millisecond}
	keeper, err := auth.NewKeeper(cfg, g.store, zerolog.Nop())
	require.NoError(t, err)
	a, err := auth.NewAuthenticator(cfg, stuck{g.store}, blind{}, keeper)
	require.NoError(t, err)
	failed := make(chan error)
	const callers = 200 // more than may read at once
	for range callers {
		go func() {
			_, err := a.Authenticate(t.Context(), "Bearer "+auth.NewToken(), g.account)
			failed <- err
		}()
	}
	for range callers {
		require.True(t, lambda.Is(<-failed, lambda.KindUnavailable))
	}
}

func TestWarmCallsAllocateLittle(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	g.app("app", scopeInvoke)
	for name, token := range map[string]string{"a login token": g.login("dev").Bearer, "a JWT": g.appToken("app")} {
		header := "Bearer " + token
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := g.authenticate(header); err != nil {
				t.Error(err)
			}
		})
		require.LessOrEqualf(t, allocs, 2.0, "%s", name)
	}
}

func benchmarkWarm(b *testing.B, header func(*gateway) string) {
	g := start(b)
	h := header(g)
	_, err := g.authenticate(h)
	require.NoError(b, err)
	ctx := b.Context()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.authenticator.Authenticate(ctx, h, g.account); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkWarmLoginToken(b *testing.B) {
	benchmarkWarm(b, func(g *gateway) string {
		g.user("dev", lambda.RoleDeveloper)
		return "Bearer " + g.login("dev").Bearer
	})
}

func BenchmarkWarmJWT(b *testing.B) {
	benchmarkWarm(b, func(g *gateway) string {
		g.app("app", scopeInvoke)
		return "Bearer " + g.appToken("app")
	})
}

func FuzzAuthorization(f *testing.F) {
	g := start(f)
	g.app("app", scopeInvoke)
	f.Add("Bearer " + g.appToken("app"))
	for _, seed := range []string{"", "Bearer", "Bearer  a.b.c", "Basic eA==", "Bearer " + auth.NewToken(), "Bearer e30.e30.e30", "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.e30.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		p, err := g.authenticator.Authenticate(t.Context(), header, "12345678")
		require.Nil(t, p)
		require.Truef(t, lambda.Is(err, lambda.KindUnauthorized), "got %v", err)
	})
}

// other gives a base64 character that is not this one.
func other(character string) string {
	if character == "A" {
		return "B"
	}
	return "A"
}
