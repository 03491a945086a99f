package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// DefaultGatewayTTL is how long a gateway that has died counts as alive.
const DefaultGatewayTTL = 10 * time.Second

// Gateway is a running gateway, known to the others.
type Gateway struct {
	ID        string    `json:"id"`
	StartedAt time.Time `json:"startedAt"`
}

// Presence is this gateway's place among the others: a lease that it keeps
// alive. What it claims and acknowledges is under the lease, and gone with it.
type Presence struct {
	ID       string
	Revision int64 // from which the others know it

	store  *Store
	lease  clientv3.LeaseID
	cancel context.CancelFunc
	lost   chan struct{}
	once   sync.Once
}

// Register makes this gateway known under id, which no other process may use,
// and keeps it so until Close or until Lost is closed. ttl is rounded up to
// seconds; 0 means DefaultGatewayTTL. An id that is in use is a Conflict.
func (s *Store) Register(ctx context.Context, id string, ttl time.Duration) (*Presence, error) {
	k, err := key(gatewaysRoot, id)
	if err != nil {
		return nil, err
	}
	if ttl <= 0 {
		ttl = DefaultGatewayTTL
	}
	value, err := encode(Gateway{ID: id, StartedAt: s.Now().UTC()})
	if err != nil {
		return nil, err
	}
	lease, err := s.newLease(ctx, ttl)
	if err != nil {
		return nil, fmt.Errorf("register gateway %s: %w", id, err)
	}
	r, err := s.commit(ctx, []clientv3.Cmp{absent(k)}, []clientv3.Op{clientv3.OpPut(k, value, clientv3.WithLease(lease))}, nil)
	if err == nil && !r.Succeeded {
		err = lambda.Conflict(lambda.CodeGeneral, "gateway id %s is in use", id)
	}
	if err != nil {
		s.revoke(ctx, lease)
		return nil, fmt.Errorf("register gateway %s: %w", id, err)
	}
	p := &Presence{ID: id, Revision: r.Header.Revision, store: s, lease: lease, lost: make(chan struct{})}
	if err := p.keep(context.WithoutCancel(ctx)); err != nil {
		s.revoke(ctx, lease)
		return nil, fmt.Errorf("register gateway %s: %w", id, err)
	}
	return p, nil
}

// keep renews the lease until it is lost or the presence closed.
func (p *Presence) keep(ctx context.Context) error {
	ctx, p.cancel = context.WithCancel(ctx)
	answers, err := p.store.client.KeepAlive(ctx, p.lease)
	if err != nil {
		p.cancel()
		return p.store.wrap(ctx, err)
	}
	go func() {
		defer close(p.lost)
		for range answers { // it ends when the lease has, or ctx
		}
	}()
	return nil
}

// Lost is closed when the gateway no longer counts as alive, after Close too.
// Then nothing that it claimed is its own: register anew.
func (p *Presence) Lost() <-chan struct{} { return p.lost }

// Close leaves at once, so that the others take over without waiting.
func (p *Presence) Close(ctx context.Context) {
	p.once.Do(func() {
		p.cancel()
		<-p.lost
		p.store.revoke(ctx, p.lease)
	})
}

// Gateways reads the gateways that count as alive.
func (s *Store) Gateways(ctx context.Context) ([]Gateway, error) {
	return many[Gateway](ctx, s, gatewaysRoot)
}

// ForgetGateways ends the presence of every gateway, and with it what they
// claimed. It is for the one process that can reach an etcd of its own: a
// predecessor that was killed need not be waited for.
func (s *Store) ForgetGateways(ctx context.Context) error {
	leases := map[int64]bool{}
	_, err := s.list(ctx, gatewaysRoot, 0, func(_ string, kv *mvccpb.KeyValue) error {
		leases[kv.Lease] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("list gateways: %w", err)
	}
	for lease := range leases {
		s.revoke(ctx, clientv3.LeaseID(lease))
	}
	return nil
}
