// Package secrettest is the battery that every secret.Store passes.
package secrettest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
)

// Subject is a store under test.
type Subject struct {
	Store secret.Store
	// Cut takes what the store stands on away, and gives it back with the function
	// that it returns.
	Cut func(t *testing.T) (restore func())
}

// Run runs the battery. open gives a store that may hold anything for accounts
// other than those of the battery, which are random.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s secret.Store)
	}{
		{"what was created is read, with its form for those who may not read it", testCreate},
		{"a key is created once", testExists},
		{"a list has every secret by key, and no value", testList},
		{"hidden secrets are there and do not count", testHidden},
		{"an account has as many secrets as it may have", testLimit},
		{"an update demands the version that is stored", testUpdate},
		{"of several updates of one version one is made", testConcurrentUpdates},
		{"of several creations of one key one is made", testConcurrentCreations},
		{"an update and a deletion of one version do not both succeed", testUpdateAndDelete},
		{"what was deleted is gone and can be created again", testDelete},
		{"every value is kept as it was written", testValues},
		{"another account sees nothing", testAccounts},
		{"a caller who left gets its context's error", testCancel},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t).Store) })
	}
	t.Run("an outage is said to be one, and over when it is", func(t *testing.T) { testOutage(t, open(t)) })
}

// Account is a new one.
func Account() string { return strconv.Itoa(10_000_000 + rand.N(1_000_000_000)) }

// New is a secret as secret.Service gives it to a store.
func New(account, key, value string) secret.Secret {
	now := time.Now().UTC().Truncate(time.Millisecond)
	raw, kind, err := secret.ParseValue(json.RawMessage(value), 100_000)
	if err != nil {
		panic(err)
	}
	return secret.Secret{
		Account: account, Key: key, Type: kind, Value: raw,
		CreatedAt: now, CreatedBy: "admin", UpdatedAt: now, UpdatedBy: "admin",
	}
}

func requireCode(t *testing.T, err error, kind lambda.Kind, code string) {
	t.Helper()
	e := lambda.As(err)
	require.NotNil(t, e, "want a lambda.Error, got %v", err)
	require.Equal(t, kind, e.Kind, "%v", err)
	require.Equal(t, code, e.Code, "%v", err)
}

func create(t *testing.T, s secret.Store, one secret.Secret) *secret.Secret {
	t.Helper()
	made, err := s.Create(t.Context(), one, 0)
	require.NoError(t, err)
	return made
}

func read(t *testing.T, s secret.Store, account, key string) *secret.Secret {
	t.Helper()
	one, err := s.Read(t.Context(), account, key)
	require.NoError(t, err)
	return one
}

func testCreate(t *testing.T, s secret.Store) {
	one := New(Account(), "key_1-A", `"distinctive value"`)
	made := create(t, s, one)
	require.Nil(t, made.Value, "nobody asked for the value")
	require.Equal(t, 1, made.Version)
	require.NotEmpty(t, made.Crypted)
	require.NotContains(t, made.Crypted, "distinctive")
	found := read(t, s, one.Account, one.Key)
	require.JSONEq(t, string(one.Value), string(found.Value))
	found.Value = nil
	require.Equal(t, made, found)
	want := one
	want.Value, want.Version, want.Crypted = nil, 1, made.Crypted
	require.Equal(t, &want, made)

	again := create(t, s, New(one.Account, "key_2", `"distinctive value"`))
	require.NotEqual(t, made.Crypted, again.Crypted, "equal values do not look alike")

	_, err := s.Read(t.Context(), one.Account, "another")
	requireCode(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound)
	require.Contains(t, err.Error(), "There is no Secret another for this account")
}

func testExists(t *testing.T, s secret.Store) {
	one := New(Account(), "key", `"first"`)
	create(t, s, one)
	_, err := s.Create(t.Context(), New(one.Account, "key", `"second"`), 0)
	requireCode(t, err, lambda.KindConflict, lambda.CodeSecretExists)
	require.JSONEq(t, `"first"`, string(read(t, s, one.Account, "key").Value))
}

func testList(t *testing.T, s secret.Store) {
	account := Account()
	none, err := s.List(t.Context(), account)
	require.NoError(t, err)
	require.Empty(t, none)
	var want []secret.Secret
	for i := range 30 {
		want = append(want, *create(t, s, New(account, fmt.Sprintf("key-%02d", 29-i), strconv.Itoa(i))))
	}
	slices.Reverse(want)
	all, err := s.List(t.Context(), account)
	require.NoError(t, err)
	require.Equal(t, want, all)
}

func testHidden(t *testing.T, s secret.Store) {
	account := Account()
	for _, key := range secret.Hidden() {
		create(t, s, New(account, key, `{"consumerKey":"k"}`))
	}
	_, err := s.Create(t.Context(), New(account, "own", `1`), 1)
	require.NoError(t, err)
	_, err = s.Create(t.Context(), New(account, "own-2", `1`), 1)
	requireCode(t, err, lambda.KindConflict, lambda.CodeSecretLimit)
	all, err := s.List(t.Context(), account)
	require.NoError(t, err)
	require.Len(t, all, 1+len(secret.Hidden()), "who may see them is the service's rule")
}

func testLimit(t *testing.T, s secret.Store) {
	account := Account()
	for i := range 3 {
		_, err := s.Create(t.Context(), New(account, "key-"+strconv.Itoa(i), `1`), 3)
		require.NoError(t, err)
	}
	_, err := s.Create(t.Context(), New(account, "key-3", `1`), 3)
	requireCode(t, err, lambda.KindConflict, lambda.CodeSecretLimit)
	require.Contains(t, err.Error(), "3")
	require.NoError(t, s.Delete(t.Context(), account, "key-0", 0))
	_, err = s.Create(t.Context(), New(account, "key-3", `1`), 3)
	require.NoError(t, err)
}

func testUpdate(t *testing.T, s secret.Store) {
	account := Account()
	made := create(t, s, New(account, "key", `"first"`))
	next := *made
	next.Value, next.UpdatedBy, next.UpdatedAt = json.RawMessage(`"second"`), "lambda x", made.UpdatedAt.Add(time.Second)
	changed, err := s.Update(t.Context(), next)
	require.NoError(t, err)
	require.Equal(t, 2, changed.Version)
	require.Nil(t, changed.Value)
	require.NotEqual(t, made.Crypted, changed.Crypted)
	found := read(t, s, account, "key")
	require.JSONEq(t, `"second"`, string(found.Value))
	require.Equal(t, "admin", found.CreatedBy)
	require.Equal(t, made.CreatedAt, found.CreatedAt)
	require.Equal(t, "lambda x", found.UpdatedBy)
	require.Equal(t, next.UpdatedAt, found.UpdatedAt)

	for _, version := range []int{1, 3, 99} {
		next.Version = version
		_, err = s.Update(t.Context(), next)
		requireCode(t, err, lambda.KindConflict, lambda.CodeSecretConflict)
	}
	require.Equal(t, 2, read(t, s, account, "key").Version)
	next.Key = "another"
	_, err = s.Update(t.Context(), next)
	requireCode(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound)
}

// atOnce runs f n times at once and counts the errors by code; "" are successes.
func atOnce(t *testing.T, n int, f func(i int) error) map[string]int {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	counts := map[string]int{}
	for i := range n {
		wg.Go(func() {
			err := f(i)
			code := ""
			if e := lambda.As(err); e != nil {
				code = e.Code
			} else if err != nil {
				code = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			counts[code]++
		})
	}
	wg.Wait()
	return counts
}

func testConcurrentUpdates(t *testing.T, s secret.Store) {
	made := create(t, s, New(Account(), "key", `0`))
	const rounds, writers = 5, 8
	for round := range rounds {
		base := read(t, s, made.Account, "key")
		require.Equal(t, round+1, base.Version)
		counts := atOnce(t, writers, func(i int) error {
			next := *base
			next.Value = json.RawMessage(strconv.Itoa(i))
			_, err := s.Update(t.Context(), next)
			return err
		})
		require.Equal(t, map[string]int{"": 1, lambda.CodeSecretConflict: writers - 1}, counts)
	}
}

func testConcurrentCreations(t *testing.T, s secret.Store) {
	account := Account()
	counts := atOnce(t, 8, func(i int) error {
		_, err := s.Create(t.Context(), New(account, "key", strconv.Itoa(i)), 0)
		return err
	})
	require.Equal(t, map[string]int{"": 1, lambda.CodeSecretExists: 7}, counts)
}

func testUpdateAndDelete(t *testing.T, s secret.Store) {
	account := Account()
	for round := range 10 {
		made := create(t, s, New(account, "key", strconv.Itoa(round)))
		counts := atOnce(t, 2, func(i int) error {
			if i == 0 {
				return s.Delete(t.Context(), account, "key", made.Version)
			}
			next := *made
			next.Value = json.RawMessage(`99`)
			_, err := s.Update(t.Context(), next)
			return err
		})
		require.Equal(t, 1, counts[""], "%v", counts)
		if err := s.Delete(t.Context(), account, "key", 0); err != nil {
			requireCode(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound)
		}
	}
}

func testDelete(t *testing.T, s secret.Store) {
	one := New(Account(), "key", `"first"`)
	made := create(t, s, one)
	requireCode(t, s.Delete(t.Context(), one.Account, "key", made.Version+1), lambda.KindConflict, lambda.CodeSecretConflict)
	require.NoError(t, s.Delete(t.Context(), one.Account, "key", made.Version))
	_, err := s.Read(t.Context(), one.Account, "key")
	requireCode(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound)
	requireCode(t, s.Delete(t.Context(), one.Account, "key", 0), lambda.KindNotFound, lambda.CodeSecretNotFound)
	requireCode(t, s.Delete(t.Context(), one.Account, "key", 1), lambda.KindNotFound, lambda.CodeSecretNotFound)
	made.Value = json.RawMessage(`"late"`)
	_, err = s.Update(t.Context(), *made)
	requireCode(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound)
	all, err := s.List(t.Context(), one.Account)
	require.NoError(t, err)
	require.Empty(t, all)

	one.Value = json.RawMessage(`"again"`)
	again := create(t, s, one)
	require.Positive(t, again.Version)
	require.JSONEq(t, `"again"`, string(read(t, s, one.Account, "key").Value))
}

func testValues(t *testing.T, s secret.Store) {
	account := Account()
	for i, value := range []string{
		`""`, `"ü€𝄞 \u0000 \ud800 \/ <&> \" \\ line"`, `"` + strings.Repeat("𝄞", 10_000) + `"`, `"` + strings.Repeat(`\u00fc`, 10_000) + `"`,
		`0`, `-0`, `1e400`, `12345678901234567890`, `0.10`, `-1.50E-7`,
		`{}`, `[]`, `{"a":{"b":[1,2,{"c":null}],"a":1e400},"a":true}`, strings.Repeat("[", 4_000) + strings.Repeat("]", 4_000),
	} {
		key := "key-" + strconv.Itoa(i)
		create(t, s, New(account, key, value))
		found := read(t, s, account, key)
		require.True(t, value == string(found.Value), "%.60s came back as %.60s", value, found.Value)
	}
}

func testAccounts(t *testing.T, s secret.Store) {
	one := New(Account(), "key", `"mine"`)
	made := create(t, s, one)
	// A number that begins as the other does is another account, too.
	for _, other := range []string{Account(), one.Account + "1", one.Account[:7]} {
		_, err := s.Read(t.Context(), other, "key")
		requireCode(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound)
		all, err := s.List(t.Context(), other)
		require.NoError(t, err)
		require.Empty(t, all)
		requireCode(t, s.Delete(t.Context(), other, "key", 0), lambda.KindNotFound, lambda.CodeSecretNotFound)
		theirs := *made
		theirs.Account, theirs.Value = other, json.RawMessage(`"theirs"`)
		_, err = s.Update(t.Context(), theirs)
		requireCode(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound)
	}
	require.JSONEq(t, `"mine"`, string(read(t, s, one.Account, "key").Value))
}

// everyCall makes each request that a store knows, with a value that no error may
// hold.
func everyCall(ctx context.Context, s secret.Store, account string) map[string]error {
	one := New(account, "key", `"a value of nobody's business"`)
	one.Version = 1
	errs := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, call := range map[string]func() error{
		"list":   func() error { _, err := s.List(ctx, account); return err },
		"read":   func() error { _, err := s.Read(ctx, account, "key"); return err },
		"create": func() error { _, err := s.Create(ctx, one, 10); return err },
		"update": func() error { _, err := s.Update(ctx, one); return err },
		"delete": func() error { return s.Delete(ctx, account, "key", 1) },
	} {
		wg.Go(func() {
			err := call()
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
	}
	wg.Wait()
	return errs
}

func testCancel(t *testing.T, s secret.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range everyCall(ctx, s, Account()) {
		require.True(t, errors.Is(err, context.Canceled), "%s: %v", name, err)
	}
}

func testOutage(t *testing.T, subject Subject) {
	s := subject.Store
	one := New(Account(), "kept", `"before"`)
	create(t, s, one)
	require.NoError(t, s.Check(t.Context()))
	restore := subject.Cut(t)
	for name, err := range everyCall(t.Context(), s, one.Account) {
		require.True(t, lambda.Is(err, lambda.KindUnavailable), "%s: %v", name, err)
		require.NotContains(t, err.Error(), "nobody's business", name)
	}
	require.Error(t, s.Check(t.Context()))
	restore()
	require.Eventually(t, func() bool {
		found, err := s.Read(t.Context(), one.Account, "kept")
		return err == nil && string(found.Value) == `"before"`
	}, 30*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return s.Check(t.Context()) == nil }, 30*time.Second, 50*time.Millisecond)
}
