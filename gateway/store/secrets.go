package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// errSealer is a write with another key than etcd's secrets are sealed with: it
// would leave one that nobody can read.
var errSealer = errors.New("the secrets in etcd are sealed with another key")

// secretKeys are the two keys of a secret: its own, and the mark by which every
// gateway learns of a change.
func secretKeys(account, name string) (own, mark string, err error) {
	tail, err := key("", account, name)
	return secretsRoot + tail, marksRoot + tail, err
}

// CreateSecret writes a new secret, if the account has fewer than limit (0: no
// limit) apart from the keys in uncounted. It is lambda.SecretExists or
// lambda.SecretsFull when it may not, and lambda.SecretsRefused when the secrets
// are sealed with another key.
func (s *Store) CreateSecret(ctx context.Context, r *lambda.SealedSecret, limit int, uncounted []string) error {
	own, mark, err := secretKeys(r.Account, r.Key)
	if err != nil {
		return err
	}
	value, err := encode(r)
	if err != nil {
		return err
	}
	all := secretsRoot + r.Account + "/"
	read := []clientv3.Op{keyOf(own), countOf(all)}
	for _, name := range uncounted {
		read = append(read, keyOf(all+name))
	}
	then := []clientv3.Op{clientv3.OpPut(own, value), clientv3.OpPut(mark, strconv.Itoa(r.Version))}
	for range maxAttempts {
		seen, err := s.read(ctx, read...)
		if err != nil {
			return fmt.Errorf("create secret: %w", err)
		}
		n := count(seen, 1)
		for i := range uncounted {
			n -= int64(len(seen.Responses[2+i].GetResponseRange().GetKvs()))
		}
		switch {
		case first(seen, 0) != nil:
			return lambda.SecretExists(r.Key)
		case limit > 0 && n >= int64(limit):
			return lambda.SecretsFull(int(n), limit)
		}
		when := []clientv3.Cmp{absent(own), sealedWith(r.Sealer)}
		if limit > 0 {
			when = append(when, noneNewer(all, seen.Header.Revision))
		}
		done, err := s.writeSecret(ctx, r.Sealer, when, then)
		if done || err != nil {
			return err
		}
	}
	return overtaken("create secret " + r.Key)
}

// UpdateSecret writes a secret over the one of r.Revision. It is
// lambda.MissingSecret or lambda.SecretChanged when that is not there any more, and
// lambda.SecretsRefused when the secrets are sealed with another key.
func (s *Store) UpdateSecret(ctx context.Context, r *lambda.SealedSecret) error {
	own, mark, err := secretKeys(r.Account, r.Key)
	if err != nil {
		return lambda.MissingSecret(r.Key)
	}
	value, err := encode(r)
	if err != nil {
		return err
	}
	done, err := s.writeSecret(ctx, r.Sealer, []clientv3.Cmp{unchanged(own, r.Revision), sealedWith(r.Sealer)},
		[]clientv3.Op{clientv3.OpPut(own, value), clientv3.OpPut(mark, strconv.Itoa(r.Version))})
	if done || err != nil {
		return err
	}
	return s.lostSecret(ctx, own, r.Key)
}

// DeleteSecret removes the secret of that revision, or whichever is there for 0.
// It is lambda.MissingSecret or lambda.SecretChanged when it is not there any more.
func (s *Store) DeleteSecret(ctx context.Context, account, name string, revision int64) error {
	own, mark, err := secretKeys(account, name)
	if err != nil {
		return lambda.MissingSecret(name)
	}
	when := exists(own)
	if revision > 0 {
		when = unchanged(own, revision)
	}
	r, err := s.commit(ctx, []clientv3.Cmp{when}, []clientv3.Op{clientv3.OpDelete(own), clientv3.OpDelete(mark)}, nil)
	switch {
	case err != nil:
		return fmt.Errorf("delete secret: %w", err)
	case !r.Succeeded:
		return s.lostSecret(ctx, own, name)
	}
	s.wrote(r.Header.Revision)
	return nil
}

// writeSecret commits, and tells whether what was demanded still held. What
// cannot come to hold again is an error.
func (s *Store) writeSecret(ctx context.Context, sealer string, when []clientv3.Cmp, then []clientv3.Op) (bool, error) {
	r, err := s.commit(ctx, when, then, []clientv3.Op{clientv3.OpGet(sealerKey)})
	if err != nil {
		return false, fmt.Errorf("write secret: %w", err)
	}
	if r.Succeeded {
		s.wrote(r.Header.Revision)
		return true, nil
	}
	if kv := first(r, 0); kv == nil || string(kv.Value) != sealer {
		return false, lambda.SecretsRefused(errSealer)
	}
	return false, nil
}

// lostSecret tells what became of a secret that is not as it was demanded.
func (s *Store) lostSecret(ctx context.Context, own, name string) error {
	r, err := s.read(ctx, keyOf(own))
	switch {
	case err != nil:
		return err
	case first(r, 0) == nil:
		return lambda.MissingSecret(name)
	}
	return lambda.SecretChanged(name)
}

// Secret reads one secret, or gives lambda.MissingSecret.
func (s *Store) Secret(ctx context.Context, account, name string) (*lambda.SealedSecret, error) {
	own, _, err := secretKeys(account, name)
	if err != nil {
		return nil, lambda.MissingSecret(name)
	}
	r, err := s.read(ctx, clientv3.OpGet(own))
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	kv := first(r, 0)
	if kv == nil {
		return nil, lambda.MissingSecret(name)
	}
	return sealedSecret(kv, account, name)
}

// Secrets reads all secrets of an account, by key.
func (s *Store) Secrets(ctx context.Context, account string) ([]lambda.SealedSecret, error) {
	k, err := folder(secretsRoot, account)
	if err != nil {
		return nil, nil // such an account has none
	}
	var found []lambda.SealedSecret
	_, err = s.list(ctx, k, 0, func(name string, kv *mvccpb.KeyValue) error {
		r, err := sealedSecret(kv, account, name)
		if err == nil {
			found = append(found, *r)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return found, nil
}

// sealedSecret decodes a secret. Whose it is and which, its place says.
func sealedSecret(kv *mvccpb.KeyValue, account, name string) (*lambda.SealedSecret, error) {
	r, err := decodeNew[lambda.SealedSecret](kv)
	if err != nil {
		return nil, err
	}
	r.Account, r.Key, r.Revision = account, name, kv.ModRevision
	return r, nil
}

// MarkSecret tells every gateway's views that a secret which is kept elsewhere
// changed: to version, or, for 0, that it is gone.
func (s *Store) MarkSecret(ctx context.Context, account, name string, version int) error {
	_, mark, err := secretKeys(account, name)
	if err != nil {
		return err
	}
	steps := []clientv3.Op{clientv3.OpPut(mark, strconv.Itoa(version))}
	if version == 0 {
		// Both, so that it is seen where there was no mark, and leaves none.
		steps = append(steps, clientv3.OpDelete(mark))
	}
	for _, step := range steps {
		r, err := s.commit(ctx, nil, []clientv3.Op{step}, nil)
		if err != nil {
			return fmt.Errorf("mark secret: %w", err)
		}
		s.wrote(r.Header.Revision)
	}
	return nil
}

// Sealer tells the id of the key that etcd's secrets are sealed with, empty when
// none was ever chosen, and whether there is any secret.
func (s *Store) Sealer(ctx context.Context) (id string, used bool, err error) {
	r, err := s.read(ctx, clientv3.OpGet(sealerKey), countOf(secretsRoot))
	if err != nil {
		return "", false, fmt.Errorf("read the id of the key of the secrets: %w", err)
	}
	if kv := first(r, 0); kv != nil {
		id = string(kv.Value)
	}
	return id, count(r, 1) > 0, nil
}

// ChooseSealer makes id the key that secrets are sealed with, if it still is the
// one of id was, and no secret is sealed with that. It reports whether it did.
func (s *Store) ChooseSealer(ctx context.Context, was, id string) (bool, error) {
	as := absent(sealerKey)
	if was != "" {
		as = clientv3.Compare(clientv3.Value(sealerKey), "=", was)
	}
	r, err := s.commit(ctx, []clientv3.Cmp{as, noneNewer(secretsRoot, 0)}, []clientv3.Op{clientv3.OpPut(sealerKey, id)}, nil)
	if err != nil {
		return false, fmt.Errorf("write the id of the key of the secrets: %w", err)
	}
	return r.Succeeded, nil
}

// sealedWith tells whether the secrets are sealed with that key.
func sealedWith(id string) clientv3.Cmp {
	return clientv3.Compare(clientv3.Value(sealerKey), "=", id)
}
