package auth_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// everything is all that etcd holds, as text.
func everything(t testing.TB) string {
	t.Helper()
	r, err := etcd(t).Get(t.Context(), "/", clientv3.WithFromKey())
	require.NoError(t, err)
	var text strings.Builder
	for _, kv := range r.Kvs {
		fmt.Fprintf(&text, "%s %s\n", kv.Key, kv.Value)
	}
	return text.String()
}

func TestPasswords(t *testing.T) {
	g := start(t)
	for _, password := range []string{"a", "pass word", "päßwörd 🔑", strings.Repeat("x", 1024), "\x00\xff"} {
		hash, err := g.service.HashPassword(t.Context(), "1", password)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$"), hash)
		ok, err := g.service.VerifyPassword(t.Context(), hash, password)
		require.NoError(t, err)
		require.True(t, ok)
		ok, err = g.service.VerifyPassword(t.Context(), hash, password+"x")
		require.NoError(t, err)
		require.False(t, ok)
	}
	one, err := g.service.HashPassword(t.Context(), "1", "same")
	require.NoError(t, err)
	two, err := g.service.HashPassword(t.Context(), "1", "same")
	require.NoError(t, err)
	require.NotEqual(t, one, two, "each has a salt of its own")
	for _, password := range []string{"", strings.Repeat("x", 1025)} {
		_, err := g.service.HashPassword(t.Context(), "1", password)
		require.True(t, lambda.Is(err, lambda.KindInvalid))
	}
}

func TestHashesThatAreNone(t *testing.T) {
	g := start(t)
	const salt, key = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for name, hash := range map[string]string{
		"empty":                 "",
		"a password in clear":   "secret",
		"another algorithm":     "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key,
		"another version":       "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key,
		"no parameters":         "$argon2id$v=19$$" + salt + "$" + key,
		"memory to exhaust us":  "$argon2id$v=19$m=4194304,t=2,p=1$" + salt + "$" + key,
		"no memory":             "$argon2id$v=19$m=0,t=2,p=1$" + salt + "$" + key,
		"no pass":               "$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + key,
		"endless passes":        "$argon2id$v=19$m=19456,t=4000000000,p=1$" + salt + "$" + key,
		"no thread":             "$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + key,
		"more threads than 255": "$argon2id$v=19$m=19456,t=2,p=256$" + salt + "$" + key,
		"negative numbers":      "$argon2id$v=19$m=-1,t=-1,p=-1$" + salt + "$" + key,
		"no salt":               "$argon2id$v=19$m=19456,t=2,p=1$$" + key,
		"no key":                "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$",
		"a key of one byte":     "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AA",
		"no base64":             "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$????????????????????????",
		"one part more":         "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key + "$",
	} {
		t.Run(name, func(t *testing.T) {
			ok, err := g.service.VerifyPassword(t.Context(), hash, "")
			require.Error(t, err)
			require.False(t, ok)
		})
	}
}

func TestUnknownUsersCostWhatKnownOnesCost(t *testing.T) {
	g := start(t)
	g.user("dev")
	least := func(name string) time.Duration {
		took := make([]time.Duration, 0, 4)
		for range 4 { // below the limit of failures
			began := processorTime(t)
			_, err := g.service.Login(t.Context(), g.account, name, "wrong")
			require.True(t, lambda.Is(err, lambda.KindUnauthorized))
			took = append(took, processorTime(t)-began)
		}
		slices.Sort(took)
		return took[0]
	}
	// Processor time, and not of the clock: others use the machine too.
	known, unknown := least("dev"), least("ghost")
	require.Less(t, known/3, unknown, "a hash is made for nobody too")
	require.Less(t, unknown/3, known)
}

// processorTime is what this program has used of the processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestAFloodOfLoginsIsTurnedAway(t *testing.T) {
	g := start(t)
	keeper, err := auth.NewKeeper(auth.Config{}, g.store, zerolog.Nop())
	require.NoError(t, err)
	service, err := auth.NewService(auth.Config{Hashes: 1}, g.store, g.views, keeper, zerolog.Nop())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const callers = 300 // the slot, 64 waiting, and many more
	ended := make(chan error, callers)
	for i := range callers {
		go func() {
			_, err := service.Login(ctx, g.account, fmt.Sprint("user", i), "x")
			ended <- err
		}()
	}
	limited := 0
	for range callers {
		err := <-ended
		if lambda.Is(err, lambda.KindRateLimited) {
			require.Equal(t, 5*time.Second, lambda.As(err).RetryAfter)
			if limited++; limited == 100 {
				cancel() // those who wait leave
			}
		}
	}
	require.GreaterOrEqual(t, limited, 100)
	require.Less(t, limited, callers)
}
