package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// PutUser saves a user as it is given, new or not, whatever the limits. A login
// name that another user of the account has is a Conflict.
func (s *Store) PutUser(ctx context.Context, u *lambda.User) error {
	k, err := key(usersRoot, u.Account, u.ID)
	if err != nil {
		return err
	}
	login, err := key(loginsRoot, u.Account, u.LoginName)
	if err != nil {
		return err
	}
	return update(ctx, s, "put user "+u.LoginName, k, func(old *lambda.User, w *write) error {
		seen, err := s.read(ctx, clientv3.OpGet(login))
		if err != nil {
			return fmt.Errorf("put user %s: %w", u.LoginName, err)
		}
		taken := first(seen, 0)
		if taken != nil && string(taken.Value) != u.ID {
			return loginTaken(u)
		}
		w.when = append(w.when, unchanged(login, modRevision(taken)))
		w.then = append(w.then, clientv3.OpPut(login, u.ID))
		if old != nil && old.LoginName != u.LoginName {
			w.delete(loginsRoot + old.Account + "/" + old.LoginName)
		}
		if err := s.needProfile(ctx, w, u); err != nil {
			return err
		}
		return w.put(k, u)
	})
}

// CreateUser saves a new user of an account that exists. A login name or an id
// that is taken is a Conflict, a profile that does not exist Invalid.
func (s *Store) CreateUser(ctx context.Context, u *lambda.User) error {
	k, err := key(usersRoot, u.Account, u.ID)
	if err != nil {
		return err
	}
	login, err := key(loginsRoot, u.Account, u.LoginName)
	if err != nil {
		return err
	}
	value, err := encode(u)
	if err != nil {
		return err
	}
	needs := []condition{accountNeeded(u.Account)}
	if u.Profile != "" {
		profile, err := profileNeeded(u)
		if err != nil {
			return err
		}
		needs = append(needs, profile)
	}
	return s.create(ctx, creation{
		what: "create user " + u.LoginName, folder: usersRoot + u.Account + "/", limit: s.Limits.Users,
		full: "the account has %d users: the limit is %d, remove one first",
		free: []condition{
			{login, loginTaken(u)},
			{k, conflict(lambda.CodeIdentityConflict, "id", "user id %s is taken", u.ID)},
		},
		needs: needs,
		then:  []clientv3.Op{clientv3.OpPut(k, value), clientv3.OpPut(login, u.ID)},
	})
}

func loginTaken(u *lambda.User) error {
	return conflict(lambda.CodeIdentityConflict, "loginName", "login name %s is taken by another user of the account", u.LoginName)
}

// UpdateUser changes a user and tells what it then is. change gets the newest
// state, again when another write came in between, and may refuse. Id, account
// and login name stay as they are, whatever it does to them. A user that does
// not exist is NotFound, a profile that does not Invalid.
func (s *Store) UpdateUser(ctx context.Context, account, id string, change func(*lambda.User) error) (*lambda.User, error) {
	var saved *lambda.User
	err := existing(ctx, s, "update", "user", usersRoot, account, id, func(old *lambda.User, w *write) error {
		next := *old
		if err := change(&next); err != nil {
			return err
		}
		next.ID, next.Account, next.LoginName = old.ID, old.Account, old.LoginName
		if err := s.needProfile(ctx, w, &next); err != nil {
			return err
		}
		saved = &next
		return w.put(w.key, saved)
	})
	if err != nil {
		return nil, err
	}
	return saved, nil
}

// DeleteUser removes a user, whom may may refuse to let go (nil: it may not),
// and then its sessions. A user that does not exist is NotFound.
func (s *Store) DeleteUser(ctx context.Context, account, id string, may func(*lambda.User) error) error {
	err := remove(ctx, s, "user", usersRoot, account, id, may, func(old *lambda.User, w *write) error {
		w.delete(loginsRoot + account + "/" + old.LoginName)
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.EndUserSessions(ctx, account, id); err != nil {
		// Nobody is let in with a token of a user that does not exist.
		s.log.Warn().Err(err).Str("userId", id).Msg("the sessions of a deleted user are left to end by themselves")
	}
	return nil
}

// User reads one user.
func (s *Store) User(ctx context.Context, account, id string) (*lambda.User, error) {
	return one[lambda.User](ctx, s, "user", usersRoot, account, id)
}

// UserByLogin reads the user of that login name.
func (s *Store) UserByLogin(ctx context.Context, account, loginName string) (*lambda.User, error) {
	k, err := key(loginsRoot, account, loginName)
	if err != nil {
		return nil, missing("user", loginName)
	}
	r, err := s.read(ctx, clientv3.OpGet(k))
	if err != nil {
		return nil, fmt.Errorf("find user %s: %w", loginName, err)
	}
	kv := first(r, 0)
	if kv == nil {
		return nil, missing("user", loginName)
	}
	return s.User(ctx, account, string(kv.Value))
}

// Users reads all users of an account, ordered by id.
func (s *Store) Users(ctx context.Context, account string) ([]lambda.User, error) {
	k, err := folder(usersRoot, account)
	if err != nil {
		return nil, nil // such an account has none
	}
	return many[lambda.User](ctx, s, k)
}
