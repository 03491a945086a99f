package auth

import (
	"context"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// readsAtOnce bounds the reads of etcd that callers cause who are not known in
// memory, strangers above all.
const readsAtOnce = 32

// reader finds users, profiles, apps and tokens: in memory, and if they are not
// there, which a change made a moment ago explains, by one bounded read of etcd.
// Codes, grants and sessions are in etcd only. Its methods return nil for what
// does not exist.
type reader struct {
	store   Store
	views   Views
	timeout time.Duration
	slots   chan struct{}
}

func newReader(cfg Config, store Store, views Views) *reader {
	return &reader{store: store, views: views, timeout: cfg.ReadTimeout, slots: make(chan struct{}, readsAtOnce)}
}

func (r *reader) token(ctx context.Context, hash string) (*lambda.Token, error) {
	if t, ok := r.views.Token(hash); ok {
		return t, nil
	}
	return read(ctx, r, func(ctx context.Context) (*lambda.Token, error) { return r.store.Token(ctx, hash) })
}

func (r *reader) user(ctx context.Context, account, userID string) (*lambda.User, error) {
	if u, ok := r.views.User(account, userID); ok {
		return u, nil
	}
	return read(ctx, r, func(ctx context.Context) (*lambda.User, error) { return r.store.User(ctx, account, userID) })
}

func (r *reader) userByLogin(ctx context.Context, account, loginName string) (*lambda.User, error) {
	return read(ctx, r, func(ctx context.Context) (*lambda.User, error) {
		return r.store.UserByLogin(ctx, account, loginName)
	})
}

func (r *reader) app(ctx context.Context, account, clientID string) (*lambda.App, error) {
	if a, ok := r.views.App(account, clientID); ok {
		return a, nil
	}
	return read(ctx, r, func(ctx context.Context) (*lambda.App, error) { return r.store.App(ctx, account, clientID) })
}

func (r *reader) code(ctx context.Context, hash string) (*lambda.Code, error) {
	return read(ctx, r, func(ctx context.Context) (*lambda.Code, error) { return r.store.Code(ctx, hash) })
}

func (r *reader) grant(ctx context.Context, idHash string) (*lambda.Grant, error) {
	return read(ctx, r, func(ctx context.Context) (*lambda.Grant, error) { return r.store.Grant(ctx, idHash) })
}

func (r *reader) profile(ctx context.Context, account, name string) (*lambda.Profile, error) {
	if p, ok := r.views.Profile(account, name); ok {
		return p, nil
	}
	return read(ctx, r, func(ctx context.Context) (*lambda.Profile, error) { return r.store.Profile(ctx, account, name) })
}

// roles gives what u may be. Everything that depends on the roles of a user asks
// here: a profile can change at any time.
func (r *reader) roles(ctx context.Context, u *lambda.User) ([]lambda.Role, error) {
	if u.Profile == "" {
		return u.Roles, nil
	}
	p, err := r.profile(ctx, u.Account, u.Profile)
	if err != nil {
		return nil, err
	}
	return lambda.EffectiveRoles(u, p), nil
}

func (r *reader) session(ctx context.Context, idHash string) (*lambda.Session, error) {
	return read(ctx, r, func(ctx context.Context) (*lambda.Session, error) { return r.store.Session(ctx, idHash) })
}

// read makes one read of etcd, within the bounds of r.
func read[T any](ctx context.Context, r *reader, get func(context.Context) (*T, error)) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	v, err := get(ctx)
	switch {
	case lambda.Is(err, lambda.KindNotFound):
		return nil, nil
	case err != nil:
		return nil, unavailable(err)
	}
	return v, nil
}

// unavailable says that nobody can tell at the moment who calls.
func unavailable(err error) *lambda.Error {
	return &lambda.Error{
		Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Phase: lambda.PhaseAuthenticate,
		Message: "the token could not be checked at the moment: repeat the call", RetryAfter: time.Second, Err: err,
	}
}
