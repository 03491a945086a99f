package store

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Once makes a write take place once, however often it is asked for: its receipt
// is written in the same transaction. A nil *Once asks for nothing.
type Once struct {
	Account string
	// Key names the write within the account; the caller mixes in who asks.
	Key string
	// Fingerprint is of all that was asked for, so that a key that is used for
	// something else is noticed.
	Fingerprint string
}

// Receipt is what is kept of a write with a Once, for Limits.IdempotencyReceipt.
type Receipt struct {
	Fingerprint string    `json:"fingerprint"`
	ID          string    `json:"id"` // of what was written
	At          time.Time `json:"at"`
}

// Receipt reads the receipt of a write, nil if there is none. One of another
// fingerprint is Invalid.
func (s *Store) Receipt(ctx context.Context, o *Once) (*Receipt, error) {
	k, err := o.key()
	if err != nil {
		return nil, err
	}
	r := new(Receipt)
	found, err := s.get(ctx, k, r)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read receipt: %w", err)
	case !found:
		return nil, nil
	case r.Fingerprint != o.Fingerprint:
		return nil, lambda.Invalid("Idempotency-Key", "Idempotency-Key was used for another request at %s: use a new key for each request",
			r.At.UTC().Format(time.RFC3339))
	}
	return r, nil
}

func (o *Once) key() (string, error) { return key(onceRoot, o.Account, o.Key) }

// commitOnce runs a transaction that writes the thing with that id, and its
// receipt with it. That the receipt is there already is a Conflict: whoever meets
// one of a write with a Once looks for the Receipt. An account that has about
// Limits.IdempotencyKeys receipts is RateLimited: they outlive what they are of,
// so nothing else bounds them.
func (s *Store) commitOnce(ctx context.Context, o *Once, id string, when []clientv3.Cmp, then []clientv3.Op) (*clientv3.TxnResponse, error) {
	if o == nil {
		return s.commit(ctx, when, then, nil)
	}
	k, err := o.key()
	if err != nil {
		return nil, err
	}
	value, err := encode(Receipt{Fingerprint: o.Fingerprint, ID: id, At: s.Now().UTC()})
	if err != nil {
		return nil, err
	}
	if err := s.mayRemember(ctx, o.Account); err != nil {
		return nil, err
	}
	lease, err := s.newLease(ctx, s.Limits.IdempotencyReceipt)
	if err != nil {
		return nil, err
	}
	r, err := s.commit(ctx, append(when, absent(k)), append(then, clientv3.OpPut(k, value, clientv3.WithLease(lease))), []clientv3.Op{keyOf(k)})
	if err == nil && r.Succeeded {
		return r, nil
	}
	s.revoke(ctx, lease)
	if err == nil && first(r, 0) != nil {
		err = lambda.Conflict(lambda.CodeGeneral, "the request with this Idempotency-Key has been carried out")
	}
	return r, err
}

func (s *Store) mayRemember(ctx context.Context, account string) error {
	if s.Limits.IdempotencyKeys == 0 {
		return nil
	}
	receipts, err := folder(onceRoot, account)
	if err != nil {
		return err
	}
	seen, err := s.read(ctx, countOf(receipts))
	if err != nil {
		return fmt.Errorf("count receipts: %w", err)
	}
	if n := count(seen, 0); n >= int64(s.Limits.IdempotencyKeys) {
		return &lambda.Error{
			Kind: lambda.KindRateLimited, Code: lambda.CodeRateLimit, Field: "Idempotency-Key", Phase: lambda.PhaseRequest, RetryAfter: time.Minute,
			Message: fmt.Sprintf("the account has used %d Idempotency-Keys within %s: the limit is %d, send requests without one or later",
				n, s.Limits.IdempotencyReceipt, s.Limits.IdempotencyKeys),
		}
	}
	return nil
}
