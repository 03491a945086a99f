package store_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
)

// heard is what a view told of secrets.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) hear(account, key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, account+"/"+key)
}

func (h *heard) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.all
	h.all = nil
	return all
}

func sealedAs(account, key, sealer string) *lambda.SealedSecret {
	return &lambda.SealedSecret{Account: account, Key: key, Type: "string", Version: 1, Sealer: sealer, Sealed: []byte("x")}
}

func TestEveryViewIsToldOfAChangedSecret(t *testing.T) {
	server := etcdtest.Start(t)
	writer := store.New(server.Client(t), zerolog.Nop())
	_, err := writer.ChooseSealer(t.Context(), "", "k1")
	require.NoError(t, err)
	v, err := store.New(server.Client(t), zerolog.Nop()).OpenViews(t.Context())
	require.NoError(t, err)
	defer v.Close()
	h := &heard{}
	v.OnSecret(h.hear)
	told := func(want ...string) {
		t.Helper()
		require.NoError(t, v.WaitFor(t.Context(), writer.Written()))
		require.Equal(t, want, h.take())
	}
	r := sealedAs("1", "a", "k1")
	require.NoError(t, writer.CreateSecret(t.Context(), r, 0, nil))
	told("1/a")
	kept, err := writer.Secret(t.Context(), "1", "a")
	require.NoError(t, err)
	kept.Version = 2
	require.NoError(t, writer.UpdateSecret(t.Context(), kept))
	told("1/a")
	require.NoError(t, writer.DeleteSecret(t.Context(), "1", "a", 0))
	told("1/a")
	require.NoError(t, writer.MarkSecret(t.Context(), "1", "elsewhere", 3))
	told("1/elsewhere")
	require.NoError(t, writer.MarkSecret(t.Context(), "1", "unmarked", 0))
	told("1/unmarked", "1/unmarked")
	marks, err := server.Client(t).Get(t.Context(), "/sluice/view/secrets/1/unmarked")
	require.NoError(t, err)
	require.Zero(t, marks.Count, "what is gone leaves no mark")

	t.Run("also of what changed while etcd was away", func(t *testing.T) {
		server.Stop()
		server.Restart(t)
		require.NoError(t, writer.MarkSecret(t.Context(), "1", "elsewhere", 3))
		require.NoError(t, writer.MarkSecret(t.Context(), "1", "new", 1))
		require.NoError(t, v.WaitFor(t.Context(), writer.Written()))
		got := h.take()
		require.Contains(t, got, "1/elsewhere")
		require.Contains(t, got, "1/new")
	})
}

func TestSecretsAreBoundedUnderConcurrency(t *testing.T) {
	s := open(t)
	account := newAccount()
	id, _, err := s.Sealer(t.Context())
	require.NoError(t, err)
	if id == "" {
		done, err := s.ChooseSealer(t.Context(), "", "k1")
		require.NoError(t, err)
		require.True(t, done)
		id = "k1"
	}
	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			err := s.CreateSecret(t.Context(), sealedAs(account, "k"+strconv.Itoa(i), id), 5, []string{"hidden"})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
				return
			}
			requireKind(t, err, lambda.KindConflict, lambda.CodeSecretLimit)
		})
	}
	wg.Wait()
	require.Equal(t, 5, made)
	require.NoError(t, s.CreateSecret(t.Context(), sealedAs(account, "hidden", id), 0, []string{"hidden"}))
	all, err := s.Secrets(t.Context(), account)
	require.NoError(t, err)
	require.Len(t, all, 6)

	done, err := s.ChooseSealer(t.Context(), id, "k2")
	require.NoError(t, err)
	require.False(t, done, "a key that seals something stays")
	err = s.CreateSecret(t.Context(), sealedAs(newAccount(), "k", "k2"), 0, nil)
	requireKind(t, err, lambda.KindUnavailable, lambda.CodeSecretAuth)
}

func TestNamesOfSecretsStayInTheirFolder(t *testing.T) {
	s := open(t)
	for _, name := range []string{"", "a/b", "../x", "a\x00", fmt.Sprintf("%0300d", 0)} {
		_, err := s.Secret(t.Context(), newAccount(), name)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound)
		requireKind(t, s.DeleteSecret(t.Context(), newAccount(), name, 0), lambda.KindNotFound, lambda.CodeSecretNotFound)
		requireKind(t, s.UpdateSecret(t.Context(), sealedAs(newAccount(), name, "k")), lambda.KindNotFound, lambda.CodeSecretNotFound)
		require.True(t, lambda.Is(s.CreateSecret(t.Context(), sealedAs(newAccount(), name, "k"), 0, nil), lambda.KindInvalid))
		require.True(t, lambda.Is(s.MarkSecret(t.Context(), newAccount(), name, 1), lambda.KindInvalid))
	}
}
