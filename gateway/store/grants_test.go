package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// browser begins a browser session of the user "u" of a fresh account.
func browser(t *testing.T, s *store.Store) *lambda.Session {
	t.Helper()
	session := &lambda.Session{
		ID: uuid.NewString(), Kind: lambda.SessionBrowser, Account: newAccount(), UserID: "u",
		CreatedAt: s.Now().UTC(), ExpiresAt: s.Now().Add(8 * time.Hour).UTC(),
	}
	require.NoError(t, begin(t, s, session, nil))
	return session
}

func newCode(s *store.Store, session *lambda.Session) *lambda.Code {
	return &lambda.Code{
		Hash: uuid.NewString(), Account: session.Account, ClientID: "app", UserID: session.UserID, SessionID: session.ID,
		RedirectURI: "http://localhost/callback", Nonce: "n", ExpiresAt: s.Now().Add(time.Minute).UTC(),
	}
}

func newGrant(s *store.Store, code *lambda.Code) *lambda.Grant {
	return &lambda.Grant{
		ID: uuid.NewString(), Account: code.Account, ClientID: code.ClientID, UserID: code.UserID, SessionID: code.SessionID,
		CodeHash: code.Hash, RefreshHash: uuid.NewString(), CreatedAt: s.Now().UTC(), ExpiresAt: s.Now().Add(30 * 24 * time.Hour).UTC(),
	}
}

func newAccess(s *store.Store, grant *lambda.Grant) *lambda.Token {
	return &lambda.Token{
		Hash: uuid.NewString(), Kind: lambda.TokenAccess, Account: grant.Account, UserID: grant.UserID, ClientID: grant.ClientID,
		GrantID: grant.ID, ExpiresAt: s.Now().Add(8 * time.Hour).UTC(),
	}
}

// granted makes a session, a code and a grant of it, with its first token.
func granted(t *testing.T, s *store.Store, session *lambda.Session) (*lambda.Code, *lambda.Grant, *lambda.Token) {
	t.Helper()
	code := newCode(s, session)
	require.NoError(t, s.CreateCode(t.Context(), code, "", false))
	grant := newGrant(s, code)
	token := newAccess(s, grant)
	require.NoError(t, s.UseCode(t.Context(), grant, token))
	return code, grant, token
}

func requireGone[T any](t *testing.T, read func(context.Context, string) (*T, error), id string) {
	t.Helper()
	_, err := read(t.Context(), id)
	requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
}

// left counts what an account has in etcd below these folders.
func left(t *testing.T, account string) int64 {
	t.Helper()
	var n int64
	for _, folder := range []string{"sessionsof", "codesof", "grantsof"} {
		r, err := client.Get(t.Context(), "/sluice/"+folder+"/"+account+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		n += r.Count
	}
	return n
}

func TestACodeBecomesAGrant(t *testing.T) {
	s := open(t)
	v := view(t, s)
	session := browser(t, s)
	code := newCode(s, session)
	require.NoError(t, s.CreateCode(t.Context(), code, "", false))
	got, err := s.Code(t.Context(), code.Hash)
	require.NoError(t, err)
	require.Equal(t, code, got)

	grant := newGrant(s, code)
	token := newAccess(s, grant)
	require.NoError(t, s.UseCode(t.Context(), grant, token))
	gotGrant, err := s.Grant(t.Context(), grant.ID)
	require.NoError(t, err)
	want := *grant
	want.Access = []string{token.Hash}
	require.Equal(t, &want, gotGrant)
	require.NoError(t, v.WaitFor(t.Context(), s.Written()))
	seen, ok := v.Token(token.Hash)
	require.True(t, ok)
	require.Equal(t, token, seen)

	got, err = s.Code(t.Context(), code.Hash)
	require.NoError(t, err)
	require.Equal(t, grant.ID, got.GrantID, "a used code tells what it began")
	requireKind(t, s.UseCode(t.Context(), newGrant(s, code), newAccess(s, grant)), lambda.KindConflict, lambda.CodeGeneral)
	requireKind(t, s.DeleteCode(t.Context(), code.Hash), lambda.KindConflict, lambda.CodeGeneral)

	require.NoError(t, s.EndGrant(t.Context(), grant.ID))
	require.NoError(t, s.EndGrant(t.Context(), grant.ID), "ending twice is no error")
	require.NoError(t, s.EndGrant(t.Context(), "a/b"))
	requireGone(t, s.Grant, grant.ID)
	requireGone(t, s.Token, token.Hash)
	requireGone(t, s.Code, code.Hash)
	require.EqualValues(t, 1, left(t, session.Account), "the session stays")
}

func TestOfManyWhoUseACodeOneWins(t *testing.T) {
	s := open(t)
	code := newCode(s, browser(t, s))
	require.NoError(t, s.CreateCode(t.Context(), code, "", false))
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			grant := newGrant(s, code)
			switch err := s.UseCode(t.Context(), grant, newAccess(s, grant)); {
			case err == nil:
				won.Add(1)
			case lambda.Is(err, lambda.KindConflict):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, won.Load())
	require.EqualValues(t, 19, lost.Load())
}

func TestACodeThatEnded(t *testing.T) {
	c := &clock{}
	s := open(t)
	s.Now = c.Now
	session := browser(t, s)
	late := newCode(s, session)
	require.NoError(t, s.CreateCode(t.Context(), late, "", false))
	c.Forward(time.Minute)
	requireGone(t, s.Code, late.Hash)
	requireKind(t, s.UseCode(t.Context(), newGrant(s, late), newAccess(s, newGrant(s, late))), lambda.KindNotFound, lambda.CodeGeneral)
	requireKind(t, s.DeleteCode(t.Context(), late.Hash), lambda.KindNotFound, lambda.CodeGeneral)
	requireKind(t, s.CreateCode(t.Context(), late, "", false), lambda.KindInvalid, lambda.CodeBadInput)

	deleted := newCode(s, session)
	require.NoError(t, s.CreateCode(t.Context(), deleted, "", false))
	require.NoError(t, s.DeleteCode(t.Context(), deleted.Hash))
	requireGone(t, s.Code, deleted.Hash)
	requireGone(t, s.Code, "a/b")
	requireKind(t, s.DeleteCode(t.Context(), "a/b"), lambda.KindNotFound, lambda.CodeGeneral)

	c.Forward(8 * time.Hour)
	orphan := newCode(s, session)
	requireKind(t, s.CreateCode(t.Context(), orphan, "", false), lambda.KindNotFound, lambda.CodeGeneral)
	orphan.SessionID = "a/b"
	requireKind(t, s.CreateCode(t.Context(), orphan, "", false), lambda.KindNotFound, lambda.CodeGeneral)
}

func TestALeaseEndsACode(t *testing.T) {
	s := open(t)
	code := newCode(s, browser(t, s))
	code.ExpiresAt = time.Now().Add(time.Second)
	require.NoError(t, s.CreateCode(t.Context(), code, "", false))
	require.Eventually(t, func() bool {
		r, err := client.Get(t.Context(), "/sluice/codes/"+code.Hash)
		return err == nil && r.Count == 0
	}, 10*time.Second, 50*time.Millisecond)
	require.EqualValues(t, 1, left(t, code.Account))
}

func TestALoginAnswersItsRequestOnce(t *testing.T) {
	s := open(t)
	session := browser(t, s)
	session.ID, session.Request = uuid.NewString(), "request"
	require.NoError(t, begin(t, s, session, nil))
	requireKind(t, s.CreateCode(t.Context(), newCode(s, session), "another", true), lambda.KindConflict, lambda.CodeGeneral)
	require.NoError(t, s.CreateCode(t.Context(), newCode(s, session), "another", false))

	var won atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch err := s.CreateCode(t.Context(), newCode(s, session), "request", true); {
			case err == nil:
				won.Add(1)
			case !lambda.Is(err, lambda.KindConflict):
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, won.Load())
	got, err := s.Session(t.Context(), session.ID)
	require.NoError(t, err)
	require.Empty(t, got.Request)
	ttl, err := client.Get(t.Context(), "/sluice/sessions/"+session.ID)
	require.NoError(t, err)
	require.NotZero(t, ttl.Kvs[0].Lease, "the session keeps its lease")
	require.NoError(t, s.CreateCode(t.Context(), newCode(s, session), "request", false))
}

func TestRotation(t *testing.T) {
	c := &clock{}
	s := open(t)
	s.Now = c.Now
	session := browser(t, s)
	_, grant, first := granted(t, s, session)
	rotate := func(old string) (string, *lambda.Token, error) {
		refresh, token := uuid.NewString(), newAccess(s, grant)
		return refresh, token, s.RotateGrant(t.Context(), grant.ID, old, refresh, s.Now().Add(30*24*time.Hour).UTC(), token)
	}
	second, token2, err := rotate(grant.RefreshHash)
	require.NoError(t, err)
	for _, hash := range []string{first.Hash, token2.Hash} {
		_, err := s.Token(t.Context(), hash)
		require.NoError(t, err, "the token before the newest lives on")
	}
	_, _, err = rotate(grant.RefreshHash)
	requireKind(t, err, lambda.KindConflict, lambda.CodeGeneral)
	third, token3, err := rotate(second)
	require.NoError(t, err)
	requireGone(t, s.Token, first.Hash)
	got, err := s.Grant(t.Context(), grant.ID)
	require.NoError(t, err)
	require.Equal(t, []string{token2.Hash, token3.Hash}, got.Access)
	require.Equal(t, third, got.RefreshHash)

	c.Forward(29 * 24 * time.Hour)
	fourth, _, err := rotate(third)
	require.NoError(t, err, "each refresh moves the end")
	c.Forward(29 * 24 * time.Hour)
	_, err = s.Grant(t.Context(), grant.ID)
	require.NoError(t, err)
	c.Forward(24 * time.Hour)
	requireGone(t, s.Grant, grant.ID)
	_, _, err = rotate(fourth)
	requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
	for _, id := range []string{"unknown", "a/b"} {
		err = s.RotateGrant(t.Context(), id, "x", "y", s.Now().Add(time.Hour), newAccess(s, grant))
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
	}
}

func TestAGrantWithoutRefreshCannotBeRotated(t *testing.T) {
	s := open(t)
	code := newCode(s, browser(t, s))
	require.NoError(t, s.CreateCode(t.Context(), code, "", false))
	grant := newGrant(s, code)
	grant.RefreshHash = ""
	require.NoError(t, s.UseCode(t.Context(), grant, newAccess(s, grant)))
	err := s.RotateGrant(t.Context(), grant.ID, "", "x", time.Now().Add(time.Hour), newAccess(s, grant))
	requireKind(t, err, lambda.KindConflict, lambda.CodeGeneral)
}

func TestOfManyWhoRefreshOneWins(t *testing.T) {
	s := open(t)
	_, grant, _ := granted(t, s, browser(t, s))
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			switch err := s.RotateGrant(t.Context(), grant.ID, grant.RefreshHash, uuid.NewString(), time.Now().Add(time.Hour), newAccess(s, grant)); {
			case err == nil:
				won.Add(1)
			case lambda.Is(err, lambda.KindConflict):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, won.Load())
	require.EqualValues(t, 19, lost.Load())
	got, err := s.Grant(t.Context(), grant.ID)
	require.NoError(t, err)
	require.Len(t, got.Access, 2)
}

func TestOfRefreshingAndEndingAGrantAtOnceEndingWinsInTheEnd(t *testing.T) {
	s := open(t)
	session := browser(t, s)
	for range 10 {
		_, grant, first := granted(t, s, session)
		token := newAccess(s, grant)
		var all sync.WaitGroup
		all.Go(func() {
			_ = s.RotateGrant(t.Context(), grant.ID, grant.RefreshHash, uuid.NewString(), time.Now().Add(time.Hour), token)
		})
		all.Go(func() { require.NoError(t, s.EndGrant(t.Context(), grant.ID)) })
		all.Wait()
		requireGone(t, s.Grant, grant.ID)
		requireGone(t, s.Token, first.Hash)
		requireGone(t, s.Token, token.Hash)
	}
}

func TestTheOldestEndsForOneTooMany(t *testing.T) {
	s := open(t)
	session := browser(t, s)
	t.Run("sessions", func(t *testing.T) {
		account := newAccount()
		var logins []*lambda.Session
		for range store.MaxSessions + 3 {
			login, token := newSession(account, time.Now().Add(time.Hour))
			require.NoError(t, begin(t, s, login, token))
			logins = append(logins, login)
		}
		other := &lambda.Session{ID: uuid.NewString(), Kind: lambda.SessionBrowser, Account: account, UserID: "u", ExpiresAt: time.Now().Add(time.Hour)}
		require.NoError(t, begin(t, s, other, nil), "kinds are counted apart")
		for i, login := range logins {
			_, err := s.Session(t.Context(), login.ID)
			_, tokenErr := s.Token(t.Context(), login.BearerHash)
			if i < 3 {
				requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
				requireKind(t, tokenErr, lambda.KindNotFound, lambda.CodeGeneral)
				continue
			}
			require.NoError(t, err)
			require.NoError(t, tokenErr)
		}
		require.EqualValues(t, store.MaxSessions+1, left(t, account))
	})
	t.Run("codes", func(t *testing.T) {
		var codes []*lambda.Code
		for range store.MaxCodes + 2 {
			codes = append(codes, newCode(s, session))
			require.NoError(t, s.CreateCode(t.Context(), codes[len(codes)-1], "", false))
		}
		requireGone(t, s.Code, codes[0].Hash)
		requireGone(t, s.Code, codes[1].Hash)
		for _, code := range codes[2:] {
			require.NoError(t, s.DeleteCode(t.Context(), code.Hash))
		}
	})
	t.Run("grants", func(t *testing.T) {
		_, grant, token := granted(t, s, session)
		foreign := newCode(s, session)
		foreign.ClientID = "another"
		require.NoError(t, s.CreateCode(t.Context(), foreign, "", false))
		kept := newGrant(s, foreign)
		require.NoError(t, s.UseCode(t.Context(), kept, newAccess(s, kept)))
		for range store.MaxGrants - 1 {
			granted(t, s, session)
		}
		_, err := s.Grant(t.Context(), grant.ID)
		require.NoError(t, err)
		granted(t, s, session)
		requireGone(t, s.Grant, grant.ID)
		requireGone(t, s.Token, token.Hash)
		_, err = s.Grant(t.Context(), kept.ID)
		require.NoError(t, err, "another app's is not counted")
	})
	t.Run("grants of a user, whatever the app", func(t *testing.T) {
		session := browser(t, s)
		_, oldest, token := granted(t, s, session)
		begin := func(app string) {
			code := newCode(s, session)
			code.ClientID = app
			require.NoError(t, s.CreateCode(t.Context(), code, "", false))
			grant := newGrant(s, code)
			require.NoError(t, s.UseCode(t.Context(), grant, newAccess(s, grant)))
		}
		for i := range store.MaxUserGrants - 1 {
			begin(fmt.Sprint("app", i%10))
		}
		_, err := s.Grant(t.Context(), oldest.ID)
		require.NoError(t, err)
		begin("installed again")
		requireGone(t, s.Grant, oldest.ID)
		requireGone(t, s.Token, token.Hash)
		require.EqualValues(t, store.MaxUserGrants+1, left(t, session.Account), "with the session")
	})
	t.Run("many at once keep the bound", func(t *testing.T) {
		account := newAccount()
		u := &lambda.User{ID: "u", Account: account, LoginName: "u"}
		require.NoError(t, s.PutUser(t.Context(), u))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range store.MaxSessions/8 + 2 {
					login, token := newSession(account, time.Now().Add(time.Hour))
					if err := s.CreateSession(t.Context(), u, login, token); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		require.EqualValues(t, store.MaxSessions, left(t, account))
	})
}

func TestASessionNeedsTheUserAsChecked(t *testing.T) {
	s := open(t)
	account := newAccount()
	u := lambda.User{ID: "u", Account: account, LoginName: "name", PasswordHash: "old"}
	session, token := newSession(account, time.Now().Add(time.Hour))
	requireKind(t, s.CreateSession(t.Context(), &u, session, token), lambda.KindNotFound, lambda.CodeGeneral)
	changed := u
	changed.PasswordHash = "new"
	require.NoError(t, s.PutUser(t.Context(), &changed))
	requireKind(t, s.CreateSession(t.Context(), &u, session, token), lambda.KindConflict, lambda.CodeGeneral)
	changed.Roles = []lambda.Role{lambda.RoleAdmin}
	require.NoError(t, s.PutUser(t.Context(), &changed))
	require.NoError(t, s.CreateSession(t.Context(), &changed, session, token))
}

func TestEverythingOfAUserEnds(t *testing.T) {
	s := open(t)
	session := browser(t, s)
	account := session.Account
	login, bearer := newSession(account, time.Now().Add(time.Hour))
	require.NoError(t, begin(t, s, login, bearer))
	used, grant, access := granted(t, s, session)
	open := newCode(s, session)
	require.NoError(t, s.CreateCode(t.Context(), open, "", false))
	neighbour := &lambda.Session{ID: uuid.NewString(), Account: account, UserID: "u2", ExpiresAt: time.Now().Add(time.Hour)}
	require.NoError(t, begin(t, s, neighbour, nil))

	require.NoError(t, s.EndBrowserSessions(t.Context(), account, "u"))
	requireGone(t, s.Session, session.ID)
	_, err := s.Session(t.Context(), login.ID)
	require.NoError(t, err)

	require.NoError(t, s.EndUserSessions(t.Context(), account, "u"))
	require.NoError(t, s.EndUserSessions(t.Context(), account, "u"), "twice is no error")
	require.NoError(t, s.EndUserSessions(t.Context(), account, "a/b"))
	requireGone(t, s.Session, login.ID)
	requireGone(t, s.Token, bearer.Hash)
	requireGone(t, s.Token, access.Hash)
	requireGone(t, s.Grant, grant.ID)
	requireGone(t, s.Code, used.Hash)
	requireGone(t, s.Code, open.Hash)
	_, err = s.Session(t.Context(), neighbour.ID)
	require.NoError(t, err, "another user's is not touched")
	require.EqualValues(t, 1, left(t, account))
}

// TestNothingBeginsFromAnOldPassword changes a password while logins and codes
// are under way: after EndUserSessions nothing of before is left.
func TestNothingBeginsFromAnOldPassword(t *testing.T) {
	s := open(t)
	for round := range 5 {
		account := newAccount()
		old := lambda.User{ID: "u", Account: account, LoginName: "u", PasswordHash: "old"}
		require.NoError(t, s.PutUser(t.Context(), &old))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for ctx.Err() == nil {
					session := &lambda.Session{ID: uuid.NewString(), Kind: lambda.SessionBrowser, Account: account, UserID: "u", ExpiresAt: time.Now().Add(time.Hour)}
					if s.CreateSession(ctx, &old, session, nil) != nil {
						continue
					}
					code := newCode(s, session)
					if s.CreateCode(ctx, code, "", false) == nil {
						grant := newGrant(s, code)
						_ = s.UseCode(ctx, grant, newAccess(s, grant))
					}
				}
			})
		}
		time.Sleep(time.Duration(round) * 20 * time.Millisecond)
		reset := old
		reset.PasswordHash = "new"
		require.NoError(t, s.PutUser(t.Context(), &reset))
		require.NoError(t, s.EndUserSessions(t.Context(), account, "u"))
		cancel()
		all.Wait()
		require.Zero(t, left(t, account), fmt.Sprint("round ", round))
	}
}

func TestGrantsLeaveNoLeasesBehind(t *testing.T) {
	s := open(t)
	session := browser(t, s)
	leases := func() int {
		r, err := client.Leases(t.Context())
		require.NoError(t, err)
		return len(r.Leases)
	}
	before := leases()
	_, grant, _ := granted(t, s, session)
	refresh := grant.RefreshHash
	for range 5 {
		next := uuid.NewString()
		require.NoError(t, s.RotateGrant(t.Context(), grant.ID, refresh, next, time.Now().Add(time.Hour), newAccess(s, grant)))
		refresh = next
	}
	require.Error(t, s.RotateGrant(t.Context(), grant.ID, "old", "x", time.Now().Add(time.Hour), newAccess(s, grant)))
	require.LessOrEqual(t, leases(), before+4, "the grant, two tokens, and the code's, which ends within a minute")
	require.NoError(t, s.EndGrant(t.Context(), grant.ID))
	require.LessOrEqual(t, leases(), before+1)
}

// TestACodeThatIsUsedWhileAnotherTakesItsPlace uses the oldest code of many after
// the next one has been found to be one too many.
func TestACodeThatIsUsedWhileAnotherTakesItsPlace(t *testing.T) {
	s, other := open(t), open(t)
	session := browser(t, s)
	oldest := newCode(s, session)
	require.NoError(t, s.CreateCode(t.Context(), oldest, "", false))
	for range store.MaxCodes - 1 {
		require.NoError(t, s.CreateCode(t.Context(), newCode(s, session), "", false))
	}
	grant := newGrant(other, oldest)
	calls := 0
	next := newCode(other, session)
	s.Now = func() time.Time {
		if calls++; calls == 2 { // the second look at the clock comes after the codes were read
			require.NoError(t, other.UseCode(t.Context(), grant, newAccess(other, grant)))
		}
		return time.Now()
	}
	require.NoError(t, s.CreateCode(t.Context(), next, "", false))
	require.Greater(t, calls, 2, "it had to look again")
	used, err := other.Code(t.Context(), oldest.Hash)
	require.NoError(t, err, "a second use of it must be recognised")
	require.Equal(t, grant.ID, used.GrantID)
	_, err = other.Code(t.Context(), next.Hash)
	require.NoError(t, err)
}
