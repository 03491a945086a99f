package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

func newDomain(account, name string) lambda.Domain {
	return lambda.Domain{Account: account, Name: name, CreatedAt: time.Now().UTC().Truncate(time.Millisecond), CreatedBy: "admin"}
}

func addDomain(t *testing.T, s *store.Store, account, name string) *lambda.Domain {
	t.Helper()
	d, err := s.CreateDomain(t.Context(), newDomain(account, name), nil)
	require.NoError(t, err)
	return d
}

func TestDomains(t *testing.T) {
	t.Run("what was added is read back, the oldest first, and no other account's", func(t *testing.T) {
		s, account := open(t), newAccount()
		var want []lambda.Domain
		for i := range 12 { // so many that an order by text would show
			want = append(want, *addDomain(t, s, account, fmt.Sprintf("h%d.example.com", i)))
			require.Equal(t, i+1, want[i].ID)
		}
		addDomain(t, s, account+"1", "other.example.com")
		got, err := s.Domains(t.Context(), account)
		require.NoError(t, err)
		require.Equal(t, want, got)
		one, err := s.Domain(t.Context(), account, 3)
		require.NoError(t, err)
		require.Equal(t, &want[2], one)
	})
	t.Run("a name is there once", func(t *testing.T) {
		s, account := open(t), newAccount()
		d := addDomain(t, s, account, "a.example.com")
		_, err := s.CreateDomain(t.Context(), newDomain(account, "a.example.com"), nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeDomainDuplicate)
		require.NoError(t, s.DeleteDomain(t.Context(), account, d.ID))
		require.Equal(t, d.ID+1, addDomain(t, s, account, "a.example.com").ID, "an id is never given twice")
	})
	t.Run("of many that add one name at once, one wins", func(t *testing.T) {
		s, account := open(t), newAccount()
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = s.CreateDomain(t.Context(), newDomain(account, "a.example.com"), nil) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			requireKind(t, err, lambda.KindConflict, lambda.CodeDomainDuplicate)
		}
		require.Equal(t, 1, won)
	})
	t.Run("the limit holds for those that come at once too", func(t *testing.T) {
		s, account := open(t), newAccount()
		s.Limits.Domains = 3
		errs := make([]error, 10)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = s.CreateDomain(t.Context(), newDomain(account, fmt.Sprintf("h%d.example.com", i)), nil)
			})
		}
		wg.Wait()
		added := 0
		for _, err := range errs {
			if err == nil {
				added++
				continue
			}
			requireKind(t, err, lambda.KindConflict, lambda.CodeDomainLimit)
		}
		require.Equal(t, 3, added)
	})
	t.Run("what is not there cannot be deleted", func(t *testing.T) {
		s, account := open(t), newAccount()
		d := addDomain(t, s, account, "a.example.com")
		requireKind(t, s.DeleteDomain(t.Context(), newAccount(), d.ID), lambda.KindNotFound, lambda.CodeMissingDomain)
		require.NoError(t, s.DeleteDomain(t.Context(), account, d.ID))
		requireKind(t, s.DeleteDomain(t.Context(), account, d.ID), lambda.KindNotFound, lambda.CodeMissingDomain)
	})
}

func TestOnce(t *testing.T) {
	once := func(account, fingerprint string) *store.Once {
		return &store.Once{Account: account, Key: "k", Fingerprint: fingerprint}
	}
	t.Run("a write and its receipt are one", func(t *testing.T) {
		s, account := open(t), newAccount()
		o := once(account, "f")
		r, err := s.Receipt(t.Context(), o)
		require.NoError(t, err)
		require.Nil(t, r)
		l := newLambda(account, "hello")
		_, err = s.CreateLambda(t.Context(), l, o)
		require.NoError(t, err)
		r, err = s.Receipt(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, l.ID, r.ID)
		again := newLambda(account, "another")
		_, err = s.CreateLambda(t.Context(), again, o)
		requireKind(t, err, lambda.KindConflict, lambda.CodeGeneral)
		_, err = s.Record(t.Context(), account, again.ID)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
	})
	t.Run("a write that was refused leaves no receipt", func(t *testing.T) {
		s, account := open(t), newAccount()
		create(t, s, newLambda(account, "hello"))
		_, err := s.CreateLambda(t.Context(), newLambda(account, "hello"), once(account, "f"))
		requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaConflict)
		r, err := s.Receipt(t.Context(), once(account, "f"))
		require.NoError(t, err)
		require.Nil(t, r)
	})
	t.Run("a key that is used for something else is refused", func(t *testing.T) {
		s, account := open(t), newAccount()
		_, err := s.CreateDomain(t.Context(), newDomain(account, "a.example.com"), once(account, "f"))
		require.NoError(t, err)
		_, err = s.Receipt(t.Context(), once(account, "g"))
		requireKind(t, err, lambda.KindInvalid, lambda.CodeBadInput)
		r, err := s.Receipt(t.Context(), once(newAccount(), "g"))
		require.NoError(t, err)
		require.Nil(t, r, "another account has keys of its own")
	})
	t.Run("of many writes with one key at once, one takes place", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev", Once: once(l.Account, "f")})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			}
		}
		require.Equal(t, 1, won)
		r, err := s.Receipt(t.Context(), once(l.Account, "f"))
		require.NoError(t, err)
		require.Equal(t, record(t, s, l).Last.ID, r.ID)
	})
	t.Run("a receipt ends with its time", func(t *testing.T) {
		s, account := open(t), newAccount()
		s.Limits.IdempotencyReceipt = time.Second
		_, err := s.CreateDomain(t.Context(), newDomain(account, "a.example.com"), once(account, "f"))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			r, err := s.Receipt(t.Context(), once(account, "f"))
			return err == nil && r == nil
		}, 20*time.Second, 50*time.Millisecond)
	})
	t.Run("an account has so many receipts", func(t *testing.T) {
		s, account := open(t), newAccount()
		s.Limits.IdempotencyKeys = 2
		add := func(account, k, name string) error {
			_, err := s.CreateDomain(t.Context(), newDomain(account, name), &store.Once{Account: account, Key: k, Fingerprint: "f"})
			return err
		}
		require.NoError(t, add(account, "1", "a.example.com"))
		require.NoError(t, s.DeleteDomain(t.Context(), account, 1))
		require.NoError(t, add(account, "2", "a.example.com"))
		requireKind(t, add(account, "3", "b.example.com"), lambda.KindRateLimited, lambda.CodeRateLimit)
		r, err := s.Receipt(t.Context(), &store.Once{Account: account, Key: "1", Fingerprint: "f"})
		require.NoError(t, err)
		require.NotNil(t, r, "what was remembered still is")
		_, err = s.CreateDomain(t.Context(), newDomain(account, "b.example.com"), nil)
		require.NoError(t, err, "without a key")
		require.NoError(t, add(newAccount(), "1", "a.example.com"), "another account has its own")
	})
}

func TestViewsKnowTheWhitelist(t *testing.T) {
	c, b := breakable(t.Context())
	s := store.New(c, zerolog.Nop())
	require.NoError(t, s.Open(t.Context()))
	account := newAccount()
	before := addDomain(t, s, account, "*.example.com")
	addDomain(t, s, account+"1", "api.example.com")
	v := view(t, s)
	told := make(chan string, 100)
	v.OnDomain(func(account string) { told <- account })
	await := func() {
		t.Helper()
		for {
			select {
			case a := <-told:
				if a == account {
					return
				}
			case <-time.After(10 * time.Second):
				require.FailNow(t, "nothing was told")
			}
		}
	}
	entry := func(host string) string {
		d, ok := v.DomainOf(account, host)
		if !ok {
			return ""
		}
		return d.Name
	}

	require.Equal(t, "*.example.com", entry("api.example.com"), "what was there before")
	require.Equal(t, "*.example.com", entry("a.b.example.com"))
	require.Empty(t, entry("example.com"))
	_, ok := v.DomainOf("nobody", "api.example.com")
	require.False(t, ok)

	private := newDomain(account, "api.example.com")
	private.PrivateAddresses = true
	closest, err := s.CreateDomain(t.Context(), private, nil)
	require.NoError(t, err)
	await()
	d, ok := v.DomainOf(account, "api.example.com")
	require.True(t, ok)
	require.Equal(t, closest, d, "the closest entry counts")

	require.NoError(t, s.DeleteDomain(t.Context(), account, closest.ID))
	await()
	require.Equal(t, "*.example.com", entry("api.example.com"))

	// Gone and there again, while nobody watched.
	resume := b.cut()
	require.NoError(t, s.DeleteDomain(t.Context(), account, before.ID))
	addDomain(t, s, account, "*.example.com")
	addDomain(t, s, account, "other.example.org")
	resume()
	for entry("other.example.org") == "" {
		await()
	}
	require.Equal(t, "*.example.com", entry("api.example.com"))
	again, ok := v.DomainOf(account, "api.example.com")
	require.True(t, ok)
	require.NotEqual(t, before.ID, again.ID)
}
