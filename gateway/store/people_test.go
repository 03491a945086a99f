package store_test

import (
	"context"
	"fmt"
	"strings"
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

// brand makes an account.
func brand(t *testing.T, s *store.Store) string {
	t.Helper()
	a := newAccount()
	require.NoError(t, s.CreateAccount(t.Context(), &lambda.Account{ID: a, Name: "Brand"}))
	return a
}

func person(account, login string) *lambda.User {
	return &lambda.User{ID: uuid.NewString(), Account: account, LoginName: login, PasswordHash: "h", Roles: []lambda.Role{lambda.RoleDeveloper}}
}

func member(account, login, profile string) *lambda.User {
	return &lambda.User{ID: uuid.NewString(), Account: account, LoginName: login, Profile: profile}
}

func newApp(account, name string) *lambda.App {
	return &lambda.App{ClientID: uuid.NewString(), Account: account, ClientName: name, GrantTypes: []string{lambda.GrantCredentials}}
}

// holds gives a profile those roles.
func holds(roles ...lambda.Role) func(*lambda.Profile, bool) error {
	return func(p *lambda.Profile, _ bool) error {
		p.Roles = roles
		return nil
	}
}

// race does the same n times at once and counts how it ends: nil, or the kind of
// the error.
func race(t *testing.T, n int, f func(i int) error) (won int, lost map[lambda.Kind]int) {
	t.Helper()
	var wait sync.WaitGroup
	errs := make([]error, n)
	begin := make(chan struct{})
	for i := range n {
		wait.Go(func() {
			<-begin
			errs[i] = f(i)
		})
	}
	close(begin)
	wait.Wait()
	lost = map[lambda.Kind]int{}
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		e := lambda.As(err)
		require.NotNil(t, e, "%v", err)
		lost[e.Kind]++
	}
	return won, lost
}

func TestWhatIsNewIsMadeOnce(t *testing.T) {
	s := open(t)
	account, fresh := brand(t, s), newAccount()
	for name, create := range map[string]func(i int) error{
		"accounts of one id": func(int) error {
			return s.CreateAccount(t.Context(), &lambda.Account{ID: fresh})
		},
		"users of one login name": func(int) error {
			return s.CreateUser(t.Context(), person(account, "dev@example.com"))
		},
		"users of one id": func(i int) error {
			u := person(account, fmt.Sprint("u", i))
			u.ID = "same"
			return s.CreateUser(t.Context(), u)
		},
		"apps of one client name": func(int) error {
			return s.InstallApp(t.Context(), newApp(account, "my app / 1"))
		},
		"apps of one client id": func(i int) error {
			a := newApp(account, fmt.Sprint("a", i))
			a.ClientID = "same"
			return s.InstallApp(t.Context(), a)
		},
	} {
		t.Run("of several "+name+" at once one wins and the others are told", func(t *testing.T) {
			won, lost := race(t, 16, create)
			require.Equal(t, 1, won)
			require.Equal(t, map[lambda.Kind]int{lambda.KindConflict: 15}, lost)
		})
	}
	require.Len(t, keysWith(t, "sluice/logins/"+account), 2, "a name that lost is not kept")
	require.Len(t, keysWith(t, "sluice/appnames/"+account), 2)
	other := brand(t, s)
	require.NoError(t, s.CreateUser(t.Context(), person(other, "dev@example.com")), "another account has its own names")
	require.NoError(t, s.InstallApp(t.Context(), newApp(other, "my app / 1")))
}

func TestAnAccountHasOnlySoMany(t *testing.T) {
	s := open(t)
	s.Limits = lambda.Limits{Users: 3, Profiles: 3, Apps: 3}
	account := brand(t, s)
	for name, create := range map[string]func(i int) error{
		"users": func(i int) error { return s.CreateUser(t.Context(), person(account, fmt.Sprint("u", i))) },
		"apps":  func(i int) error { return s.InstallApp(t.Context(), newApp(account, fmt.Sprint("a", i))) },
		"profiles": func(i int) error {
			_, _, err := s.PutProfile(t.Context(), account, fmt.Sprint("p", i), holds(lambda.RoleAdmin))
			return err
		},
	} {
		t.Run(name+", also when many are made at once", func(t *testing.T) {
			won, lost := race(t, 8, create)
			require.Equal(t, 3, won)
			require.Equal(t, map[lambda.Kind]int{lambda.KindConflict: 5}, lost)
			err := create(100)
			requireKind(t, err, lambda.KindConflict, lambda.CodeIdentityLimit)
			require.ErrorContains(t, err, "the account has 3 "+name+": the limit is 3, ")
		})
	}
	s.Limits.Accounts = 1
	requireKind(t, s.CreateAccount(t.Context(), &lambda.Account{ID: newAccount()}), lambda.KindConflict, lambda.CodeIdentityLimit)
	s.Limits = lambda.Limits{}
	require.NoError(t, s.CreateUser(t.Context(), person(account, "one more")), "0 is no limit")
	_, _, err := s.PutProfile(t.Context(), account, "one more", holds(lambda.RoleAdmin))
	require.NoError(t, err)
}

func TestNothingIsMadeInAnAccountThatDoesNotExist(t *testing.T) {
	s, none := open(t), newAccount()
	requireKind(t, s.CreateUser(t.Context(), person(none, "x")), lambda.KindNotFound, lambda.CodeGeneral)
	requireKind(t, s.InstallApp(t.Context(), newApp(none, "x")), lambda.KindNotFound, lambda.CodeGeneral)
	_, _, err := s.PutProfile(t.Context(), none, "x", holds(lambda.RoleAdmin))
	requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
	require.Empty(t, keysWith(t, none))
}

func TestChangesAtOnceLoseNothing(t *testing.T) {
	s := open(t)
	account := brand(t, s)
	u := person(account, "counted")
	require.NoError(t, s.CreateUser(t.Context(), u))
	a := newApp(account, "counted")
	require.NoError(t, s.InstallApp(t.Context(), a))
	for name, c := range map[string]struct {
		change func() error
		count  func() int
	}{
		"of a user": {
			func() error {
				_, err := s.UpdateUser(t.Context(), account, u.ID, func(u *lambda.User) error {
					u.PasswordHash += "+"
					return nil
				})
				return err
			},
			func() int {
				u, err := s.User(t.Context(), account, u.ID)
				require.NoError(t, err)
				return strings.Count(u.PasswordHash, "+")
			},
		},
		"of an app": {
			func() error {
				_, err := s.UpdateApp(t.Context(), account, a.ClientID, func(a *lambda.App) error {
					a.Description += "+"
					return nil
				})
				return err
			},
			func() int {
				a, err := s.App(t.Context(), account, a.ClientID)
				require.NoError(t, err)
				return strings.Count(a.Description, "+")
			},
		},
		"of a profile": {
			func() error {
				_, _, err := s.PutProfile(t.Context(), account, "counted", func(p *lambda.Profile, _ bool) error {
					p.Roles = append(p.Roles, lambda.RoleAdmin)
					return nil
				})
				return err
			},
			func() int {
				p, err := s.Profile(t.Context(), account, "counted")
				require.NoError(t, err)
				return len(p.Roles)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			won, lost := race(t, 12, func(int) error { return c.change() })
			require.Empty(t, lost)
			require.Equal(t, won, c.count(), "each change builds on the one before")
		})
	}
}

func TestUsersChange(t *testing.T) {
	s := open(t)
	v := view(t, s)
	account := brand(t, s)
	u := person(account, "dev@example.com")
	require.NoError(t, s.CreateUser(t.Context(), u))
	t.Run("what the change does to id, account and login name has no effect", func(t *testing.T) {
		saved, err := s.UpdateUser(t.Context(), account, u.ID, func(u *lambda.User) error {
			u.ID, u.Account, u.LoginName = "x", "1", "other"
			u.Roles = []lambda.Role{lambda.RoleAdmin}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, u.ID, saved.ID)
		read, err := s.UserByLogin(t.Context(), account, u.LoginName)
		require.NoError(t, err)
		require.Equal(t, saved, read)
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		seen, _ := v.User(account, u.ID)
		require.Equal(t, saved, seen)
	})
	t.Run("a change that refuses changes nothing", func(t *testing.T) {
		before, err := s.User(t.Context(), account, u.ID)
		require.NoError(t, err)
		no := lambda.Invalid("x", "no")
		_, err = s.UpdateUser(t.Context(), account, u.ID, func(u *lambda.User) error {
			u.Roles = nil
			return no
		})
		require.ErrorIs(t, err, no)
		require.ErrorIs(t, s.DeleteUser(t.Context(), account, u.ID, func(*lambda.User) error { return no }), no)
		after, err := s.User(t.Context(), account, u.ID)
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
	t.Run("a user goes with the login name and every session", func(t *testing.T) {
		bystander := person(account, "bystander")
		require.NoError(t, s.CreateUser(t.Context(), bystander))
		var tokens []string
		for _, who := range []*lambda.User{u, u, bystander} {
			session, token := newSession(account, time.Now().Add(time.Hour))
			session.UserID, token.UserID = who.ID, who.ID
			require.NoError(t, s.CreateSession(t.Context(), who, session, token))
			tokens = append(tokens, token.Hash)
		}
		require.NoError(t, s.DeleteUser(t.Context(), account, u.ID, nil))
		_, err := s.UserByLogin(t.Context(), account, u.LoginName)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
		for i, hash := range tokens {
			_, err := s.Token(t.Context(), hash)
			require.Equal(t, i == 2, err == nil, "%v", err)
		}
		requireKind(t, s.DeleteUser(t.Context(), account, u.ID, nil), lambda.KindNotFound, lambda.CodeGeneral)
		require.NoError(t, s.CreateUser(t.Context(), person(account, u.LoginName)), "the name is free again")
	})
	t.Run("nobody is changed who does not exist", func(t *testing.T) {
		for _, id := range []string{"nobody", "", "a/b"} {
			_, err := s.UpdateUser(t.Context(), account, id, func(*lambda.User) error { return nil })
			requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
			requireKind(t, s.DeleteUser(t.Context(), account, id, nil), lambda.KindNotFound, lambda.CodeGeneral)
		}
	})
}

func TestProfiles(t *testing.T) {
	t.Run("one is made, changed, listed, seen in views and removed", func(t *testing.T) {
		s := open(t)
		v, account := view(t, s), brand(t, s)
		p, isNew, err := s.PutProfile(t.Context(), account, "Agent Manager", holds(lambda.RoleInvocation))
		require.NoError(t, err)
		require.True(t, isNew)
		require.Equal(t, &lambda.Profile{Account: account, Name: "Agent Manager", Roles: []lambda.Role{lambda.RoleInvocation}}, p)
		_, isNew, err = s.PutProfile(t.Context(), account, "Agent Manager", holds(lambda.RoleAdmin, lambda.RoleDeveloper))
		require.NoError(t, err)
		require.False(t, isNew)
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		seen, ok := v.Profile(account, "Agent Manager")
		require.True(t, ok)
		require.Len(t, seen.Roles, 2)
		all, err := s.Profiles(t.Context(), account)
		require.NoError(t, err)
		require.Equal(t, []lambda.Profile{*seen}, all)

		require.NoError(t, s.DeleteProfile(t.Context(), account, "Agent Manager", nil))
		requireKind(t, s.DeleteProfile(t.Context(), account, "Agent Manager", nil), lambda.KindNotFound, lambda.CodeGeneral)
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		_, ok = v.Profile(account, "Agent Manager")
		require.False(t, ok)
	})
	t.Run("one that users have stays", func(t *testing.T) {
		s := open(t)
		account := brand(t, s)
		for _, name := range []string{"used", "unused"} {
			_, _, err := s.PutProfile(t.Context(), account, name, holds(lambda.RoleAdmin))
			require.NoError(t, err)
		}
		first, second := member(account, "a", "used"), person(account, "b")
		require.NoError(t, s.CreateUser(t.Context(), first))
		require.NoError(t, s.CreateUser(t.Context(), second))
		_, err := s.UpdateUser(t.Context(), account, second.ID, func(u *lambda.User) error {
			u.Profile, u.Roles = "used", nil
			return nil
		})
		require.NoError(t, err)
		err = s.DeleteProfile(t.Context(), account, "used", nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeProfileInUse)
		require.ErrorContains(t, err, "in use by 2 users")
		require.NoError(t, s.DeleteProfile(t.Context(), account, "unused", nil))
		for _, u := range []*lambda.User{first, second} {
			require.NoError(t, s.DeleteUser(t.Context(), account, u.ID, nil))
		}
		require.NoError(t, s.DeleteProfile(t.Context(), account, "used", nil))
	})
	t.Run("one that does not exist is given to nobody", func(t *testing.T) {
		s := open(t)
		account := brand(t, s)
		requireKind(t, s.CreateUser(t.Context(), member(account, "a", "none")), lambda.KindInvalid, lambda.CodeBadInput)
		requireKind(t, s.CreateUser(t.Context(), member(account, "a", "a/b")), lambda.KindInvalid, lambda.CodeBadInput)
		requireKind(t, s.PutUser(t.Context(), member(account, "a", "none")), lambda.KindInvalid, lambda.CodeBadInput)
		u := person(account, "a")
		require.NoError(t, s.CreateUser(t.Context(), u))
		_, err := s.UpdateUser(t.Context(), account, u.ID, func(u *lambda.User) error {
			u.Profile = "none"
			return nil
		})
		requireKind(t, err, lambda.KindInvalid, lambda.CodeBadInput)
	})
	t.Run("of giving one and removing it at once, one loses", func(t *testing.T) {
		s := open(t)
		account := brand(t, s)
		for i := range 20 {
			name, login := fmt.Sprint("p", i), fmt.Sprint("u", i)
			_, _, err := s.PutProfile(t.Context(), account, name, holds(lambda.RoleAdmin))
			require.NoError(t, err)
			var given, removed error
			var wait sync.WaitGroup
			wait.Go(func() { given = s.CreateUser(t.Context(), member(account, login, name)) })
			wait.Go(func() { removed = s.DeleteProfile(t.Context(), account, name, nil) })
			wait.Wait()
			if given == nil {
				requireKind(t, removed, lambda.KindConflict, lambda.CodeProfileInUse)
				continue
			}
			require.NoError(t, removed)
			requireKind(t, given, lambda.KindInvalid, lambda.CodeBadInput)
		}
	})
}

func TestApps(t *testing.T) {
	s := open(t)
	v := view(t, s)
	account := brand(t, s)
	a := newApp(account, "one")
	require.NoError(t, s.InstallApp(t.Context(), a))
	t.Run("the same name is another app's in another account only", func(t *testing.T) {
		requireKind(t, s.InstallApp(t.Context(), newApp(account, "one")), lambda.KindConflict, lambda.CodeIdentityConflict)
		requireKind(t, s.PutApp(t.Context(), newApp(account, "one")), lambda.KindConflict, lambda.CodeIdentityConflict)
		require.NoError(t, s.InstallApp(t.Context(), newApp(brand(t, s), "one")))
	})
	t.Run("a new name is taken and the old one is free", func(t *testing.T) {
		b := newApp(account, "two")
		require.NoError(t, s.InstallApp(t.Context(), b))
		rename := func(to string) error {
			_, err := s.UpdateApp(t.Context(), account, a.ClientID, func(a *lambda.App) error {
				a.ClientName, a.ClientID, a.Account = to, "x", "1"
				return nil
			})
			return err
		}
		requireKind(t, rename("two"), lambda.KindConflict, lambda.CodeIdentityConflict)
		requireKind(t, rename(""), lambda.KindInvalid, lambda.CodeBadInput)
		require.NoError(t, rename(strings.Repeat("ü/", 64)))
		require.NoError(t, rename("three"))
		require.NoError(t, rename("three"))
		require.NoError(t, s.InstallApp(t.Context(), newApp(account, "one")))
		apps, err := s.Apps(t.Context(), account)
		require.NoError(t, err)
		require.Len(t, apps, 3)
		require.Len(t, keysWith(t, "sluice/appnames/"+account), 3)
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		seen, ok := v.App(account, a.ClientID)
		require.True(t, ok)
		require.Equal(t, "three", seen.ClientName)
	})
	t.Run("of two renames to one name at once one wins", func(t *testing.T) {
		account := brand(t, s)
		var ids []string
		for i := range 8 {
			a := newApp(account, fmt.Sprint("app", i))
			require.NoError(t, s.InstallApp(t.Context(), a))
			ids = append(ids, a.ClientID)
		}
		won, lost := race(t, 8, func(i int) error {
			_, err := s.UpdateApp(t.Context(), account, ids[i], func(a *lambda.App) error {
				a.ClientName = "wanted"
				return nil
			})
			return err
		})
		require.Equal(t, 1, won)
		require.Equal(t, map[lambda.Kind]int{lambda.KindConflict: 7}, lost)
	})
	t.Run("one that goes leaves its name and its views", func(t *testing.T) {
		no := lambda.Invalid("x", "no")
		require.ErrorIs(t, s.DeleteApp(t.Context(), account, a.ClientID, func(*lambda.App) error { return no }), no)
		require.NoError(t, s.DeleteApp(t.Context(), account, a.ClientID, nil))
		for _, id := range []string{a.ClientID, "b/../a", ""} {
			requireKind(t, s.DeleteApp(t.Context(), account, id, nil), lambda.KindNotFound, lambda.CodeGeneral)
			_, err := s.UpdateApp(t.Context(), account, id, func(*lambda.App) error { return nil })
			requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
		}
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		_, known := v.App(account, a.ClientID)
		require.False(t, known)
		require.NoError(t, s.InstallApp(t.Context(), newApp(account, "three")))
	})
}

// putOldApp writes an app as gateways did that kept no names.
func putOldApp(t *testing.T, account, id, name string) {
	t.Helper()
	_, err := client.Put(t.Context(), "/sluice/view/apps/"+account+"/"+id,
		fmt.Sprintf(`{"client_id":%q,"account":%q,"client_name":%q,"grant_types":["client_credentials"],"scope":"","secret_hash":"h"}`, id, account, name))
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = client.Delete(context.Background(), "/sluice/view/apps/"+account+"/"+id) // so that later opens are quick
		_, _ = client.Delete(context.Background(), "/sluice/appnames/"+account+"/", clientv3.WithPrefix())
	})
}

func TestAppsOfEarlierVersionsGetTheirNames(t *testing.T) {
	s := open(t)
	account := brand(t, s)
	for id, name := range map[string]string{"a": "demo", "b": "demo", "c": "other", "d": "", "e": strings.Repeat("n", 300)} {
		putOldApp(t, account, id, name)
	}
	require.Empty(t, keysWith(t, "sluice/appnames/"+account))
	_, err := client.Put(t.Context(), "/sluice/view/apps/"+account+"/broken", "{")
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = client.Delete(context.Background(), "/sluice/view/apps/"+account+"/broken") })

	var wait sync.WaitGroup
	var failed atomic.Int32
	for range 4 { // several gateways start at once
		wait.Go(func() {
			if s.Open(t.Context()) != nil {
				failed.Add(1)
			}
		})
	}
	wait.Wait()
	require.Zero(t, failed.Load())
	require.Len(t, keysWith(t, "sluice/appnames/"+account), 2)
	requireKind(t, s.InstallApp(t.Context(), newApp(account, "demo")), lambda.KindConflict, lambda.CodeIdentityConflict)

	update := func(id string, change func(*lambda.App)) error {
		_, err := s.UpdateApp(t.Context(), account, id, func(a *lambda.App) error {
			change(a)
			return nil
		})
		return err
	}
	require.NoError(t, update("b", func(a *lambda.App) { a.Scope = "x" }), "the twin can be changed")
	require.NoError(t, update("b", func(a *lambda.App) { a.ClientName = "second" }), "and get a name of its own")
	requireKind(t, s.InstallApp(t.Context(), newApp(account, "demo")), lambda.KindConflict, lambda.CodeIdentityConflict)
	require.NoError(t, update("d", func(a *lambda.App) { a.ClientName = "named" }))
	require.NoError(t, s.DeleteApp(t.Context(), account, "e", nil))
	require.NoError(t, s.DeleteApp(t.Context(), account, "a", nil))
	require.NoError(t, s.InstallApp(t.Context(), newApp(account, "demo")))
}
