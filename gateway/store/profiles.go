package store

import (
	"context"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// PutProfile makes a profile or changes it, and tells what it then is and
// whether it is new. change gets the newest state, of a new profile its account
// and name alone, and may refuse; account and name stay as they are. A change is
// in force for every user of the profile at once.
func (s *Store) PutProfile(ctx context.Context, account, name string, change func(p *lambda.Profile, isNew bool) error) (saved *lambda.Profile, isNew bool, err error) {
	k, err := key(profilesRoot, account, name)
	if err != nil {
		return nil, false, err
	}
	err = update(ctx, s, "put profile "+name, k, func(old *lambda.Profile, w *write) error {
		next := lambda.Profile{}
		if isNew = old == nil; !isNew {
			next = *old
		}
		next.Account, next.Name = account, name
		if err := change(&next, isNew); err != nil {
			return err
		}
		next.Account, next.Name = account, name
		if isNew {
			if err := s.mayAddProfile(ctx, w, account); err != nil {
				return err
			}
		}
		saved = &next
		return w.put(k, saved)
	})
	if err != nil {
		return nil, false, err
	}
	return saved, isNew, nil
}

// mayAddProfile makes a write of a new profile depend on its account and on how
// many there are.
func (s *Store) mayAddProfile(ctx context.Context, w *write, account string) error {
	folder, needed := profilesRoot+account+"/", accountNeeded(account)
	seen, err := s.read(ctx, countOf(folder), keyOf(needed.key))
	if err != nil {
		return fmt.Errorf("put profile: %w", err)
	}
	if first(seen, 1) == nil {
		return needed.fault
	}
	w.when = append(w.when, exists(needed.key))
	if s.Limits.Profiles == 0 {
		return nil
	}
	if n := count(seen, 0); n >= int64(s.Limits.Profiles) {
		return lambda.Conflict(lambda.CodeIdentityLimit, "the account has %d profiles: the limit is %d, remove one first", n, s.Limits.Profiles)
	}
	w.when = append(w.when, noneNewer(folder, seen.Header.Revision))
	return nil
}

// Profile reads one profile.
func (s *Store) Profile(ctx context.Context, account, name string) (*lambda.Profile, error) {
	return one[lambda.Profile](ctx, s, "profile", profilesRoot, account, name)
}

// Profiles reads all profiles of an account, ordered by name.
func (s *Store) Profiles(ctx context.Context, account string) ([]lambda.Profile, error) {
	k, err := folder(profilesRoot, account)
	if err != nil {
		return nil, nil // such an account has none
	}
	return many[lambda.Profile](ctx, s, k)
}

// DeleteProfile removes a profile, which may may refuse (nil: it may not). While
// users have it that is a Conflict with CodeProfileInUse.
func (s *Store) DeleteProfile(ctx context.Context, account, name string, may func(*lambda.Profile) error) error {
	return remove(ctx, s, "profile", profilesRoot, account, name, may, func(old *lambda.Profile, w *write) error {
		return s.unused(ctx, w, old)
	})
}

// unused makes sure that no user has the profile, and that none gets it before
// the write.
func (s *Store) unused(ctx context.Context, w *write, p *lambda.Profile) error {
	users, holders := usersRoot+p.Account+"/", 0
	revision, err := s.list(ctx, users, 0, func(_ string, kv *mvccpb.KeyValue) error {
		u, err := decodeNew[lambda.User](kv)
		if err == nil && u.Profile == p.Name {
			holders++
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("delete profile %s: %w", p.Name, err)
	case holders > 0:
		who := "1 user"
		if holders > 1 {
			who = strconv.Itoa(holders) + " users"
		}
		return conflict(lambda.CodeProfileInUse, "name", "profile %s is in use by %s: give them another profile, or roles of their own, first", p.Name, who)
	}
	w.when = append(w.when, noneChanged(users, revision))
	return nil
}

// profileNeeded is the condition that the profile that u names is there.
func profileNeeded(u *lambda.User) (condition, error) {
	fault := lambda.Invalid("profile", "profile %.100q does not exist in account %s: make it first, or name another", u.Profile, u.Account)
	k, err := key(profilesRoot, u.Account, u.Profile)
	if err != nil {
		return condition{}, fault
	}
	return condition{k, fault}, nil
}

// needProfile makes a write of u depend on the profile that u names, if any.
func (s *Store) needProfile(ctx context.Context, w *write, u *lambda.User) error {
	if u.Profile == "" {
		return nil
	}
	needed, err := profileNeeded(u)
	if err != nil {
		return err
	}
	seen, err := s.read(ctx, keyOf(needed.key))
	switch {
	case err != nil:
		return fmt.Errorf("put user %s: %w", u.LoginName, err)
	case first(seen, 0) == nil:
		return needed.fault
	}
	w.when = append(w.when, exists(needed.key))
	return nil
}
