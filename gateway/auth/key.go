package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	keyBits = 2048
	// maxKeys bounds the set. A healthy one has three keys at most: an old one
	// whose tokens still live, the one that signs, and the next.
	maxKeys = 16
	// checkInterval is how often a Keeper looks after the keys.
	checkInterval = 15 * time.Second
	// reloadInterval bounds how often tokens with an unknown kid make a Keeper read etcd.
	reloadInterval = time.Second
	// putAttempts is how often a Keeper begins again after another gateway was first.
	putAttempts = 3
)

// Keeper keeps the keys that sign the JWTs of one region. Every gateway runs
// one; they agree by compare-and-swap in etcd. Safe for concurrent use.
//
// A key is published KeyLead or more before it signs, unless there is no other
// to sign with, and stays until the last token that it signed has expired.
type Keeper struct {
	cfg   Config
	store KeyStore
	log   zerolog.Logger

	turn     chan struct{} // held while the keys are read or changed
	keys     atomic.Pointer[keySet]
	reloaded atomic.Int64 // when an unknown kid last caused a read, UnixNano
}

// NewKeeper makes a Keeper that knows no key yet: Check or Run reads them.
func NewKeeper(cfg Config, store KeyStore, log zerolog.Logger) (*Keeper, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	k := &Keeper{cfg: cfg, store: store, log: log, turn: make(chan struct{}, 1)}
	k.keys.Store(&keySet{jwks: []byte(`{"keys":[]}`)})
	return k, nil
}

// Run looks after the keys until ctx is done. A check that fails is logged and
// made again; meanwhile the keys known last stay in use.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		if err := k.Check(ctx); err != nil && ctx.Err() == nil {
			k.log.Error().Err(err).Msg("signing keys could not be checked")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Check reads the keys, creates the next one when it is time and removes those
// that no live token needs. After it returns nil there is a key that signs.
func (k *Keeper) Check(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return k.check(ctx)
}

func (k *Keeper) check(ctx context.Context) error {
	for range putAttempts {
		keys, revision, err := k.load(ctx)
		if err != nil {
			return err
		}
		if k.removeExpired(ctx, keys) {
			continue
		}
		window, due := k.next(keys, k.cfg.Now())
		if !due {
			return nil
		}
		if len(keys) >= maxKeys {
			return fmt.Errorf("there are %d signing keys already: compare the clocks of the gateways", len(keys))
		}
		if err := k.create(ctx, window, revision); err != nil && !lambda.Is(err, lambda.KindConflict) {
			return err
		}
		// Read again, whether this gateway's key is there now or another's.
	}
	if _, _, err := k.load(ctx); err != nil {
		return err
	}
	if k.keys.Load().signer(k.cfg.Now(), k.cfg.TokenLifetime) == nil {
		return errors.New("no signing key could be created: other gateways were first each time")
	}
	return nil
}

// load takes over the keys that etcd has.
func (k *Keeper) load(ctx context.Context) ([]lambda.SigningKey, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.ReadTimeout)
	defer cancel()
	keys, revision, err := k.store.SigningKeys(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("read signing keys: %w", err)
	}
	set, err := k.keys.Load().renew(keys, k.cfg.Now())
	if err != nil { // the rest of the set is usable
		k.log.Error().Err(err).Msg("signing key is damaged: delete it")
	}
	k.keys.Store(set)
	return keys, revision, nil
}

// window is when a key signs.
type window struct{ from, until time.Time }

// next says whether a key has to be created now, and when it is to sign.
func (k *Keeper) next(keys []lambda.SigningKey, now time.Time) (window, bool) {
	newest := lambda.SigningKey{}
	usable := false
	for _, key := range keys {
		if _, known := k.keys.Load().byID[key.ID]; !known {
			continue // damaged or expired
		}
		usable = usable || signs(key, now, k.cfg.TokenLifetime)
		if key.SignsUntil.After(newest.SignsUntil) {
			newest = key
		}
	}
	if !usable {
		return window{now, now.Add(k.cfg.KeyRotation)}, true
	}
	if newest.SignsUntil.Sub(now) > 2*k.cfg.KeyLead {
		return window{}, false
	}
	from := newest.SignsUntil
	if published := now.Add(k.cfg.KeyLead); from.Before(published) {
		from = published
	}
	// Better a short notice than a time without a key.
	if last := newest.ExpiresAt.Add(-k.cfg.TokenLifetime); from.After(last) {
		from = last
	}
	return window{from, from.Add(k.cfg.KeyRotation)}, true
}

func (k *Keeper) create(ctx context.Context, w window, revision int64) error {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return fmt.Errorf("generate signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("encode signing key: %w", err)
	}
	key := lambda.SigningKey{
		ID: uuid.NewString(), PrivateKey: der, CreatedAt: k.cfg.Now().UTC(),
		SignsFrom: w.from.UTC(), SignsUntil: w.until.UTC(),
		// A key may sign on for KeyLead when its successor was created late.
		ExpiresAt: w.until.Add(k.cfg.KeyLead + k.cfg.TokenLifetime + clockSkew).UTC(),
	}
	ctx, cancel := context.WithTimeout(ctx, k.cfg.ReadTimeout)
	defer cancel()
	if err := k.store.PutSigningKey(ctx, key, revision); err != nil {
		return fmt.Errorf("store signing key: %w", err)
	}
	k.log.Info().Str("kid", key.ID).Time("signsFrom", key.SignsFrom).Msg("signing key created")
	return nil
}

// removeExpired deletes keys whose tokens have all expired, with some patience
// for a gateway whose clock is behind, and reports whether it deleted one. What
// fails is tried at the next check.
func (k *Keeper) removeExpired(ctx context.Context, keys []lambda.SigningKey) (removed bool) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.ReadTimeout)
	defer cancel()
	for _, key := range keys {
		if k.cfg.Now().Before(key.ExpiresAt.Add(k.cfg.KeyLead)) {
			continue
		}
		switch err := k.store.DeleteSigningKey(ctx, key.ID); {
		case err == nil:
			removed = true
		case !lambda.Is(err, lambda.KindNotFound):
			k.log.Warn().Err(err).Str("kid", key.ID).Msg("expired signing key could not be deleted")
		}
	}
	return removed
}

// signer gives the key to sign with now.
func (k *Keeper) signer(ctx context.Context) (*key, error) {
	if s := k.keys.Load().signer(k.cfg.Now(), k.cfg.TokenLifetime); s != nil {
		return s, nil
	}
	if err := k.Check(ctx); err != nil {
		return nil, err
	}
	if s := k.keys.Load().signer(k.cfg.Now(), k.cfg.TokenLifetime); s != nil {
		return s, nil
	}
	return nil, errors.New("there is no signing key")
}

// key gives the key of that id, nil if there is none. An id that is not known
// here may be another gateway's new one, so etcd is asked, but not for every
// stranger's token.
func (k *Keeper) key(ctx context.Context, id string) (*key, error) {
	if found := k.keys.Load().byID[id]; found != nil {
		return found, nil
	}
	now, last := k.cfg.Now().UnixNano(), k.reloaded.Load()
	if age := now - last; age >= 0 && age < int64(reloadInterval) || !k.reloaded.CompareAndSwap(last, now) {
		return nil, nil
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if _, _, err := k.load(ctx); err != nil {
		return nil, err
	}
	return k.keys.Load().byID[id], nil
}

// knows reports whether tokens signed with that key are still accepted.
func (k *Keeper) knows(id string) bool {
	_, ok := k.keys.Load().byID[id]
	return ok
}

// jwks is the published set, JSON.
func (k *Keeper) jwks() []byte { return k.keys.Load().jwks }

// key is a signing key, ready for use.
type key struct {
	lambda.SigningKey
	private *rsa.PrivateKey
	signer  jose.Signer
}

// signs reports whether k may sign a token now: it has begun, and the token
// would not outlive it. Its successor takes over at SignsUntil.
func signs(k lambda.SigningKey, now time.Time, lifetime time.Duration) bool {
	return !k.SignsFrom.After(now) && !now.Add(lifetime).After(k.ExpiresAt)
}

func parseKey(k lambda.SigningKey) (*key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(k.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok || k.ID == "" {
		return nil, fmt.Errorf("signing key %q is a %T: want RSA with an id", k.ID, parsed)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: k.ID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	return &key{SigningKey: k, private: private, signer: signer}, nil
}

// keySet is one state of the keys; it never changes.
type keySet struct {
	keys []*key // by CreatedAt, as the store has them
	byID map[string]*key
	jwks []byte
}

// renew makes the set of the given keys, taking what is parsed already from s.
// Expired and damaged keys are left out; the error names the latter.
func (s *keySet) renew(keys []lambda.SigningKey, now time.Time) (*keySet, error) {
	set := &keySet{byID: make(map[string]*key, len(keys))}
	var faults []error
	var published jose.JSONWebKeySet
	published.Keys = []jose.JSONWebKey{}
	for _, k := range keys {
		if !now.Before(k.ExpiresAt) {
			continue
		}
		parsed := s.byID[k.ID]
		if parsed == nil || !bytes.Equal(parsed.PrivateKey, k.PrivateKey) || !parsed.ExpiresAt.Equal(k.ExpiresAt) || !parsed.SignsFrom.Equal(k.SignsFrom) {
			var err error
			if parsed, err = parseKey(k); err != nil {
				faults = append(faults, err)
				continue
			}
		}
		set.keys = append(set.keys, parsed)
		set.byID[k.ID] = parsed
		published.Keys = append(published.Keys, jose.JSONWebKey{Key: &parsed.private.PublicKey, KeyID: k.ID, Algorithm: string(jose.RS256), Use: "sig"})
	}
	var err error
	if set.jwks, err = json.Marshal(published); err != nil {
		return s, errors.Join(append(faults, err)...)
	}
	return set, errors.Join(faults...)
}

// signer is the youngest key that may sign, or nil.
func (s *keySet) signer(now time.Time, lifetime time.Duration) *key {
	var best *key
	for _, k := range s.keys {
		if signs(k.SigningKey, now, lifetime) && (best == nil || k.SignsFrom.After(best.SignsFrom)) {
			best = k
		}
	}
	return best
}
