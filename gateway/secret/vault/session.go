package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rs/zerolog"
)

const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 15 * time.Second
	// warnBefore is how long before its end a token that cannot be renewed is
	// warned about: at least, or for the last tenth of its life.
	warnBefore = time.Hour
)

// errLogin is a login that Vault does not accept.
var errLogin = errors.New("vault does not accept the gateway's login")

// grant is a token and how long it is good for.
type grant struct {
	token     string
	renewable bool
	life      time.Duration // when it was given; 0: for ever
	ends      time.Time     // zero: never
}

// session keeps a token that Vault accepts: it renews it, logs in anew when it
// cannot be renewed any longer or was revoked, and waits longer from failure to
// failure before it tries again. Safe for concurrent use.
type session struct {
	api *api.Client
	log zerolog.Logger
	// login gets a token, or looks at the one that there is.
	login func(context.Context) (grant, error)
	// owned says that the token was made for this gateway.
	owned bool

	turn chan struct{} // has room for one: who logs in

	mu      sync.Mutex
	held    grant         // no token: there is none that Vault accepts
	failure error         // of the last login; nil after one that succeeded
	retry   time.Time     // when to log in again, after a failure
	backoff time.Duration // that was waited
	changed chan struct{} // closes when held is another

	cancel context.CancelFunc
	done   chan struct{}
}

func newSession(client *api.Client, log zerolog.Logger, owned bool, login func(context.Context) (grant, error)) *session {
	return &session{api: client, log: log, login: login, owned: owned, turn: make(chan struct{}, 1), changed: make(chan struct{}), done: make(chan struct{})}
}

// start begins to look after the token, until close.
func (s *session) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.run(ctx)
}

// close ends the renewal, and the token if it is the gateway's own.
func (s *session) close(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	held, _ := s.state()
	if !s.owned || held.token == "" {
		return nil
	}
	_, err := within(ctx, func(ctx context.Context) (*api.Secret, error) {
		return nil, s.api.Auth().Token().RevokeSelfWithContext(ctx, "")
	})
	if err != nil { // it ends by itself
		s.log.Debug().Err(cause(err)).Msg("the token of Vault could not be revoked")
	}
	return nil
}

func (s *session) state() (grant, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held, s.changed
}

// current gives the token, and logs in first if there is none.
func (s *session) current(ctx context.Context) (string, error) {
	held, _ := s.state()
	if held.token != "" {
		return held.token, nil
	}
	if err := s.enter(ctx, ""); err != nil {
		return "", err
	}
	held, _ = s.state()
	return held.token, nil
}

// refused is told that Vault did not accept a token. It returns nil when there is
// another one, and errRefused when the token is good, and the refusal one of
// policy.
func (s *session) refused(ctx context.Context, token string) error {
	err := s.look(ctx, token)
	switch {
	case err == nil:
		if held, _ := s.state(); held.token != token {
			return nil
		}
		return errRefused
	case !isStatus(err, http.StatusForbidden):
		return err
	}
	s.drop(token)
	return s.enter(ctx, "")
}

// look asks Vault whether it accepts the token. It is nil, too, when there is
// another one by now.
func (s *session) look(ctx context.Context, token string) error {
	_, err := within(ctx, s.api.Auth().Token().LookupSelfWithContext)
	if held, _ := s.state(); err != nil && held.token != token {
		return nil
	}
	return err
}

// drop forgets a token that Vault does not accept any more.
func (s *session) drop(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held.token == token && token != "" {
		s.log.Warn().Msg("Vault does not accept the gateway's token any more")
		s.set(grant{})
	}
}

// set is called with mu held.
func (s *session) set(g grant) {
	s.held = g
	close(s.changed)
	s.changed = make(chan struct{})
}

// enter logs in, unless there is another token than old by then, one caller at a
// time, and not before the last failure is long enough ago.
func (s *session) enter(ctx context.Context, old string) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	held, failure, wait := s.held, s.failure, time.Until(s.retry)
	s.mu.Unlock()
	switch {
	case held.token != old:
		return nil
	case failure != nil && wait > 0:
		return failure
	}
	g, err := s.login(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failure = cause(err)
		s.backoff = min(max(2*s.backoff, minBackoff), maxBackoff)
		s.retry = time.Now().Add(s.backoff/2 + rand.N(s.backoff))
		return s.failure
	}
	s.failure, s.backoff = nil, 0
	s.api.SetToken(g.token)
	s.set(g)
	return nil
}

// run keeps the token alive, and gets another when that does not work any more.
func (s *session) run(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		held, changed := s.state()
		if s.keep(ctx, held, changed) {
			continue
		}
		err := s.enter(ctx, held.token)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.mu.Lock()
		wait := time.Until(s.retry)
		s.mu.Unlock()
		s.log.Warn().Err(err).Dur("wait", wait).Msg("the gateway cannot log in to Vault")
		rest(ctx, changed, wait)
	}
}

// keep renews a token for as long as that works, and reports whether there is
// another one instead, or ctx has ended.
func (s *session) keep(ctx context.Context, held grant, changed chan struct{}) bool {
	switch {
	case held.token == "":
		return false
	case held.life == 0:
		return other(ctx, changed)
	case !s.owned && !held.renewable:
		return rest(ctx, changed, time.Until(held.ends))
	}
	w, err := s.api.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: &api.Secret{Auth: &api.SecretAuth{
		ClientToken: held.token, Renewable: held.renewable, LeaseDuration: int(max(time.Until(held.ends), time.Second) / time.Second),
	}}})
	if err != nil {
		return rest(ctx, changed, maxBackoff)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); w.Start() }()
	defer func() { w.Stop(); <-ended }()
	for {
		select {
		case r := <-w.RenewCh():
			s.renewed(held.token, r)
		case err := <-w.DoneCh():
			s.log.Debug().AnErr("error", cause(err)).Msg("the token of Vault is renewed no longer")
			if s.owned {
				return false
			}
			now, _ := s.state()
			return rest(ctx, changed, time.Until(now.ends))
		case <-changed:
			return true
		case <-ctx.Done():
			return true
		}
	}
}

// renewed notes the new end of a token.
func (s *session) renewed(token string, r *api.RenewOutput) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held.token == token {
		s.held.ends = r.RenewedAt.Add(time.Duration(r.Secret.Auth.LeaseDuration) * time.Second)
		s.held.renewable = r.Secret.Auth.Renewable
	}
}

// other waits until the token is another, or ctx ends.
func other(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-changed:
	case <-ctx.Done():
	}
	return true
}

// rest waits that long, and minBackoff at least, and reports whether the token is
// another before, or ctx has ended.
func rest(ctx context.Context, changed <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(max(d, minBackoff))
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-changed:
		return true
	case <-ctx.Done():
		return true
	}
}

// warning says that a token ends soon that nothing will replace.
func (s *session) warning(now time.Time) error {
	held, _ := s.state()
	if s.owned || held.ends.IsZero() {
		return nil
	}
	left := held.ends.Sub(now)
	if held.renewable && left > held.life/10 || left > max(warnBefore, held.life/10) {
		return nil
	}
	return fmt.Errorf("VAULT_TOKEN ends in %s and cannot be renewed: start the gateway with a new one, or use --vault-role-id", left.Round(time.Second))
}

// ttl is how long the token is good for.
func (s *session) ttl(now time.Time) (time.Duration, bool) {
	held, _ := s.state()
	switch {
	case held.token == "":
		return 0, false
	case held.ends.IsZero():
		return Forever, true
	}
	return held.ends.Sub(now), true
}
