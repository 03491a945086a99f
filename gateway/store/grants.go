package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	// MaxGrants is how many grants one app may hold of one user. For one more, the
	// oldest ends.
	MaxGrants = 50
	// MaxUserGrants is how many grants there may be of one user, those of apps that
	// are no longer installed included. For one more, the oldest ends.
	MaxUserGrants = 200
	// MaxCodes is how many codes that are not used yet one app may hold of one
	// user. For one more, the oldest ends.
	MaxCodes = 20
)

// CreateCode writes an authorization code under a lease that ends at
// code.ExpiresAt. A browser session of the code's that has ended is NotFound. If
// the session was begun for that request, the request counts as answered; with
// must set it is a Conflict if the session was not, or has answered it.
func (s *Store) CreateCode(ctx context.Context, code *lambda.Code, request string, must bool) error {
	ck, err := key(codesRoot, code.Hash)
	if err != nil {
		return err
	}
	sk, err := key(sessionsRoot, code.SessionID)
	if err != nil {
		return missing("session", code.SessionID)
	}
	index, err := key(codesOf, code.Account, code.UserID)
	if err != nil {
		return err
	}
	value, err := encode(code)
	if err != nil {
		return err
	}
	lease, err := s.newLease(ctx, code.ExpiresAt.Sub(s.Now()))
	if err != nil {
		return fmt.Errorf("create code: %w", err)
	}
	puts := []clientv3.Op{
		clientv3.OpPut(ck, value, clientv3.WithLease(lease)),
		clientv3.OpPut(index+"/"+code.Hash, code.ClientID, clientv3.WithLease(lease)),
	}
	if err := s.createCode(ctx, code, sk, index+"/", puts, request, must); err != nil {
		s.revoke(ctx, lease)
		return fmt.Errorf("create code: %w", err)
	}
	return nil
}

func (s *Store) createCode(ctx context.Context, code *lambda.Code, sk, index string, puts []clientv3.Op, request string, must bool) error {
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(sk), oldestFirst(index))
		if err != nil {
			return err
		}
		session, err := decodeNew[lambda.Session](first(seen, 0))
		switch {
		case err != nil:
			return err
		case session == nil || !s.Now().Before(session.ExpiresAt):
			return missing("session", code.SessionID)
		case must && session.Request != request:
			return lambda.Conflict(lambda.CodeGeneral, "this login has answered its request already")
		}
		when := []clientv3.Cmp{unchanged(sk, modRevision(first(seen, 0))), noneNewer(index, seen.Header.Revision)}
		then := slices.Clone(puts)
		for _, hash := range surplus(all(seen, 1), code.ClientID, MaxCodes, index) {
			// One that is used meanwhile leaves the index, and must stay: it tells a replay.
			when = append(when, exists(index+hash))
			then = append(then, clientv3.OpDelete(codesRoot+hash), clientv3.OpDelete(index+hash))
		}
		if request != "" && session.Request == request {
			session.Request = ""
			value, err := encode(session)
			if err != nil {
				return err
			}
			then = append(then, clientv3.OpPut(sk, value, clientv3.WithIgnoreLease()))
		}
		r, err := s.commit(ctx, when, then, nil)
		if err != nil || r.Succeeded {
			return err
		}
	}
	return overtaken("create code")
}

// Code reads an authorization code by its hash. One that has ended unused is
// NotFound; one that was used is there as long as its grant.
func (s *Store) Code(ctx context.Context, hash string) (*lambda.Code, error) {
	code, err := one[lambda.Code](ctx, s, "code", codesRoot, hash)
	if err == nil && code.GrantID == "" && !s.Now().Before(code.ExpiresAt) {
		return nil, missing("code", hash)
	}
	return code, err
}

// DeleteCode ends a code that is not used yet. One that has ended is NotFound;
// one that was used is a Conflict and stays.
func (s *Store) DeleteCode(ctx context.Context, hash string) error {
	code, revision, err := s.unusedCode(ctx, hash)
	if err != nil {
		return fmt.Errorf("delete code: %w", err)
	}
	r, err := s.commit(ctx, []clientv3.Cmp{unchanged(codesRoot+hash, revision)}, []clientv3.Op{
		clientv3.OpDelete(codesRoot + hash), clientv3.OpDelete(codeIndex(code)),
	}, nil)
	if err != nil {
		return fmt.Errorf("delete code: %w", err)
	}
	if !r.Succeeded { // a code changes once, when it is used or ends
		_, _, err := s.unusedCode(ctx, hash)
		return err
	}
	return nil
}

func codeIndex(code *lambda.Code) string {
	return codesOf + code.Account + "/" + code.UserID + "/" + code.Hash
}

// unusedCode reads a code and the revision of its key.
func (s *Store) unusedCode(ctx context.Context, hash string) (*lambda.Code, int64, error) {
	k, err := key(codesRoot, hash)
	if err != nil {
		return nil, 0, missing("code", hash)
	}
	seen, err := s.read(ctx, clientv3.OpGet(k))
	if err != nil {
		return nil, 0, err
	}
	code, err := decodeNew[lambda.Code](first(seen, 0))
	switch {
	case err != nil:
		return nil, 0, err
	case code == nil:
		return nil, 0, missing("code", hash)
	case code.GrantID != "":
		return nil, 0, lambda.Conflict(lambda.CodeGeneral, "the code was used already")
	case !s.Now().Before(code.ExpiresAt):
		return nil, 0, missing("code", hash)
	}
	return code, modRevision(first(seen, 0)), nil
}

// UseCode turns a code into a grant with its first access token, in one
// transaction: of several who use a code, one wins. The grant gets a lease that
// ends at grant.ExpiresAt, the token one of its own. A code that has ended is
// NotFound, one that was used a Conflict. Of more than MaxGrants of the user and
// app, or MaxUserGrants of the user, the oldest end.
func (s *Store) UseCode(ctx context.Context, grant *lambda.Grant, token *lambda.Token) error {
	gk, err := key(grantsRoot, grant.ID)
	if err != nil {
		return err
	}
	index, err := key(grantsOf, grant.Account, grant.UserID)
	if err != nil {
		return err
	}
	tk, err := key(tokensRoot, token.Hash)
	if err != nil {
		return err
	}
	begun := *grant
	begun.Access = []string{token.Hash}
	gv, err := encode(begun)
	if err != nil {
		return err
	}
	tv, err := encode(token)
	if err != nil {
		return err
	}
	leases, err := s.newLeases(ctx, grant.ExpiresAt, token.ExpiresAt)
	if err != nil {
		return fmt.Errorf("use code: %w", err)
	}
	err = s.useCode(ctx, grant, index+"/", leases[0], []clientv3.Cmp{absent(gk), absent(tk)}, []clientv3.Op{
		clientv3.OpPut(gk, gv, clientv3.WithLease(leases[0])),
		clientv3.OpPut(index+"/"+grant.ID, grant.ClientID, clientv3.WithLease(leases[0])),
		clientv3.OpPut(tk, tv, clientv3.WithLease(leases[1])),
	})
	if err != nil {
		s.revokeAll(ctx, leases)
		return fmt.Errorf("use code: %w", err)
	}
	return nil
}

func (s *Store) useCode(ctx context.Context, grant *lambda.Grant, index string, lease clientv3.LeaseID, when []clientv3.Cmp, puts []clientv3.Op) error {
	for range maxAttempts {
		code, revision, err := s.unusedCode(ctx, grant.CodeHash)
		if err != nil {
			return err
		}
		seen, err := s.read(ctx, oldestFirst(index))
		if err != nil {
			return err
		}
		var out ending
		for _, id := range surplusGrants(all(seen, 0), grant.ClientID, index) {
			if err := s.endingOf(ctx, id, &out); err != nil {
				return err
			}
		}
		used := *code
		used.GrantID = grant.ID
		value, err := encode(used)
		if err != nil {
			return err
		}
		then := append(slices.Clone(puts), clientv3.OpPut(codesRoot+code.Hash, value, clientv3.WithLease(lease)), clientv3.OpDelete(codeIndex(code)))
		r, err := s.commit(ctx,
			slices.Concat(when, out.when, []clientv3.Cmp{unchanged(codesRoot+code.Hash, revision), noneNewer(index, seen.Header.Revision)}),
			append(then, out.ops...), nil)
		switch {
		case err != nil:
			return err
		case r.Succeeded:
			s.wrote(r.Header.Revision)
			s.revokeAll(ctx, out.leases)
			return nil
		}
	}
	return overtaken("use code")
}

// surplusGrants names the grants of a user that must go for one more of that app.
func surplusGrants(entries []*mvccpb.KeyValue, clientID, index string) []string {
	ends := surplus(entries, clientID, MaxGrants, index)
	kept := slices.DeleteFunc(slices.Clone(entries), func(kv *mvccpb.KeyValue) bool {
		return slices.Contains(ends, string(kv.Key[len(index):]))
	})
	return append(ends, surplus(kept, "", MaxUserGrants, index)...)
}

// Grant reads a grant by the hash of its id. One that has ended is NotFound.
func (s *Store) Grant(ctx context.Context, idHash string) (*lambda.Grant, error) {
	grant, err := one[lambda.Grant](ctx, s, "grant", grantsRoot, idHash)
	if err == nil && !s.Now().Before(grant.ExpiresAt) {
		return nil, missing("grant", idHash)
	}
	return grant, err
}

// RotateGrant replaces a grant's refresh token, given by hashes, moves its end to
// until, and adds an access token, in one transaction: of several who refresh at
// once, one wins. The access token before it lives on until its own end, older
// ones end now. A grant that has ended is NotFound; one whose refresh token is
// another than old is a Conflict and stays.
func (s *Store) RotateGrant(ctx context.Context, idHash, old, refresh string, until time.Time, token *lambda.Token) error {
	tk, err := key(tokensRoot, token.Hash)
	if err != nil {
		return err
	}
	value, err := encode(token)
	if err != nil {
		return err
	}
	lease, err := s.newLease(ctx, token.ExpiresAt.Sub(s.Now()))
	if err != nil {
		return fmt.Errorf("rotate grant: %w", err)
	}
	put := clientv3.OpPut(tk, value, clientv3.WithLease(lease))
	if err := s.rotateGrant(ctx, idHash, old, refresh, until, token.Hash, put); err != nil {
		if s.rotated(ctx, idHash, refresh) {
			return nil
		}
		s.revoke(ctx, lease)
		return fmt.Errorf("rotate grant: %w", err)
	}
	return nil
}

// rotated tells whether a rotation took place whose answer from etcd was lost.
// The caller's next try would look like the replay of an old refresh token.
func (s *Store) rotated(ctx context.Context, idHash, refresh string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	grant, err := s.Grant(ctx, idHash)
	return err == nil && grant.RefreshHash == refresh
}

func (s *Store) rotateGrant(ctx context.Context, idHash, old, refresh string, until time.Time, access string, put clientv3.Op) error {
	gk, err := key(grantsRoot, idHash)
	if err != nil {
		return missing("grant", idHash)
	}
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(gk))
		if err != nil {
			return err
		}
		grant, err := decodeNew[lambda.Grant](first(seen, 0))
		switch {
		case err != nil:
			return err
		case grant == nil || !s.Now().Before(grant.ExpiresAt):
			return missing("grant", idHash)
		case grant.RefreshHash == "" || grant.RefreshHash != old:
			return lambda.Conflict(lambda.CodeGeneral, "the refresh token was replaced already")
		}
		grant.Access = append(grant.Access, access)
		over := max(0, len(grant.Access)-lambda.MaxAccessTokens)
		out, leases, err := s.endTokens(ctx, grant.Access[:over])
		if err != nil {
			return err
		}
		grant.Access, grant.RefreshHash, grant.ExpiresAt = grant.Access[over:], refresh, until
		value, err := encode(grant)
		if err != nil {
			return err
		}
		// First, so that the grant cannot end with its old lease. A lease that lasts
		// too long makes nothing valid: what counts is the grant's own end.
		if err := s.keepAlive(ctx, clientv3.LeaseID(first(seen, 0).Lease)); err != nil {
			return err
		}
		r, err := s.commit(ctx, []clientv3.Cmp{unchanged(gk, modRevision(first(seen, 0)))},
			append(out, clientv3.OpPut(gk, value, clientv3.WithIgnoreLease()), put), nil)
		switch {
		case err != nil:
			return err
		case r.Succeeded:
			s.wrote(r.Header.Revision)
			s.revokeAll(ctx, leases)
			return nil
		}
	}
	return overtaken("rotate grant")
}

// endTokens gives what ends these tokens, and the leases that they leave.
func (s *Store) endTokens(ctx context.Context, hashes []string) (ops []clientv3.Op, leases []clientv3.LeaseID, err error) {
	for _, hash := range hashes {
		k, err := key(tokensRoot, hash)
		if err != nil {
			return nil, nil, err
		}
		seen, err := s.read(ctx, clientv3.OpGet(k)) // keys alone would come without their leases
		if err != nil {
			return nil, nil, err
		}
		if kv := first(seen, 0); kv != nil {
			ops, leases = append(ops, clientv3.OpDelete(k)), append(leases, clientv3.LeaseID(kv.Lease))
		}
	}
	return ops, leases, nil
}

// ending is what ends grants with all that was issued from them, if they are
// still as they were seen.
type ending struct {
	when   []clientv3.Cmp
	ops    []clientv3.Op
	leases []clientv3.LeaseID
}

// endingOf adds the end of one grant. One that has ended adds nothing.
func (s *Store) endingOf(ctx context.Context, idHash string, out *ending) error {
	gk, err := key(grantsRoot, idHash)
	if err != nil {
		return nil // no grant can have that id
	}
	seen, err := s.read(ctx, clientv3.OpGet(gk))
	if err != nil {
		return err
	}
	grant, err := decodeNew[lambda.Grant](first(seen, 0))
	if err != nil || grant == nil {
		return err
	}
	tokens, leases, err := s.endTokens(ctx, grant.Access)
	if err != nil {
		return err
	}
	out.when = append(out.when, unchanged(gk, modRevision(first(seen, 0))))
	out.ops = append(out.ops, clientv3.OpDelete(gk), clientv3.OpDelete(grantsOf+grant.Account+"/"+grant.UserID+"/"+grant.ID), clientv3.OpDelete(codesRoot+grant.CodeHash))
	out.ops = append(out.ops, tokens...)
	out.leases = append(append(out.leases, clientv3.LeaseID(first(seen, 0).Lease)), leases...)
	return nil
}

// EndGrant ends a grant, its tokens of both kinds and what is left of its code,
// in one transaction. One that has ended is no error.
func (s *Store) EndGrant(ctx context.Context, idHash string) error {
	for range maxAttempts {
		var out ending
		if err := s.endingOf(ctx, idHash, &out); err != nil {
			return fmt.Errorf("end grant: %w", err)
		}
		if len(out.ops) == 0 {
			return nil
		}
		r, err := s.commit(ctx, out.when, out.ops, nil)
		switch {
		case err != nil:
			return fmt.Errorf("end grant: %w", err)
		case r.Succeeded:
			s.wrote(r.Header.Revision)
			s.revokeAll(ctx, out.leases)
			return nil
		}
	}
	return overtaken("end grant")
}

// endCodes ends the codes of a user that are not used yet.
func (s *Store) endCodes(ctx context.Context, account, userID string) error {
	hashes, err := s.indexed(ctx, codesOf, account, userID, "")
	if err != nil {
		return fmt.Errorf("list the codes of user %s: %w", userID, err)
	}
	for _, hash := range hashes {
		err := s.DeleteCode(ctx, hash)
		switch {
		case err == nil, lambda.Is(err, lambda.KindNotFound):
		case lambda.Is(err, lambda.KindConflict): // used meanwhile: its grant ends with the others
		default:
			return err
		}
	}
	return nil
}

// endGrants ends every grant of a user.
func (s *Store) endGrants(ctx context.Context, account, userID string) error {
	ids, err := s.indexed(ctx, grantsOf, account, userID, "")
	if err != nil {
		return fmt.Errorf("list the grants of user %s: %w", userID, err)
	}
	for _, id := range ids {
		if err := s.EndGrant(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
