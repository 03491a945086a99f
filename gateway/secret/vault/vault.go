// Package vault keeps secrets in HashiCorp Vault: values in a KV secrets engine of
// version 2, a folder for each account, and beside each value the form that those
// see who may not see values, made by Transit with a key derived for the account.
// deploy/vault has the policy that the gateway needs.
//
// Every write names the version that it replaces (check-and-set). KV has no such
// thing for deletions, so a deletion is two steps: a tombstone is written as any
// other version, and then the secret with all its versions is removed by whoever
// wrote the tombstone, within graveTime. Nobody else touches a tombstone before
// that; who finds an older one, left by a gateway that died, writes one of its
// own first.
//
// No error and no log line holds anything of what Vault answered but its status
// and which of a few known faults it is.
package vault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
)

const (
	// graveTime is after how long a tombstone's writer is believed to have died. It
	// is many times what a request may take, clocks that differ included.
	graveTime = 2 * time.Minute
	// listReads are the secrets that are read at once for a list.
	listReads = 8
	// deletions is how often the deletion of any version is tried again when
	// writes overtake it.
	deletions = 20
)

// Store is a secret.Store.
type Store struct {
	client    *client
	log       zerolog.Logger
	mount     string        // of KV
	prefix    string        // folder in it
	transit   string        // path of the encryption
	graveTime time.Duration // as the constant, but for tests
}

var _ secret.Store = (*Store)(nil)

// List is that of secret.Store. It reads every secret of the account, because
// only with its value comes what else is known of it.
func (s *Store) List(ctx context.Context, account string) ([]secret.Secret, error) {
	keys, err := s.keys(ctx, account)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	all := []secret.Secret{}
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(listReads)
	for _, key := range keys {
		reads.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil { // nobody else can, on this goroutine
					err = lambda.SecretsUnavailable(lambda.Panicked(p))
				}
			}()
			found, err := s.look(ctx, account, key)
			if err != nil {
				return err
			}
			if found.foreign {
				s.log.Warn().Str("account", account).Str("secret", key).Msg("what is in Vault at the place of a secret was not written by a gateway: it is not listed")
			}
			if found.one == nil {
				_ = s.clear(ctx, account, key, found) // the next list tries again
				return nil
			}
			found.one.Value = nil
			mu.Lock()
			defer mu.Unlock()
			all = append(all, *found.one)
			return nil
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b secret.Secret) int { return strings.Compare(a.Key, b.Key) })
	return all, nil
}

// keys lists what there is of an account. What has no key's name is not ours.
func (s *Store) keys(ctx context.Context, account string) ([]string, error) {
	if !isSegment(account) {
		return nil, nil
	}
	answer, err := s.client.list(ctx, s.mount+"/metadata/"+s.prefix+"/"+account)
	if err != nil || answer == nil {
		return nil, err
	}
	listed, _ := answer.Data["keys"].([]any)
	var keys []string
	for _, k := range listed {
		if key, ok := k.(string); ok && secret.CheckKey(key) == nil {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Read is that of secret.Store.
func (s *Store) Read(ctx context.Context, account, key string) (*secret.Secret, error) {
	found, err := s.look(ctx, account, key)
	switch {
	case err != nil:
		return nil, err
	case found.foreign:
		return nil, lambda.SecretUnreadable(fmt.Errorf("%s of account %s: %w", key, account, errRecord))
	case found.one == nil:
		return nil, lambda.MissingSecret(key)
	}
	return found.one, nil
}

// Create is that of secret.Store. The limit is held against the secrets that
// there are when it looks: gateways that create at the same moment may each add
// one beyond it.
func (s *Store) Create(ctx context.Context, one secret.Secret, limit int) (*secret.Secret, error) {
	if limit > 0 {
		if err := s.mayCreate(ctx, one, limit); err != nil {
			return nil, err
		}
	}
	made, err := s.write(ctx, one, 0)
	if !errors.Is(err, errVersion) {
		return made, err
	}
	found, err := s.look(ctx, one.Account, one.Key)
	switch {
	case err != nil:
		return nil, err
	case found.one != nil || found.foreign:
		return nil, lambda.SecretExists(one.Key)
	case found.tombstone && !found.old(s.graveTime):
		return nil, lambda.SecretsUnavailable(errBeingDeleted)
	}
	if err := s.clear(ctx, one.Account, one.Key, found); err != nil {
		return nil, err
	}
	// Or somebody deleted it with Vault's own commands: then its versions go on.
	version := found.version
	if found.tombstone {
		version = 0
	}
	made, err = s.write(ctx, one, version)
	if errors.Is(err, errVersion) {
		return nil, lambda.SecretExists(one.Key)
	}
	return made, err
}

// mayCreate counts the secrets of an account.
func (s *Store) mayCreate(ctx context.Context, one secret.Secret, limit int) error {
	keys, err := s.keys(ctx, one.Account)
	if err != nil {
		return err
	}
	n := 0
	for _, key := range keys {
		if key == one.Key {
			return nil // it exists, or is on its way in or out
		}
		if !secret.IsHidden(key) {
			n++
		}
	}
	if n >= limit {
		return lambda.SecretsFull(n, limit)
	}
	return nil
}

// Update is that of secret.Store.
func (s *Store) Update(ctx context.Context, one secret.Secret) (*secret.Secret, error) {
	made, err := s.write(ctx, one, one.Version)
	if errors.Is(err, errVersion) {
		return nil, s.lost(ctx, one.Account, one.Key)
	}
	return made, err
}

// lost tells why a version that was demanded is not stored.
func (s *Store) lost(ctx context.Context, account, key string) error {
	if _, err := s.Read(ctx, account, key); err != nil {
		return err
	}
	return lambda.SecretChanged(key)
}

// Delete is that of secret.Store.
func (s *Store) Delete(ctx context.Context, account, key string, version int) error {
	for range deletions {
		found, err := s.look(ctx, account, key)
		switch {
		case err != nil:
			return err
		case found.foreign:
			return lambda.SecretUnreadable(errRecord) // it may be somebody's
		case found.one == nil:
			return lambda.MissingSecret(key)
		case version > 0 && found.version != version:
			return lambda.SecretChanged(key)
		}
		err = s.bury(ctx, account, key, found.version)
		if !errors.Is(err, errVersion) {
			return err
		}
	}
	return lambda.SecretChanged(key)
}

// clear removes what is left of a deletion whose gateway died. Anything else that
// holds no secret stays.
func (s *Store) clear(ctx context.Context, account, key string, found sight) error {
	if !found.tombstone || !found.old(s.graveTime) {
		return nil
	}
	if err := s.bury(ctx, account, key, found.version); !errors.Is(err, errVersion) {
		return err
	}
	return nil // others were faster
}

// bury writes a tombstone over that version and removes the secret with all its
// versions. It is errVersion when another version is stored.
func (s *Store) bury(ctx context.Context, account, key string, version int) error {
	path, err := s.path(account, key)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.client.put(ctx, s.mount+"/data/"+path, versioned(tombstone, version)); err != nil {
		return err
	}
	// From here on the secret is gone. What is left is removed even when the caller
	// leaves, but not when it might be somebody else's by now.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), began.Add(graveTime/2))
	defer cancel()
	if err := s.client.delete(ctx, s.mount+"/metadata/"+path); err != nil {
		return fmt.Errorf("remove what is left of %s: %w", path, err)
	}
	return nil
}

// write stores a secret over that version, 0 for none, with its encrypted form.
func (s *Store) write(ctx context.Context, one secret.Secret, version int) (*secret.Secret, error) {
	path, err := s.path(one.Account, one.Key)
	if err != nil {
		return nil, err
	}
	if one.Crypted, err = s.encrypt(ctx, one.Account, one.Value); err != nil {
		return nil, err
	}
	answer, err := s.client.put(ctx, s.mount+"/data/"+path, versioned(encode(one), version))
	if err != nil {
		return nil, err
	}
	if answer != nil {
		one.Version = integer(answer.Data["version"])
	}
	if one.Version == 0 {
		return nil, lambda.SecretsRefused(fmt.Errorf("%s is no KV secrets engine of version 2", s.mount))
	}
	one.Value = nil
	return &one, nil
}

// path is where a secret is below data and metadata.
func (s *Store) path(account, key string) (string, error) {
	if !isSegment(account) || secret.CheckKey(key) != nil {
		return "", lambda.MissingSecret(key)
	}
	return s.prefix + "/" + account + "/" + key, nil
}

// isSegment tells whether an account id can be a part of a path: what leaves its
// folder, or needs escapes, cannot.
func isSegment(account string) bool { return secret.CheckKey(account) == nil }

// Check reports whether Vault answers and takes the gateway's token, and warns
// before a token ends that cannot be renewed.
func (s *Store) Check(ctx context.Context) error { return s.client.check(ctx) }

// Forever is the TTL of a token that never ends.
const Forever = time.Duration(math.MaxInt64)

// TokenTTL is how long the gateway's token is good for without being renewed, and
// false when there is none.
func (s *Store) TokenTTL() (time.Duration, bool) { return s.client.session.ttl(time.Now()) }

// Close ends the renewal of the token, and the token itself if the gateway logged
// in for it.
func (s *Store) Close(ctx context.Context) error { return s.client.close(ctx) }
