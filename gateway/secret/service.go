package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	// readTimeout bounds a read for lambdas, which nobody who waits can end alone.
	readTimeout = 10 * time.Second
	// writeTimeout bounds a write, which goes on when its caller leaves. It is less
	// than a lambda waits for an answer of the host.
	writeTimeout = 8 * time.Second
	// storeRequests are the requests to the store at once. More wait.
	storeRequests = 64
	// patience is how long a read waits for a store that is slow, when it could
	// have what was last read instead.
	patience = 250 * time.Millisecond
	// rewrites is how often a write that others overtake is made again.
	rewrites = 20
)

var (
	errTooMany  = errors.New("too many secrets are read at once")
	errTooOften = errors.New("the secret is written too often at once")
	errPanicked = errors.New("the request panicked")
)

// Marks tells the gateways that a secret was changed, so that none gives the old
// value any more: to that version, or, for 0, that it is gone.
type Marks interface {
	MarkSecret(ctx context.Context, account, key string, version int) error
}

// Notes keeps who changed what.
type Notes interface {
	Note(ctx context.Context, a journal.Activity) error
}

// Config is what a Service is made of.
type Config struct {
	Store  Store
	Limits lambda.Limits // Secrets and SecretValue apply
	// Marks may be nil for a store that marks its changes itself.
	Marks Marks
	// Notes may be nil: then what lambdas change is not noted.
	Notes Notes
	// Metrics may be nil.
	Metrics prometheus.Registerer
	Log     zerolog.Logger
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// Service is secrets for the rest of the gateway. Safe for concurrent use.
//
// What lambdas read is kept in memory. A change that was made through a gateway
// is seen by every read there that begins after it was answered, and on other
// gateways once Forget was called, which their watch of etcd does; a change that
// was made in the store itself after freshFor. When the store does not answer,
// reads get what was last read for up to staleFor.
type Service struct {
	store   Store
	limits  lambda.Limits
	marks   Marks
	notes   Notes
	log     zerolog.Logger
	now     func() time.Time
	metrics *metrics

	cache  *cache
	writes locks
	budget *budget
	tally  *tally
	slots  chan struct{} // of storeRequests
	outage outage

	base   context.Context // of reads for lambdas
	cancel context.CancelFunc
	flying sync.WaitGroup
}

// New makes a Service. Close it before its Store.
func New(c Config) *Service {
	s := &Service{
		store: c.Store, limits: c.Limits, marks: c.Marks, notes: c.Notes, log: c.Log, now: c.Now,
		cache: newCache(), budget: newBudget(), tally: newTally(), slots: make(chan struct{}, storeRequests),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(c.Metrics, s)
	return s
}

// Close ends the reads under way and waits for them. No read may begin after it.
func (s *Service) Close() {
	s.cancel()
	s.flying.Wait()
}

// Forget drops what is held of a secret that was changed: a watch of the marks
// calls it.
func (s *Service) Forget(account, key string) { s.cache.forget(name{account, key}) }

// Check says what is wrong with the store, or soon will be.
func (s *Service) Check(ctx context.Context) error {
	err := s.contain(ctx, s.store.Check)
	if since, out := s.outage.since(); out && err != nil {
		return fmt.Errorf("%w (since %s lambdas get secrets as they were last read, no older than %s)", err, since.UTC().Format(time.TimeOnly), staleFor)
	}
	return err
}

// List gives the secrets of an account by key, with Crypted and without Value;
// those that IsHidden only if that is wanted.
func (s *Service) List(ctx context.Context, account string, hidden bool) ([]Secret, error) {
	var all []Secret
	err := s.use(ctx, func(ctx context.Context) (err error) {
		all, err = s.store.List(ctx, account)
		return err
	})
	shown := all[:0]
	for _, one := range all {
		if hidden || !IsHidden(one.Key) {
			shown = append(shown, one)
		}
	}
	return shown, err
}

// Read gives a secret with its value as the store has it now, for people. It is
// NotFound when there is none, and for every text that is no key.
func (s *Service) Read(ctx context.Context, account, key string) (one *Secret, err error) {
	if !wellFormed(key) {
		return nil, lambda.MissingSecret(key)
	}
	err = s.use(ctx, func(ctx context.Context) error {
		one, err = s.store.Read(ctx, account, key)
		return err
	})
	return one, err
}

// Create writes a new secret of s.Account, s.Key and s.Value, made by
// s.CreatedBy, and gives it with Crypted and without Value. A bad key or value
// is Invalid, a key that is taken lambda.SecretExists, and one secret more than
// Limits.Secrets lambda.SecretsFull.
func (s *Service) Create(ctx context.Context, one Secret) (*Secret, error) {
	if err := CheckKey(one.Key); err != nil {
		return nil, err
	}
	var err error
	if one.Value, one.Type, err = ParseValue(one.Value, s.limits.SecretValue); err != nil {
		return nil, err
	}
	one.CreatedAt = s.stamp()
	one.UpdatedAt, one.UpdatedBy = one.CreatedAt, one.CreatedBy
	limit := s.limits.Secrets
	if IsHidden(one.Key) {
		limit = 0
	}
	// One creation of an account at a time, for stores that can only count.
	return s.write(ctx, name{one.Account, ""}, one.Key, func(ctx context.Context) (*Secret, error) {
		return s.store.Create(ctx, one, limit)
	})
}

// Replacement is a new value for a secret.
type Replacement struct {
	Value json.RawMessage
	By    string
	// May, which may be nil, has the last word: it gets the secret as it is, and
	// its error is that of the update.
	May func(*Secret) error
}

// Update gives a secret a new value and returns it with Crypted and without
// Value. Its type stays: a value of another type is Invalid. Of updates at once
// the last one counts, and each is a version of its own.
func (s *Service) Update(ctx context.Context, account, key string, r Replacement) (*Secret, error) {
	if !wellFormed(key) {
		return nil, lambda.MissingSecret(key)
	}
	value, kind, err := ParseValue(r.Value, s.limits.SecretValue)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, account, key, r.May, func(ctx context.Context, one *Secret) (*Secret, error) {
		if one.Type != kind {
			return nil, otherType(one)
		}
		next := *one
		next.Value, next.UpdatedAt, next.UpdatedBy = value, s.stamp(), r.By
		return s.store.Update(ctx, next)
	})
}

func otherType(one *Secret) error {
	return lambda.Invalid("value", "the secret %s holds %s: give it another of that type, or delete it first", one.Key, one.Type.named())
}

// Delete removes a secret; may is as Replacement.May.
func (s *Service) Delete(ctx context.Context, account, key string, may func(*Secret) error) error {
	if !wellFormed(key) {
		return lambda.MissingSecret(key)
	}
	_, err := s.change(ctx, account, key, may, func(ctx context.Context, one *Secret) (*Secret, error) {
		return nil, s.store.Delete(ctx, account, key, one.Version)
	})
	return err
}

// change reads a secret and writes what became of it, again when others were
// faster.
func (s *Service) change(ctx context.Context, account, key string, may func(*Secret) error, make func(context.Context, *Secret) (*Secret, error)) (*Secret, error) {
	return s.write(ctx, name{account, key}, key, func(ctx context.Context) (*Secret, error) {
		for range rewrites {
			one, err := s.store.Read(ctx, account, key)
			if err != nil {
				return nil, err
			}
			if may != nil {
				if err := may(one); err != nil {
					return nil, err
				}
			}
			changed, err := make(ctx, one)
			if !lambda.Is(err, lambda.KindConflict) {
				return changed, err
			}
		}
		return nil, lambda.SecretsUnavailable(errTooOften)
	})
}

// write makes a change of a secret, one at a time for each n, and sees to it
// that no gateway gives the old value after it. It goes on when the caller
// leaves: who began to write wants to know how it ended.
func (s *Service) write(ctx context.Context, n name, key string, make func(context.Context) (*Secret, error)) (*Secret, error) {
	unlock, err := s.writes.lock(ctx, n)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	var changed *Secret
	err = s.use(ctx, func(ctx context.Context) (err error) {
		changed, err = make(ctx)
		return err
	})
	of := name{n.account, key}
	switch {
	case err == nil:
		s.mark(ctx, of, changed)
		s.cache.forget(of)
	case lambda.As(err) == nil || lambda.Is(err, lambda.KindUnavailable):
		s.cache.question(of) // nobody knows what was written
	default:
		s.cache.forget(of) // what was believed of it may be wrong
	}
	return changed, err
}

// mark tells the other gateways. That they could not be told does not undo the
// write: they ask the store again after freshFor.
func (s *Service) mark(ctx context.Context, n name, changed *Secret) {
	if s.marks == nil {
		return
	}
	version := 0
	if changed != nil {
		version = changed.Version
	}
	if err := s.marks.MarkSecret(ctx, n.account, n.key, version); err != nil {
		s.log.Warn().Err(err).Str("account", n.account).Str("secret", n.key).Dur("forAtMost", freshFor).
			Msg("other gateways could not be told of a changed secret: they may give the old value for a while")
	}
}

// stamp is the time of a write as stores keep it.
func (s *Service) stamp() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// use runs a request to the store, with its share of what may run at once, and
// notes whether the store answered.
func (s *Service) use(ctx context.Context, request func(context.Context) error) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := s.contain(ctx, request)
	<-s.slots
	switch e := lambda.As(err); {
	case e != nil && e.Code == lambda.CodeSecretFailed: // it is about one secret
	case lambda.Is(err, lambda.KindUnavailable):
		s.metrics.failures.Inc()
		if s.outage.begin(s.now()) {
			s.log.Warn().Err(err).Msg("the store of secrets does not answer: lambdas get secrets as they were last read")
		}
	case err == nil || e != nil:
		if s.outage.end() {
			s.log.Info().Msg("the store of secrets answers again")
		}
	}
	return err
}

// contain runs a request. A panic of the store or of its client is an error like
// that of a store that does not answer: it must not end the gateway, and a lambda
// that waits for it must not wait for ever.
func (s *Service) contain(ctx context.Context, request func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error().Err(lambda.Panicked(p)).Msg("a request to the store of secrets panicked")
			err = lambda.SecretsUnavailable(errPanicked)
		}
	}()
	return request(ctx)
}

// outage is whether the store answered when it was last asked.
type outage struct {
	mu   sync.Mutex
	from time.Time // zero: it answered
}

func (o *outage) begin(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.from.IsZero() {
		return false
	}
	o.from = now
	return true
}

func (o *outage) end() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := !o.from.IsZero()
	o.from = time.Time{}
	return was
}

func (o *outage) since() (time.Time, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.from, !o.from.IsZero()
}

// ended tells whether err is that of the caller's own context.
func ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}
