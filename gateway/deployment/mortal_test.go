package deployment_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/store"
)

var errDead = errors.New("this gateway is dead")

// mortal is a gateway's connection to etcd that breaks for ever at one of its
// writes, as kill -9 breaks it.
type mortal struct {
	clientv3.KV
	clientv3.Lease
	store  *store.Store
	dieAt  int32 // the write at which it breaks; 0 never
	after  bool  // that write takes place
	writes atomic.Int32
	dead   atomic.Bool
	died   chan struct{}
	buried chan struct{}
}

func (w *world) mortal(t *testing.T) *mortal {
	t.Helper()
	m := &mortal{KV: w.client.KV, Lease: w.client.Lease, died: make(chan struct{}), buried: make(chan struct{})}
	c := clientv3.NewCtxClient(context.Background())
	c.KV, c.Lease, c.Watcher, c.Maintenance = m, m, w.client.Watcher, w.client.Maintenance
	m.store = store.New(c, zerolog.Nop())
	m.store.Limits.Lambdas, m.store.Limits.DeployedLambdas = 0, 0
	return m
}

func (m *mortal) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.KV.Get(ctx, key, opts...)
}

func (m *mortal) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.Lease.Grant(ctx, ttl)
}

func (m *mortal) Revoke(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.Lease.Revoke(ctx, id)
}

func (m *mortal) Close() error { return nil }

func (m *mortal) Txn(ctx context.Context) clientv3.Txn { return &mortalTxn{Txn: m.KV.Txn(ctx), m: m} }

type mortalTxn struct {
	clientv3.Txn
	m     *mortal
	write bool
}

func (x *mortalTxn) If(cs ...clientv3.Cmp) clientv3.Txn { x.Txn = x.Txn.If(cs...); return x }

func (x *mortalTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	for _, op := range ops {
		x.write = x.write || op.IsPut() || op.IsDelete()
	}
	x.Txn = x.Txn.Then(ops...)
	return x
}

func (x *mortalTxn) Else(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Else(ops...); return x }

func (x *mortalTxn) Commit() (*clientv3.TxnResponse, error) {
	m := x.m
	if m.dead.Load() {
		return nil, errDead
	}
	if !x.write || m.writes.Add(1) != m.dieAt {
		return x.Txn.Commit()
	}
	m.dead.Store(true)
	defer close(m.died)
	if m.after {
		if _, err := x.Txn.Commit(); err != nil {
			return nil, err
		}
	}
	return nil, errDead
}
