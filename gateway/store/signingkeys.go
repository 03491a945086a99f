package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// SigningKeys reads every signing key, the oldest first, and the revision of
// the whole set, for PutSigningKey.
func (s *Store) SigningKeys(ctx context.Context) ([]lambda.SigningKey, int64, error) {
	var keys []lambda.SigningKey
	revision, err := s.list(ctx, keysRoot, 0, func(_ string, kv *mvccpb.KeyValue) error {
		k, err := decodeNew[lambda.SigningKey](kv)
		if err == nil {
			keys = append(keys, *k)
		}
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list signing keys: %w", err)
	}
	sortKeys(keys)
	return keys, revision, nil
}

// PutSigningKey adds a key if none was added since revision; else it is a
// Conflict and nothing is stored. Of several gateways that rotate at once,
// one wins.
func (s *Store) PutSigningKey(ctx context.Context, k lambda.SigningKey, revision int64) error {
	id, err := key(keysRoot, k.ID)
	if err != nil {
		return err
	}
	value, err := encode(k)
	if err != nil {
		return err
	}
	r, err := s.commit(ctx, []clientv3.Cmp{noneNewer(keysRoot, revision), absent(id)},
		[]clientv3.Op{clientv3.OpPut(id, value)}, nil)
	if err != nil {
		return fmt.Errorf("put signing key: %w", err)
	}
	if !r.Succeeded {
		return lambda.Conflict(lambda.CodeGeneral, "another gateway added a signing key meanwhile")
	}
	s.wrote(r.Header.Revision)
	return nil
}

// DeleteSigningKey removes a key. One that is gone is no error.
func (s *Store) DeleteSigningKey(ctx context.Context, id string) error {
	k, err := key(keysRoot, id)
	if err != nil {
		return nil // no key can have that id
	}
	r, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpDelete(k)}, nil)
	if err != nil {
		return fmt.Errorf("delete signing key %s: %w", id, err)
	}
	s.wrote(r.Header.Revision)
	return nil
}

func sortKeys(keys []lambda.SigningKey) {
	slices.SortFunc(keys, func(a, b lambda.SigningKey) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
}
