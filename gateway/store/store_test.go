package store_test

import (
	"context"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
)

func TestOpen(t *testing.T) {
	t.Run("an empty etcd is marked, a marked one is accepted, one of another schema is refused", func(t *testing.T) {
		server, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		s := store.New(server.Client(), zerolog.Nop())
		require.NoError(t, s.Open(t.Context()))
		require.NoError(t, s.Open(t.Context()))
		require.NoError(t, s.Check(t.Context()))
		_, err = server.Client().Put(t.Context(), "/sluice/schema", "99")
		require.NoError(t, err)
		require.ErrorContains(t, s.Open(t.Context()), `schema "99"`)
	})
	t.Run("an etcd that has gone is unavailable, not a defect", func(t *testing.T) {
		server, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
		require.NoError(t, err)
		s := store.New(server.Client(), zerolog.Nop())
		require.NoError(t, server.Close())
		_, err = s.Record(t.Context(), "1", "2")
		requireKind(t, err, lambda.KindUnavailable, lambda.CodeUnavailable)
		require.Error(t, s.Check(t.Context()))
	})
	t.Run("a caller who leaves gets the error of its own context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := open(t).Record(ctx, "1", "2")
		require.ErrorIs(t, err, context.Canceled)
		require.Nil(t, lambda.As(err))
	})
}

// FuzzKeys shows that no id or name writes outside the folders of its account.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"hello", "../x", "a/b", "", "\x00", "a\u2028b", string([]byte{0xff}), strings.Repeat("x", 257), ".", "é"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, id, login string) {
		s := store.New(client, zerolog.Nop())
		account := newAccount()
		before, err := client.Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		if err := s.PutUser(t.Context(), &lambda.User{ID: id, Account: account, LoginName: login}); err != nil {
			require.True(t, lambda.Is(err, lambda.KindInvalid), "%v", err)
			after, err := client.Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			require.NoError(t, err)
			require.Equal(t, before.Count, after.Count, "a refused write wrote")
			return
		}
		defer func() {
			_, _ = client.Delete(context.Background(), "/sluice/view/users/"+account+"/"+id)
			_, _ = client.Delete(context.Background(), "/sluice/logins/"+account+"/"+login)
		}()
		for folder, tail := range map[string]string{"/sluice/view/users/": id, "/sluice/logins/": login} {
			r, err := client.Get(t.Context(), folder+account+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
			require.NoError(t, err)
			require.Len(t, r.Kvs, 1)
			rest := strings.TrimPrefix(string(r.Kvs[0].Key), folder+account+"/")
			require.Equal(t, tail, rest)
			require.NotContains(t, rest, "/")
		}
		u, err := s.UserByLogin(t.Context(), account, login)
		require.NoError(t, err)
		require.Equal(t, id, u.ID)
	})
}
