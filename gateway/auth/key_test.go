package auth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func (g *gateway) check() {
	g.t.Helper()
	require.NoError(g.t, g.keeper.Check(g.t.Context()))
}

// stored gives the ids of the keys in etcd, the oldest first.
func (g *gateway) stored() []string {
	g.t.Helper()
	keys, _, err := g.store.SigningKeys(g.t.Context())
	require.NoError(g.t, err)
	ids := []string{}
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// published gives the ids of the keys in the JWKS.
func (g *gateway) published() []string {
	g.t.Helper()
	var set struct{ Keys []map[string]string }
	require.NoError(g.t, json.Unmarshal(g.service.JWKS(), &set))
	ids := []string{}
	for _, k := range set.Keys {
		require.Equal(g.t, "RS256", k["alg"])
		require.Equal(g.t, "sig", k["use"])
		require.Equal(g.t, "RSA", k["kty"])
		require.Len(g.t, k, 6, "the private part stays here")
		ids = append(ids, k["kid"])
	}
	return ids
}

// signer gives the id of the key that signs now.
func (g *gateway) signer() string {
	g.t.Helper()
	return kidOf(g.t, g.appToken("app"))
}

func TestRotationBreaksNoLiveToken(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	first := g.stored()[0]
	require.Equal(t, []string{first}, g.published())
	require.Equal(t, first, g.signer())

	g.clock.Add(24*time.Hour - 21*time.Minute)
	g.check()
	require.Len(t, g.published(), 1, "too early for the next")

	g.clock.Add(time.Minute)
	g.check()
	require.Len(t, g.published(), 2, "the next is published before it signs")
	second := g.published()[1]
	require.Equal(t, first, g.signer())
	g.check()
	require.Len(t, g.published(), 2, "one is enough")

	g.clock.Add(20*time.Minute - time.Second)
	last := g.appToken("app")
	require.Equal(t, first, kidOf(t, last))
	g.clock.Add(time.Second)
	require.Equal(t, second, g.signer())

	g.clock.Add(time.Hour - 2*time.Second)
	g.check()
	g.accepted(last)
	require.Contains(t, g.published(), first, "its last token lives")
	g.clock.Add(time.Second)
	g.refused(last, "has expired")

	g.clock.Add(25 * time.Minute)
	g.check()
	require.Equal(t, []string{second}, g.published())
	require.Equal(t, []string{second}, g.stored(), "and it is gone from etcd")
	require.Equal(t, second, g.signer())
}

func TestAWeekOfRotations(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	type issued struct {
		token string
		until time.Time
	}
	var live []issued
	signers := map[string]bool{}
	for range 7 * 24 * 2 {
		g.clock.Add(30 * time.Minute)
		g.check()
		token := g.appToken("app")
		live = append(live, issued{token, g.clock.Now().Add(time.Hour)})
		signers[kidOf(t, token)] = true
		for len(live) > 0 && !live[0].until.After(g.clock.Now()) {
			live = live[1:]
		}
		for _, i := range live {
			g.accepted(i.token)
		}
		require.LessOrEqual(t, len(g.published()), 3)
	}
	require.GreaterOrEqual(t, len(signers), 7)
	require.LessOrEqual(t, len(signers), 8)
}

func TestAKeeperThatComesLateStillGivesNotice(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	first := g.stored()[0]
	g.clock.Add(24*time.Hour - time.Minute) // nobody looked for a day
	g.check()
	second := g.published()[1]
	require.Equal(t, first, g.signer())
	g.clock.Add(9 * time.Minute)
	require.Equal(t, first, g.signer(), "the old key goes on until the new one was published for 10 minutes")
	g.clock.Add(time.Minute)
	require.Equal(t, second, g.signer())
}

func TestWithoutAUsableKeyANewOneSignsAtOnce(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	first := g.signer()
	g.clock.Add(72 * time.Hour) // the whole region was off
	require.NotEqual(t, first, g.signer())
	require.NotContains(t, g.stored(), first)
}

func TestGatewaysThatRotateAtOnceCreateOneKey(t *testing.T) {
	c := newClock()
	_, err := etcd(t).Delete(t.Context(), "/sluice/view/keys/", clientv3.WithPrefix())
	require.NoError(t, err)
	gateways := make([]*gateway, 4)
	for i := range gateways {
		gateways[i] = join(t, c, auth.Config{})
	}
	together := func() {
		var all sync.WaitGroup
		errs := make([]error, len(gateways))
		for i, g := range gateways {
			all.Go(func() { errs[i] = g.keeper.Check(t.Context()) })
		}
		all.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
	}
	together()
	require.Len(t, gateways[0].stored(), 1)
	c.Add(24*time.Hour - 15*time.Minute)
	together()
	require.Len(t, gateways[0].stored(), 2)
	for _, g := range gateways {
		require.Equal(t, gateways[0].stored(), g.published())
	}
}

func TestTokensOfOneGatewayAreGoodAtAll(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	other := join(t, g.clock, auth.Config{})
	other.account = g.account
	other.accepted(g.appToken("app")) // it never looked for keys before
	require.Equal(t, g.signer(), kidOf(t, other.appToken("app")))
}

func TestADeletedKeyIsDistrusted(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	token := g.appToken("app")
	g.accepted(token)
	require.NoError(t, g.store.DeleteSigningKey(t.Context(), g.stored()[0]))
	g.check()
	g.refused(token, "no longer valid")
	g.accepted(g.appToken("app")) // a new key took over
}

func TestADamagedKeyIsPassedOver(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	good := g.signer()
	_, revision, err := g.store.SigningKeys(t.Context())
	require.NoError(t, err)
	now := g.clock.Now()
	require.NoError(t, g.store.PutSigningKey(t.Context(), lambda.SigningKey{
		ID: "damaged", PrivateKey: []byte("no key"), CreatedAt: now, SignsFrom: now, SignsUntil: now.Add(48 * time.Hour), ExpiresAt: now.Add(50 * time.Hour),
	}, revision))
	g.check()
	require.Equal(t, []string{good}, g.published())
	require.Equal(t, good, g.signer())
	g.clock.Add(24*time.Hour - 15*time.Minute)
	g.check()
	require.Len(t, g.published(), 2, "it does not hold up the rotation")
}

func TestKeysCannotPileUp(t *testing.T) {
	g := start(t)
	require.NoError(t, g.store.DeleteSigningKey(t.Context(), g.stored()[0]))
	later := g.clock.Now().Add(365 * 24 * time.Hour) // a gateway's clock was a year ahead
	for i := range 16 {
		_, revision, err := g.store.SigningKeys(t.Context())
		require.NoError(t, err)
		require.NoError(t, g.store.PutSigningKey(t.Context(), lambda.SigningKey{
			ID: fmt.Sprint("k", i), CreatedAt: later, SignsFrom: later, SignsUntil: later, ExpiresAt: later.Add(time.Hour),
		}, revision))
	}
	require.ErrorContains(t, g.keeper.Check(t.Context()), "compare the clocks")
	require.Len(t, g.stored(), 16)
	g.clock.Add(366 * 24 * time.Hour)
	g.check() // what has expired is cleared away
	require.Len(t, g.stored(), 1)
}

func TestRunCreatesTheFirstKeyAndEnds(t *testing.T) {
	g := start(t)
	require.NoError(t, g.store.DeleteSigningKey(t.Context(), g.stored()[0]))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); g.keeper.Run(ctx) }()
	require.Eventually(t, func() bool { return len(g.stored()) == 1 }, 10*time.Second, 5*time.Millisecond)
	cancel()
	<-ended
}

func TestKeysOutliveAnEtcdThatIsAway(t *testing.T) {
	g := start(t)
	g.app("app", scopeInvoke)
	g.store.down.Store(true)
	require.Error(t, g.keeper.Check(t.Context()))
	g.accepted(g.appToken("app"))
}
