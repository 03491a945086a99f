package store_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

func TestIdentity(t *testing.T) {
	t.Run("accounts and apps are saved, read and replaced", func(t *testing.T) {
		s := open(t)
		a := &lambda.Account{ID: newAccount(), Name: "Brand", CreatedAt: time.Now().UTC()}
		require.NoError(t, s.PutAccount(t.Context(), a))
		read, err := s.Account(t.Context(), a.ID)
		require.NoError(t, err)
		require.Equal(t, a, read)
		accounts, err := s.Accounts(t.Context())
		require.NoError(t, err)
		require.Contains(t, accounts, *a)

		app := &lambda.App{ClientID: uuid.NewString(), Account: a.ID, ClientName: "c", GrantTypes: []string{"client_credentials"}}
		require.NoError(t, s.PutApp(t.Context(), app))
		app.DisplayName = "new"
		require.NoError(t, s.PutApp(t.Context(), app))
		got, err := s.App(t.Context(), a.ID, app.ClientID)
		require.NoError(t, err)
		require.Equal(t, app, got)
		_, err = s.App(t.Context(), newAccount(), app.ClientID)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
	})
	t.Run("a user is found by id and by login name, which one user of an account has", func(t *testing.T) {
		s, account := open(t), newAccount()
		u := &lambda.User{ID: uuid.NewString(), Account: account, LoginName: "dev@example.com", Roles: []lambda.Role{lambda.RoleDeveloper}}
		require.NoError(t, s.PutUser(t.Context(), u))
		require.NoError(t, s.PutUser(t.Context(), u), "saving twice is no conflict")
		byID, err := s.User(t.Context(), account, u.ID)
		require.NoError(t, err)
		byLogin, err := s.UserByLogin(t.Context(), account, u.LoginName)
		require.NoError(t, err)
		require.Equal(t, u, byID)
		require.Equal(t, u, byLogin)

		twin := &lambda.User{ID: uuid.NewString(), Account: account, LoginName: u.LoginName}
		requireKind(t, s.PutUser(t.Context(), twin), lambda.KindConflict, lambda.CodeIdentityConflict)
		twin.Account = newAccount()
		require.NoError(t, s.PutUser(t.Context(), twin), "another account has its own names")

		u.LoginName = "new@example.com"
		require.NoError(t, s.PutUser(t.Context(), u))
		_, err = s.UserByLogin(t.Context(), account, "dev@example.com")
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
		users, err := s.Users(t.Context(), account)
		require.NoError(t, err)
		require.Equal(t, []lambda.User{*u}, users)
	})
	t.Run("of several users that take one login name at once exactly one wins", func(t *testing.T) {
		s, account := open(t), newAccount()
		var wait sync.WaitGroup
		var won atomic.Int32
		for range 8 {
			wait.Go(func() {
				if s.PutUser(t.Context(), &lambda.User{ID: uuid.NewString(), Account: account, LoginName: "x"}) == nil {
					won.Add(1)
				}
			})
		}
		wait.Wait()
		require.EqualValues(t, 1, won.Load())
		users, err := s.Users(t.Context(), account)
		require.NoError(t, err)
		require.Len(t, users, 1)
	})
	t.Run("what cannot be a key cannot be saved and is not there", func(t *testing.T) {
		s := open(t)
		for _, bad := range []string{"", "a/b", "a\x00b", "a\nb", string([]byte{0xff}), strings.Repeat("a", 300)} {
			for _, err := range []error{
				s.PutAccount(t.Context(), &lambda.Account{ID: bad}),
				s.PutUser(t.Context(), &lambda.User{ID: bad, Account: "1", LoginName: "x"}),
				s.PutUser(t.Context(), &lambda.User{ID: "1", Account: bad, LoginName: "x"}),
				s.PutUser(t.Context(), &lambda.User{ID: "1", Account: "1", LoginName: bad}),
				s.PutApp(t.Context(), &lambda.App{ClientID: bad, Account: "1"}),
				s.PutSigningKey(t.Context(), lambda.SigningKey{ID: bad}, 0),
			} {
				requireKind(t, err, lambda.KindInvalid, lambda.CodeBadInput)
			}
			_, err := s.Account(t.Context(), bad)
			requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
			_, err = s.User(t.Context(), "1", bad)
			requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
			_, err = s.UserByLogin(t.Context(), bad, "x")
			requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
			users, err := s.Users(t.Context(), bad)
			require.NoError(t, err)
			require.Empty(t, users)
		}
	})
}

func newSession(account string, until time.Time) (*lambda.Session, *lambda.Token) {
	s := &lambda.Session{ID: uuid.NewString(), Account: account, UserID: "u", BearerHash: uuid.NewString(), ExpiresAt: until.UTC()}
	return s, &lambda.Token{Hash: s.BearerHash, Kind: lambda.TokenLogin, Account: account, UserID: "u", SessionID: s.ID, ExpiresAt: s.ExpiresAt}
}

// begin creates a session of a user, whom it makes first.
func begin(t *testing.T, s *store.Store, session *lambda.Session, token *lambda.Token) error {
	t.Helper()
	u := &lambda.User{ID: session.UserID, Account: session.Account, LoginName: session.UserID, PasswordHash: "hash"}
	require.NoError(t, s.PutUser(t.Context(), u))
	return s.CreateSession(t.Context(), u, session, token)
}

func TestSessions(t *testing.T) {
	t.Run("a session and its token are read back, and end together", func(t *testing.T) {
		s, v := open(t), view(t, open(t))
		session, token := newSession(newAccount(), time.Now().Add(time.Hour))
		require.NoError(t, begin(t, s, session, token))
		gotSession, err := s.Session(t.Context(), session.ID)
		require.NoError(t, err)
		require.Equal(t, session, gotSession)
		gotToken, err := s.Token(t.Context(), token.Hash)
		require.NoError(t, err)
		require.Equal(t, token, gotToken)
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		seen, ok := v.Token(token.Hash)
		require.True(t, ok)
		require.Equal(t, token, seen)

		require.NoError(t, s.DeleteSession(t.Context(), session.ID))
		_, err = s.Session(t.Context(), session.ID)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
		_, err = s.Token(t.Context(), token.Hash)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		_, ok = v.Token(token.Hash)
		require.False(t, ok)
		require.NoError(t, s.DeleteSession(t.Context(), session.ID), "ending twice is no error")
		require.NoError(t, s.DeleteSession(t.Context(), "a/b"))
	})
	t.Run("a session that exists cannot be written again", func(t *testing.T) {
		s := open(t)
		session, token := newSession(newAccount(), time.Now().Add(time.Hour))
		require.NoError(t, begin(t, s, session, token))
		requireKind(t, begin(t, s, session, token), lambda.KindConflict, lambda.CodeGeneral)
	})
	t.Run("a lease ends a session and its token by itself, in etcd and in views", func(t *testing.T) {
		s, v := open(t), view(t, open(t))
		session, token := newSession(newAccount(), time.Now().Add(time.Second))
		require.NoError(t, begin(t, s, session, token))
		require.Eventually(t, func() bool { return len(keysWith(t, session.ID)) == 0 && len(keysWith(t, token.Hash)) == 0 },
			10*time.Second, 50*time.Millisecond)
		_, ok := v.Token(token.Hash)
		require.False(t, ok)
	})
	t.Run("what has ended is not there though its lease lasts longer", func(t *testing.T) {
		c := &clock{}
		s := open(t)
		s.Now = c.Now
		v := view(t, s)
		session, token := newSession(newAccount(), time.Now().Add(time.Hour))
		require.NoError(t, begin(t, s, session, token))
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		c.Forward(2 * time.Hour)
		_, err := s.Session(t.Context(), session.ID)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
		_, err = s.Token(t.Context(), token.Hash)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
		_, ok := v.Token(token.Hash)
		require.False(t, ok)
		requireKind(t, s.ExtendSession(t.Context(), session.ID, c.Now().Add(time.Hour)), lambda.KindNotFound, lambda.CodeGeneral)
		requireKind(t, begin(t, s, session, token), lambda.KindInvalid, lambda.CodeBadInput)
	})
	t.Run("an extended session and its token outlive their first end", func(t *testing.T) {
		s := open(t)
		session, token := newSession(newAccount(), time.Now().Add(2*time.Second))
		require.NoError(t, begin(t, s, session, token))
		until := time.Now().Add(time.Hour).UTC()
		require.NoError(t, s.ExtendSession(t.Context(), session.ID, until))
		time.Sleep(3500 * time.Millisecond) // etcd's leases have no clock that can be set
		got, err := s.Session(t.Context(), session.ID)
		require.NoError(t, err)
		require.True(t, got.ExpiresAt.Equal(until))
		bearer, err := s.Token(t.Context(), token.Hash)
		require.NoError(t, err)
		require.True(t, bearer.ExpiresAt.Equal(until))
	})
	t.Run("an unknown session cannot be extended", func(t *testing.T) {
		requireKind(t, open(t).ExtendSession(t.Context(), "nope", time.Now().Add(time.Hour)), lambda.KindNotFound, lambda.CodeGeneral)
		requireKind(t, open(t).ExtendSession(t.Context(), "a/b", time.Now().Add(time.Hour)), lambda.KindNotFound, lambda.CodeGeneral)
	})
	t.Run("of extending and ending a session at once, ending wins in the end", func(t *testing.T) {
		s := open(t)
		for range 10 {
			session, token := newSession(newAccount(), time.Now().Add(time.Hour))
			require.NoError(t, begin(t, s, session, token))
			var wait sync.WaitGroup
			wait.Go(func() { _ = s.ExtendSession(t.Context(), session.ID, time.Now().Add(2*time.Hour)) })
			wait.Go(func() { _ = s.DeleteSession(t.Context(), session.ID) })
			wait.Wait()
			_, err := s.Session(t.Context(), session.ID)
			requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
			_, err = s.Token(t.Context(), token.Hash)
			requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
		}
	})
}

func TestSigningKeys(t *testing.T) {
	s := open(t)
	removeAll := func() {
		keys, _, err := s.SigningKeys(context.Background())
		require.NoError(t, err)
		for _, k := range keys {
			require.NoError(t, s.DeleteSigningKey(context.Background(), k.ID))
		}
	}
	removeAll()
	t.Cleanup(removeAll)
	keys, revision, err := s.SigningKeys(t.Context())
	require.NoError(t, err)
	require.Empty(t, keys)

	var won atomic.Int32
	var wait sync.WaitGroup
	for range 8 { // every gateway finds no key and makes one
		wait.Go(func() {
			err := s.PutSigningKey(t.Context(), lambda.SigningKey{ID: uuid.NewString(), CreatedAt: time.Now().UTC()}, revision)
			if err == nil {
				won.Add(1)
			} else if !lambda.Is(err, lambda.KindConflict) {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 1, won.Load(), "one of many that rotate at once wins")

	keys, revision, err = s.SigningKeys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 1)
	older := lambda.SigningKey{ID: uuid.NewString(), PrivateKey: []byte{1}, CreatedAt: keys[0].CreatedAt.Add(-time.Hour)}
	require.NoError(t, s.PutSigningKey(t.Context(), older, revision))
	requireKind(t, s.PutSigningKey(t.Context(), older, s.Written()), lambda.KindConflict, lambda.CodeGeneral)
	keys, _, err = s.SigningKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, older, keys[0], "the oldest is first")
	v := view(t, s)
	require.Equal(t, keys, v.SigningKeys())
	require.NoError(t, s.DeleteSigningKey(t.Context(), older.ID))
	require.NoError(t, s.DeleteSigningKey(t.Context(), older.ID), "deleting twice is no error")
	require.NoError(t, v.WaitFor(t.Context(), s.Written()))
	require.Len(t, v.SigningKeys(), 1)
}

func TestLeasesAreNotLeftBehind(t *testing.T) {
	s := open(t)
	leases := func() int {
		r, err := client.Leases(t.Context())
		require.NoError(t, err)
		return len(r.Leases)
	}
	before := leases()
	session, token := newSession(newAccount(), time.Now().Add(time.Hour))
	require.NoError(t, begin(t, s, session, token))
	requireKind(t, begin(t, s, session, token), lambda.KindConflict, lambda.CodeGeneral)
	for range 5 {
		require.NoError(t, s.ExtendSession(t.Context(), session.ID, time.Now().Add(time.Hour)))
	}
	p := register(t, s)
	_, err := s.Register(t.Context(), p.ID, 0)
	require.Error(t, err)
	require.Equal(t, before+2, leases())
	p.Close(t.Context())
	require.NoError(t, s.DeleteSession(t.Context(), session.ID))
	require.Equal(t, before, leases())
}
