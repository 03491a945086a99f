package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// revokeTimeout bounds the clean-up of a lease that its keys no longer need.
const revokeTimeout = 2 * time.Second

// newLease makes a lease of that length, rounded up to whole seconds.
func (s *Store) newLease(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	seconds := int64(math.Ceil(ttl.Seconds()))
	if seconds < 1 {
		return 0, lambda.Invalid("expiresAt", "expiresAt has passed: give a time to come")
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := s.client.Grant(ctx, seconds)
	if err != nil {
		return 0, s.wrap(ctx, err)
	}
	return r.ID, nil
}

// newLeases makes one lease for each end.
func (s *Store) newLeases(ctx context.Context, ends ...time.Time) ([]clientv3.LeaseID, error) {
	var made []clientv3.LeaseID
	for _, end := range ends {
		lease, err := s.newLease(ctx, end.Sub(s.Now()))
		if err != nil {
			s.revokeAll(ctx, made)
			return nil, err
		}
		made = append(made, lease)
	}
	return made, nil
}

// keepAlive lets a lease last for its whole time again.
func (s *Store) keepAlive(ctx context.Context, lease clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := s.client.KeepAliveOnce(ctx, lease)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return missing("lease", fmt.Sprint(lease))
	case err != nil:
		return s.wrap(ctx, err)
	}
	return nil
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

func (s *Store) revokeAll(ctx context.Context, leases []clientv3.LeaseID) {
	for _, lease := range leases {
		s.revoke(ctx, lease)
	}
}
