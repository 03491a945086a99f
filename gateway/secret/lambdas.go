package secret

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// ReadForLambda gives a secret to a lambda of the account, those that IsHidden
// included. It is shared and must not be changed. Errors have the codes and the
// texts of contract/javascript-runtime.md §6.3; when the store does not answer
// and nothing is known of the secret, they are of lambda.KindUnavailable.
func (s *Service) ReadForLambda(ctx context.Context, account, key string) (*Secret, error) {
	if !wellFormed(key) {
		return nil, lambda.MissingSecret(key)
	}
	n := name{account, key}
	a := s.cache.ask(n, s.now())
	switch {
	case a.known && a.old:
		s.metrics.reads.stale.Inc()
		return a.secret, nil
	case a.known:
		s.metrics.reads.cached.Inc()
		return a.secret, a.err
	case a.full && a.stale != nil:
		s.metrics.reads.stale.Inc()
		return a.stale, nil
	case a.full:
		s.metrics.reads.failed.Inc()
		return nil, readFailed(key, lambda.SecretsUnavailable(errTooMany))
	case a.begin:
		s.flying.Go(func() { s.fly(n, a.flight) })
	}
	return s.await(ctx, n, a)
}

// fly reads a secret from the store. What it learns is as old as the question.
func (s *Service) fly(n name, f *flight) {
	asked := s.now()
	ctx, cancel := context.WithTimeout(s.base, readTimeout)
	defer cancel()
	var e entry
	err := s.use(ctx, func(ctx context.Context) error {
		one, err := s.store.Read(ctx, n.account, n.key)
		if err != nil {
			return err
		}
		forLambdas := *one
		forLambdas.Crypted = "" // is of no use to them, and takes room
		e.secret = &forLambdas
		return nil
	})
	switch {
	case err == nil:
	case lambda.Is(err, lambda.KindNotFound):
		e.secret, e.err = nil, err
	default:
		if lambda.As(err) == nil { // the time is up, or the gateway stops
			err = lambda.SecretsUnavailable(err)
		}
		e.secret, e.err, e.failed = nil, readFailed(n.key, err), s.now()
	}
	s.cache.land(n, f, asked, e)
}

// await waits for a flight, or no longer than patience where there is something
// to give without it.
func (s *Service) await(ctx context.Context, n name, a answer) (*Secret, error) {
	var late <-chan time.Time
	if a.stale != nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-late:
		s.metrics.reads.stale.Inc()
		return a.stale, nil
	case <-a.flight.done:
	}
	f := a.flight
	switch {
	case f.err == nil:
		s.metrics.reads.store.Inc()
		return f.secret, nil
	case lambda.Is(f.err, lambda.KindNotFound):
		s.metrics.reads.store.Inc()
		return nil, f.err
	case a.stale != nil:
		s.metrics.reads.stale.Inc()
		return a.stale, nil
	}
	s.metrics.reads.failed.Inc()
	return nil, f.err
}

// UpdateFromLambda gives a secret that exists a new value of its type, for a
// lambda of the account, and returns it with that value. Errors have the codes
// and texts of contract/javascript-runtime.md §6.3; it is lambda.KindRateLimited
// when the account's lambdas write too fast. The secrets that IsHidden are the
// platform's, and not changed.
func (s *Service) UpdateFromLambda(ctx context.Context, account, lambdaID, key string, value json.RawMessage) (*Secret, error) {
	kept, _, err := ParseValue(value, s.limits.SecretValue)
	switch {
	case err != nil:
		return nil, s.badValue(value, err)
	case IsHidden(key):
		return nil, &lambda.Error{Kind: lambda.KindForbidden, Code: lambda.CodeSecretFailed, Message: fmt.Sprintf(textUpdating, key)}
	}
	if err := s.budget.take(name{account, key}, len(kept), s.now()); err != nil {
		return nil, err
	}
	changed, err := s.Update(ctx, account, key, Replacement{Value: kept, By: byLambda(lambdaID)})
	if err != nil {
		return nil, updateFailed(ctx, key, err)
	}
	s.note(ctx, changed)
	given := *changed
	given.Value, given.Crypted = kept, ""
	return &given, nil
}

// byLambda is what a lambda is called among those who change things.
func byLambda(id string) string { return "lambda " + id }

// note keeps that a lambda changed a secret, unless that was noted within
// noteEvery: then the next note tells how many updates there were.
func (s *Service) note(ctx context.Context, changed *Secret) {
	if s.notes == nil {
		return
	}
	by := changer{name{changed.Account, changed.Key}, changed.UpdatedBy}
	updates := s.tally.add(by, s.now())
	if updates == 0 {
		return
	}
	changes := []journal.Change{{Field: "value", After: journal.SetAnew}}
	if updates > 1 {
		changes = append(changes, journal.Change{Field: "updates", After: strconv.Itoa(updates)})
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	err := s.notes.Note(ctx, journal.Activity{
		Account: changed.Account, At: changed.UpdatedAt, By: changed.UpdatedBy, Action: journal.Update, Noun: journal.Secret, Name: changed.Key,
		Changes: changes,
	})
	if err != nil {
		s.tally.back(by, updates)
		s.log.Warn().Err(err).Str("account", changed.Account).Str("secret", changed.Key).Msg("the activity of a lambda that changed a secret could not be kept")
	}
}

// badValue words ParseValue's error for a lambda.
func (s *Service) badValue(value json.RawMessage, err error) error {
	message := fmt.Sprintf(textTooLong, s.limits.SecretValue)
	if _, _, other := ParseValue(value, len(value)); other != nil { // it is not the length
		message = "Provided Secret Value is of no type that a secret can have: " + kinds
	}
	return &lambda.Error{Kind: lambda.KindInvalid, Code: lambda.CodeSecretFormat, Field: "value", Message: message, Err: err}
}

// updateFailed words an error of Update for a lambda.
func updateFailed(ctx context.Context, key string, err error) error {
	e := lambda.As(err)
	switch {
	case e == nil && ended(ctx, err):
		return err
	case e == nil:
		e = &lambda.Error{Kind: lambda.KindInternal, Err: err}
	case e.Kind == lambda.KindInvalid:
		return &lambda.Error{Kind: e.Kind, Code: lambda.CodeSecretFormat, Field: e.Field, Message: e.Message}
	}
	return &lambda.Error{Kind: e.Kind, Code: codeFor(e), Message: fmt.Sprintf(textUpdating, lambda.ClipSecretKey(key)), RetryAfter: e.RetryAfter, Err: err}
}

// readFailed words an error of a store's Read for a lambda.
func readFailed(key string, err error) error {
	e := lambda.As(err)
	return &lambda.Error{Kind: e.Kind, Code: codeFor(e), Message: fmt.Sprintf(textReading, lambda.ClipSecretKey(key)), RetryAfter: e.RetryAfter, Err: err}
}

// codeFor is the contract's code for what went wrong.
func codeFor(e *lambda.Error) string {
	if e.Code == lambda.CodeSecretAuth {
		return e.Code
	}
	return lambda.CodeSecretFailed
}
