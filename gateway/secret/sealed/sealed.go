// Package sealed keeps secrets in the gateway's own etcd, for installations
// without a Vault. Values are sealed with AES-256-GCM under a key that is in a
// file beside the gateway and never in etcd; every nonce is 96 random bits. A
// sealed value is bound to its account, its key, its version and its type, so
// that in any other place it does not open.
package sealed

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
)

// Records is where sealed secrets are kept: store.Store says what each does.
type Records interface {
	CreateSecret(ctx context.Context, r *lambda.SealedSecret, limit int, uncounted []string) error
	UpdateSecret(ctx context.Context, r *lambda.SealedSecret) error
	DeleteSecret(ctx context.Context, account, key string, revision int64) error
	Secret(ctx context.Context, account, key string) (*lambda.SealedSecret, error)
	Secrets(ctx context.Context, account string) ([]lambda.SealedSecret, error)
	Sealer(ctx context.Context) (id string, used bool, err error)
	ChooseSealer(ctx context.Context, was, id string) (bool, error)
}

// Store is a secret.Store.
type Store struct {
	records Records
	key     *key
}

var _ secret.Store = (*Store)(nil)

// Config is what a Store is made of. All but Shared is required.
type Config struct {
	Records Records
	KeyFile string
	// Shared says that other gateways use the same etcd: then a key file that is
	// missing may be theirs, and is not made anew.
	Shared bool
}

// KeyError says that this gateway does not have the key that the secrets in etcd
// are sealed with, and what to do.
type KeyError struct{ text string }

func keyError(format string, args ...any) error { return &KeyError{fmt.Sprintf(format, args...)} }

func (e *KeyError) Error() string { return e.text }

// Open reads the key file, or makes it on the first start. It never writes over
// one. A file that is damaged, that others can read, that is missing while there
// are secrets, or that is not the one they are sealed with, is an error that says
// what to do; of the last two it is a *KeyError.
func Open(ctx context.Context, c Config) (*Store, error) {
	id, used, err := c.Records.Sealer(ctx)
	if err != nil {
		return nil, err
	}
	k, err := readKey(c.KeyFile)
	made := errors.Is(err, errNoFile)
	if made {
		if id != "" && (used || c.Shared) {
			return nil, keyError("the key file %s is missing, and the secrets in etcd are sealed with its key (%s): put the file back, from a backup or from another gateway of this etcd", c.KeyFile, id)
		}
		k, err = makeKey(c.KeyFile)
	}
	if err != nil {
		return nil, err
	}
	if k.id != id {
		if err := choose(ctx, c, id, k); err != nil {
			if made { // nothing is sealed with it, and it would be in the way of the right one
				err = errors.Join(err, os.Remove(c.KeyFile))
			}
			return nil, err
		}
	}
	return &Store{records: c.Records, key: k}, nil
}

// choose makes k the key of this etcd, where it may.
func choose(ctx context.Context, c Config, was string, k *key) error {
	if was == "" || !c.Shared {
		done, err := c.Records.ChooseSealer(ctx, was, k.id)
		if done || err != nil {
			return err
		}
	}
	id, _, err := c.Records.Sealer(ctx)
	switch {
	case err != nil:
		return err
	case id == k.id: // another gateway with the same file was faster
		return nil
	}
	return keyError("the key file %s holds the key %s, and the secrets in etcd are sealed with %s: put the right file there, from a backup or from another gateway of this etcd", c.KeyFile, k.id, id)
}

// List is that of secret.Store. Crypted is the sealed value as it is stored.
func (s *Store) List(ctx context.Context, account string) ([]secret.Secret, error) {
	records, err := s.records.Secrets(ctx, account)
	if err != nil {
		return nil, err
	}
	all := make([]secret.Secret, len(records))
	for i := range records {
		all[i] = listed(&records[i])
	}
	return all, nil
}

// Read is that of secret.Store. A value that does not open is lambda.KindUnavailable.
func (s *Store) Read(ctx context.Context, account, key string) (*secret.Secret, error) {
	r, err := s.records.Secret(ctx, account, key)
	if err != nil {
		return nil, err
	}
	one := listed(r)
	if one.Value, err = s.key.open(r); err != nil {
		return nil, lambda.SecretUnreadable(fmt.Errorf("secret %s of account %s: %w", key, account, err))
	}
	return &one, nil
}

// Create is that of secret.Store.
func (s *Store) Create(ctx context.Context, one secret.Secret, limit int) (*secret.Secret, error) {
	one.Version = 1
	r := s.key.seal(one)
	if err := s.records.CreateSecret(ctx, r, limit, secret.Hidden()); err != nil {
		return nil, err
	}
	made := listed(r)
	return &made, nil
}

// Update is that of secret.Store.
func (s *Store) Update(ctx context.Context, one secret.Secret) (*secret.Secret, error) {
	stored, err := s.at(ctx, one.Account, one.Key, one.Version)
	if err != nil {
		return nil, err
	}
	one.Version++
	r := s.key.seal(one)
	r.Revision = stored.Revision
	if err := s.records.UpdateSecret(ctx, r); err != nil {
		return nil, err
	}
	made := listed(r)
	return &made, nil
}

// Delete is that of secret.Store.
func (s *Store) Delete(ctx context.Context, account, key string, version int) error {
	var revision int64
	if version > 0 {
		stored, err := s.at(ctx, account, key, version)
		if err != nil {
			return err
		}
		revision = stored.Revision
	}
	return s.records.DeleteSecret(ctx, account, key, revision)
}

// at reads a secret that must be of that version.
func (s *Store) at(ctx context.Context, account, key string, version int) (*lambda.SealedSecret, error) {
	stored, err := s.records.Secret(ctx, account, key)
	switch {
	case err != nil:
		return nil, err
	case stored.Version != version:
		return nil, lambda.SecretChanged(key)
	}
	return stored, nil
}

// Check reports whether the key is still the one of this etcd.
func (s *Store) Check(ctx context.Context) error {
	id, _, err := s.records.Sealer(ctx)
	switch {
	case err != nil:
		return err
	case id != s.key.id:
		return fmt.Errorf("the secrets in etcd are sealed with the key %s, and this gateway started with %s: give it the right key file and start it again", id, s.key.id)
	}
	return nil
}
