package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// MaxSessions is how many sessions of one kind a user may have at once. For one
// more, the oldest ends.
const MaxSessions = 50

// maxEvicted bounds what one transaction ends to make room. There is no more
// than one to end unless a limit was larger before.
const maxEvicted = 10

// sessionKeys are the keys of one session. token is empty for one without.
type sessionKeys struct{ session, index, token string }

func sessionKeysOf(session *lambda.Session) (k sessionKeys, err error) {
	if k.session, err = key(sessionsRoot, session.ID); err != nil {
		return k, err
	}
	if k.index, err = key(sessionsOf, session.Account, session.UserID, session.ID); err != nil {
		return k, err
	}
	if session.BearerHash != "" {
		k.token, err = key(tokensRoot, session.BearerHash)
	}
	return k, err
}

// put writes a session and its token, which may be nil, under one lease.
func (k sessionKeys) put(session *lambda.Session, token *lambda.Token, lease clientv3.LeaseID) ([]clientv3.Op, error) {
	value, err := encode(session)
	if err != nil {
		return nil, err
	}
	ops := []clientv3.Op{
		clientv3.OpPut(k.session, value, clientv3.WithLease(lease)),
		clientv3.OpPut(k.index, string(kindOf(session)), clientv3.WithLease(lease)),
	}
	if token == nil {
		return ops, nil
	}
	if value, err = encode(token); err != nil {
		return nil, err
	}
	return append(ops, clientv3.OpPut(k.token, value, clientv3.WithLease(lease))), nil
}

func (k sessionKeys) delete() []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpDelete(k.session), clientv3.OpDelete(k.index)}
	if k.token != "" {
		ops = append(ops, clientv3.OpDelete(k.token))
	}
	return ops
}

func kindOf(session *lambda.Session) lambda.SessionKind {
	return cmp.Or(session.Kind, lambda.SessionLogin)
}

// CreateSession writes a session and its token, which is nil for a session that
// has none, under one lease that ends at session.ExpiresAt; the token's own end
// is set to the same. user is the session's user as the caller checked them: one
// who is gone is NotFound, one whose password has changed meanwhile a Conflict,
// and so are ids that are taken. Of more than MaxSessions of the user and kind,
// the oldest end.
func (s *Store) CreateSession(ctx context.Context, user *lambda.User, session *lambda.Session, token *lambda.Token) error {
	k, err := sessionKeysOf(session)
	if err != nil {
		return err
	}
	if token != nil {
		t := *token
		t.ExpiresAt = session.ExpiresAt
		token = &t
	}
	lease, err := s.newLease(ctx, session.ExpiresAt.Sub(s.Now()))
	if err != nil {
		return fmt.Errorf("create session: %w", err)
	}
	if err := s.createSession(ctx, user, k, session, token, lease); err != nil {
		s.revoke(ctx, lease)
		return fmt.Errorf("create session: %w", err)
	}
	return nil
}

func (s *Store) createSession(ctx context.Context, user *lambda.User, k sessionKeys, session *lambda.Session, token *lambda.Token, lease clientv3.LeaseID) error {
	uk, err := key(usersRoot, session.Account, session.UserID)
	if err != nil {
		return err
	}
	index := sessionsOf + session.Account + "/" + session.UserID + "/"
	puts, err := k.put(session, token, lease)
	if err != nil {
		return err
	}
	taken := []string{k.session}
	if k.token != "" {
		taken = append(taken, k.token)
	}
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(uk), oldestFirst(index))
		if err != nil {
			return err
		}
		if err := s.stillAuthentic(first(seen, 0), user); err != nil {
			return err
		}
		out, leases, err := s.evictSessions(ctx, surplus(all(seen, 1), string(kindOf(session)), MaxSessions, index))
		if err != nil {
			return err
		}
		when := []clientv3.Cmp{unchanged(uk, modRevision(first(seen, 0))), noneNewer(index, seen.Header.Revision)}
		var look []clientv3.Op
		for _, t := range taken {
			when = append(when, absent(t))
			look = append(look, clientv3.OpGet(t, clientv3.WithKeysOnly()))
		}
		r, err := s.commit(ctx, when, append(out, puts...), look)
		switch {
		case err != nil:
			return err
		case r.Succeeded:
			s.wrote(r.Header.Revision)
			s.revokeAll(ctx, leases)
			return nil
		}
		for i := range taken {
			if first(r, i) != nil {
				return lambda.Conflict(lambda.CodeGeneral, "the session or its token exists already")
			}
		}
	}
	return overtaken("create session")
}

// stillAuthentic tells whether the user is as the caller checked them.
func (s *Store) stillAuthentic(kv *mvccpb.KeyValue, checked *lambda.User) error {
	now, err := decodeNew[lambda.User](kv)
	switch {
	case err != nil:
		return err
	case now == nil:
		return missing("user", checked.ID)
	case now.PasswordHash != checked.PasswordHash:
		return lambda.Conflict(lambda.CodeGeneral, "the password was changed meanwhile")
	}
	return nil
}

// oldestFirst reads an index, in the order in which its entries were made.
func oldestFirst(index string) clientv3.Op {
	return clientv3.OpGet(index, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
}

// surplus names the entries of an index that must go, the oldest first, so that
// one more of that value makes no more than limit; "" is every value.
func surplus(entries []*mvccpb.KeyValue, value string, limit int, index string) []string {
	var same []string
	for _, kv := range entries {
		if value == "" || string(kv.Value) == value {
			same = append(same, string(kv.Key[len(index):]))
		}
	}
	return same[:min(max(len(same)+1-limit, 0), maxEvicted)]
}

// evictSessions gives what ends these sessions, and their leases.
func (s *Store) evictSessions(ctx context.Context, hashes []string) (ops []clientv3.Op, leases []clientv3.LeaseID, err error) {
	for _, hash := range hashes {
		k, lease, err := s.findSession(ctx, hash)
		if err != nil {
			return nil, nil, err
		}
		if k != nil {
			ops, leases = append(ops, k.delete()...), append(leases, lease)
		}
	}
	return ops, leases, nil
}

// findSession gives the keys of a session and its lease; nil if there is none.
func (s *Store) findSession(ctx context.Context, idHash string) (*sessionKeys, clientv3.LeaseID, error) {
	sk, err := key(sessionsRoot, idHash)
	if err != nil {
		return nil, 0, nil // no session can have that id
	}
	seen, err := s.read(ctx, clientv3.OpGet(sk))
	if err != nil {
		return nil, 0, err
	}
	session, err := decodeNew[lambda.Session](first(seen, 0))
	if err != nil || session == nil {
		return nil, 0, err
	}
	k, err := sessionKeysOf(session)
	if err != nil {
		return nil, 0, err
	}
	return &k, clientv3.LeaseID(first(seen, 0).Lease), nil
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
		done, err := s.extendSession(ctx, session, until)
		if err != nil {
			return fmt.Errorf("extend session: %w", err)
		}
		if done {
			return nil
		}
	}
	return overtaken("extend session")
}

// extendSession makes one attempt, which another write may overtake.
func (s *Store) extendSession(ctx context.Context, session *lambda.Session, until time.Time) (done bool, err error) {
	k, err := sessionKeysOf(session)
	if err != nil {
		return false, err
	}
	reads := []clientv3.Op{clientv3.OpGet(k.session)}
	if k.token != "" {
		reads = append(reads, clientv3.OpGet(k.token))
	}
	seen, err := s.read(ctx, reads...)
	if err != nil {
		return false, err
	}
	now, err := decodeNew[lambda.Session](first(seen, 0))
	if err != nil {
		return false, err
	}
	if now == nil {
		return false, missing("session", session.ID)
	}
	now.ExpiresAt = until
	when := []clientv3.Cmp{unchanged(k.session, modRevision(first(seen, 0)))}
	var token *lambda.Token
	if k.token != "" {
		if token, err = decodeNew[lambda.Token](first(seen, 1)); err != nil {
			return false, err
		}
		if token == nil {
			return false, missing("session", session.ID)
		}
		token.ExpiresAt = until
		when = append(when, unchanged(k.token, modRevision(first(seen, 1))))
	}
	lease, err := s.newLease(ctx, until.Sub(s.Now()))
	if err != nil {
		return false, err
	}
	puts, err := k.put(now, token, lease)
	if err != nil {
		return false, err
	}
	r, err := s.commit(ctx, when, puts, nil)
	if err != nil || !r.Succeeded {
		s.revoke(ctx, lease)
		return false, err
	}
	s.wrote(r.Header.Revision)
	s.revoke(ctx, clientv3.LeaseID(first(seen, 0).Lease))
	return true, nil
}

// DeleteSession ends a session and its token. One that has ended is no error.
func (s *Store) DeleteSession(ctx context.Context, idHash string) error {
	k, lease, err := s.findSession(ctx, idHash)
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	if k == nil {
		return nil
	}
	r, err := s.commit(ctx, nil, k.delete(), nil)
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	s.wrote(r.Header.Revision)
	s.revoke(ctx, lease)
	return nil
}

// EndBrowserSessions ends the sessions that a user has at Sentinel's login page,
// and the codes that they gave and nobody has used.
func (s *Store) EndBrowserSessions(ctx context.Context, account, userID string) error {
	if err := s.endSessions(ctx, account, userID, lambda.SessionBrowser); err != nil {
		return err
	}
	return s.endCodes(ctx, account, userID)
}

// EndUserSessions ends everything that a user has begun: sessions of every kind,
// authorization codes, grants, and all their tokens. Nothing can begin between
// from what was there before: a session needs the password that the user has
// now, a code its session, a grant its code. So a new password, or the end of a
// user, is written first.
func (s *Store) EndUserSessions(ctx context.Context, account, userID string) error {
	if err := s.endSessions(ctx, account, userID, ""); err != nil {
		return err
	}
	if err := s.endCodes(ctx, account, userID); err != nil {
		return err
	}
	return s.endGrants(ctx, account, userID)
}

// endSessions ends a user's sessions of a kind; "" is every kind.
func (s *Store) endSessions(ctx context.Context, account, userID string, kind lambda.SessionKind) error {
	hashes, err := s.indexed(ctx, sessionsOf, account, userID, string(kind))
	if err != nil {
		return fmt.Errorf("list the sessions of user %s: %w", userID, err)
	}
	for _, hash := range hashes {
		if err := s.DeleteSession(ctx, hash); err != nil {
			return err
		}
	}
	return nil
}

// indexed names the entries that a user has in an index, with that value or, if
// it is empty, with any.
func (s *Store) indexed(ctx context.Context, root, account, userID, value string) ([]string, error) {
	index, err := key(root, account, userID)
	if err != nil {
		return nil, nil // such a user has nothing
	}
	var hashes []string
	_, err = s.list(ctx, index+"/", 0, func(hash string, kv *mvccpb.KeyValue) error {
		if value == "" || string(kv.Value) == value {
			hashes = append(hashes, hash)
		}
		return nil
	})
	return hashes, err
}

// Token reads an opaque token by its hash. One that has ended is NotFound.
func (s *Store) Token(ctx context.Context, hash string) (*lambda.Token, error) {
	token, err := one[lambda.Token](ctx, s, "token", tokensRoot, hash)
	if err == nil && !s.Now().Before(token.ExpiresAt) {
		return nil, missing("token", hash)
	}
	return token, err
}
