package store

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// PutAccount saves an account, new or not.
func (s *Store) PutAccount(ctx context.Context, a *lambda.Account) error {
	k, err := key(accountsRoot, a.ID)
	if err != nil {
		return err
	}
	return s.putView(ctx, k, a)
}

// Account reads one account.
func (s *Store) Account(ctx context.Context, id string) (*lambda.Account, error) {
	return one[lambda.Account](ctx, s, "account", accountsRoot, id)
}

// Accounts reads all accounts, ordered by id.
func (s *Store) Accounts(ctx context.Context) ([]lambda.Account, error) {
	return many[lambda.Account](ctx, s, accountsRoot)
}

// PutUser saves a user, new or not. A login name that another user of the
// account has is a Conflict.
func (s *Store) PutUser(ctx context.Context, u *lambda.User) error {
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
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(k), clientv3.OpGet(login))
		if err != nil {
			return fmt.Errorf("put user %s: %w", u.ID, err)
		}
		taken := first(seen, 1)
		if taken != nil && string(taken.Value) != u.ID {
			return conflict(lambda.CodeGeneral, "loginName", "login name %s is taken by another user of the account", u.LoginName)
		}
		then := []clientv3.Op{clientv3.OpPut(k, value), clientv3.OpPut(login, u.ID)}
		old, err := decodeNew[lambda.User](first(seen, 0))
		if err != nil {
			return err
		}
		if old != nil && old.LoginName != u.LoginName {
			then = append(then, clientv3.OpDelete(loginsRoot+old.Account+"/"+old.LoginName))
		}
		r, err := s.commit(ctx, []clientv3.Cmp{
			unchanged(k, modRevision(first(seen, 0))), unchanged(login, modRevision(taken)),
		}, then, nil)
		if err != nil {
			return fmt.Errorf("put user %s: %w", u.ID, err)
		}
		if r.Succeeded {
			s.wrote(r.Header.Revision)
			return nil
		}
	}
	return overtaken("put user " + u.LoginName)
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

// PutApp saves an app, new or not.
func (s *Store) PutApp(ctx context.Context, a *lambda.App) error {
	k, err := key(appsRoot, a.Account, a.ClientID)
	if err != nil {
		return err
	}
	return s.putView(ctx, k, a)
}

// App reads one app.
func (s *Store) App(ctx context.Context, account, clientID string) (*lambda.App, error) {
	return one[lambda.App](ctx, s, "app", appsRoot, account, clientID)
}

// Apps reads all apps of an account, ordered by client id.
func (s *Store) Apps(ctx context.Context, account string) ([]lambda.App, error) {
	k, err := folder(appsRoot, account)
	if err != nil {
		return nil, nil // such an account has none
	}
	return many[lambda.App](ctx, s, k)
}

// DeleteApp deletes an app, if there is one: its secret is worth nothing any
// more.
func (s *Store) DeleteApp(ctx context.Context, account, clientID string) error {
	k, err := key(appsRoot, account, clientID)
	if err != nil {
		return nil // there is none
	}
	r, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpDelete(k)}, nil)
	if err != nil {
		return fmt.Errorf("delete app %s: %w", clientID, err)
	}
	s.wrote(r.Header.Revision)
	return nil
}

// putView writes one key that views hold.
func (s *Store) putView(ctx context.Context, k string, v any) error {
	value, err := encode(v)
	if err != nil {
		return err
	}
	r, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpPut(k, value)}, nil)
	if err != nil {
		return fmt.Errorf("put %s: %w", k, err)
	}
	s.wrote(r.Header.Revision)
	return nil
}

// one reads the noun at folder and segments; what cannot be a key is not there.
func one[T any](ctx context.Context, s *Store, noun, folder string, segments ...string) (*T, error) {
	name := segments[len(segments)-1]
	k, err := key(folder, segments...)
	if err != nil {
		return nil, missing(noun, name)
	}
	v := new(T)
	found, err := s.get(ctx, k, v)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", noun, err)
	}
	if !found {
		return nil, missing(noun, name)
	}
	return v, nil
}

func many[T any](ctx context.Context, s *Store, folder string) ([]T, error) {
	var found []T
	_, err := s.list(ctx, folder, 0, func(_ string, kv *mvccpb.KeyValue) error {
		v, err := decodeNew[T](kv)
		if err == nil {
			found = append(found, *v)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	return found, nil
}

func missing(noun, name string) error {
	return lambda.NotFound(lambda.CodeGeneral, "There is no %s %s", noun, name)
}
