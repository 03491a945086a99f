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

// CreateAccount saves a new account. An id that is taken is a Conflict.
func (s *Store) CreateAccount(ctx context.Context, a *lambda.Account) error {
	k, err := key(accountsRoot, a.ID)
	if err != nil {
		return err
	}
	value, err := encode(a)
	if err != nil {
		return err
	}
	return s.create(ctx, creation{
		what: "create account " + a.ID, folder: accountsRoot, limit: s.Limits.Accounts,
		full: "the region has %d accounts: the limit is %d",
		free: []condition{{k, conflict(lambda.CodeIdentityConflict, "id", "account %s exists already", a.ID)}},
		then: []clientv3.Op{clientv3.OpPut(k, value)},
	})
}

// accountNeeded is the condition that an account is there.
func accountNeeded(account string) condition {
	return condition{accountsRoot + account, missing("account", account)}
}

// Account reads one account.
func (s *Store) Account(ctx context.Context, id string) (*lambda.Account, error) {
	return one[lambda.Account](ctx, s, "account", accountsRoot, id)
}

// Accounts reads all accounts, ordered by id.
func (s *Store) Accounts(ctx context.Context) ([]lambda.Account, error) {
	return many[lambda.Account](ctx, s, accountsRoot)
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
