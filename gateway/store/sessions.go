package store

import (
	"context"
	"fmt"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// revokeTimeout bounds the clean-up of a lease that its keys no longer need.
const revokeTimeout = 2 * time.Second

// CreateSession writes a session and its token under one lease that ends at
// session.ExpiresAt; the token's own end is set to the same. Ids that are taken
// are a Conflict.
func (s *Store) CreateSession(ctx context.Context, session *lambda.Session, token *lambda.Token) error {
	sk, err := key(sessionsRoot, session.ID)
	if err != nil {
		return err
	}
	tk, err := key(tokensRoot, token.Hash)
	if err != nil {
		return err
	}
	t := *token
	t.ExpiresAt = session.ExpiresAt
	ok, err := s.putLeased(ctx, []clientv3.Cmp{absent(sk), absent(tk)}, sk, tk, session, &t)
	if err != nil {
		return fmt.Errorf("create session: %w", err)
	}
	if !ok {
		return lambda.Conflict(lambda.CodeGeneral, "the session or its token exists already")
	}
	return nil
}

// Session reads a session by the hash of its id. One that has ended, also when
// its lease outlived it, is NotFound.
func (s *Store) Session(ctx context.Context, idHash string) (*lambda.Session, error) {
	session, err := one[lambda.Session](ctx, s, "session", sessionsRoot, idHash)
	if err == nil && !s.Now().Before(session.ExpiresAt) {
		return nil, missing("session", idHash)
	}
	return session, err
}

// ExtendSession moves the end of a session and of its token to until. A session
// that has ended, or ends meanwhile, is NotFound and stays ended.
func (s *Store) ExtendSession(ctx context.Context, idHash string, until time.Time) error {
	for range maxAttempts {
		session, err := s.Session(ctx, idHash)
		if err != nil {
			return err
		}
		sk, tk := sessionsRoot+idHash, tokensRoot+session.BearerHash
		seen, err := s.read(ctx, clientv3.OpGet(sk), clientv3.OpGet(tk))
		if err != nil {
			return fmt.Errorf("extend session: %w", err)
		}
		if session, err = decodeNew[lambda.Session](first(seen, 0)); err != nil {
			return err
		}
		token, err := decodeNew[lambda.Token](first(seen, 1))
		if err != nil {
			return err
		}
		if session == nil || token == nil {
			return missing("session", idHash)
		}
		session.ExpiresAt, token.ExpiresAt = until, until
		ok, err := s.putLeased(ctx, []clientv3.Cmp{
			unchanged(sk, modRevision(first(seen, 0))), unchanged(tk, modRevision(first(seen, 1))),
		}, sk, tk, session, token)
		if err != nil {
			return fmt.Errorf("extend session: %w", err)
		}
		if ok {
			s.revoke(ctx, clientv3.LeaseID(first(seen, 0).Lease))
			return nil
		}
	}
	return overtaken("extend session")
}

// DeleteSession ends a session and its token. One that has ended is no error.
func (s *Store) DeleteSession(ctx context.Context, idHash string) error {
	sk, err := key(sessionsRoot, idHash)
	if err != nil {
		return nil // no session can have that id
	}
	seen, err := s.read(ctx, clientv3.OpGet(sk))
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	session, err := decodeNew[lambda.Session](first(seen, 0))
	if err != nil || session == nil {
		return err
	}
	tk, err := key(tokensRoot, session.BearerHash)
	if err != nil {
		return err
	}
	r, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpDelete(sk), clientv3.OpDelete(tk)}, nil)
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	s.wrote(r.Header.Revision)
	s.revoke(ctx, clientv3.LeaseID(first(seen, 0).Lease))
	return nil
}

// Token reads an opaque token by its hash. One that has ended is NotFound.
func (s *Store) Token(ctx context.Context, hash string) (*lambda.Token, error) {
	token, err := one[lambda.Token](ctx, s, "token", tokensRoot, hash)
	if err == nil && !s.Now().Before(token.ExpiresAt) {
		return nil, missing("token", hash)
	}
	return token, err
}

// putLeased writes a session and its token under a new lease if when holds.
func (s *Store) putLeased(ctx context.Context, when []clientv3.Cmp, sk, tk string, session *lambda.Session, token *lambda.Token) (bool, error) {
	sv, err := encode(session)
	if err != nil {
		return false, err
	}
	tv, err := encode(token)
	if err != nil {
		return false, err
	}
	lease, err := s.grant(ctx, session.ExpiresAt.Sub(s.Now()))
	if err != nil {
		return false, err
	}
	r, err := s.commit(ctx, when, []clientv3.Op{
		clientv3.OpPut(sk, sv, clientv3.WithLease(lease)),
		clientv3.OpPut(tk, tv, clientv3.WithLease(lease)),
	}, nil)
	if err != nil || !r.Succeeded {
		s.revoke(ctx, lease)
		return false, err
	}
	s.wrote(r.Header.Revision)
	return true, nil
}

func (s *Store) grant(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	seconds := int64(math.Ceil(ttl.Seconds()))
	if seconds < 1 {
		return 0, lambda.Invalid("expiresAt", "the end of the session has passed")
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := s.client.Grant(ctx, seconds)
	if err != nil {
		return 0, s.wrap(ctx, err)
	}
	return r.ID, nil
}

// revoke ends a lease that nothing needs any more, also when the caller has
// left. It would end by itself, so a failure is told to the log alone.
func (s *Store) revoke(ctx context.Context, lease clientv3.LeaseID) {
	if lease == clientv3.NoLease {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if _, err := s.client.Revoke(ctx, lease); err != nil {
		s.log.Debug().Err(err).Msg("a lease was left to end by itself")
	}
}
