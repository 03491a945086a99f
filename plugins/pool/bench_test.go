package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// noop is a process that answers at once.
type noop struct{ done chan struct{} }

func (*noop) Description() host.Description                    { return host.Description{} }
func (*noop) Types(context.Context) (map[string]string, error) { return nil, nil }
func (*noop) Build(context.Context, string, []host.Dependency) (host.BuildResult, error) {
	return host.BuildResult{}, nil
}
func (*noop) Load(context.Context, host.LoadRequest) error { return nil }
func (*noop) Handle(_ context.Context, c runtime.Call) (runtime.Result, error) {
	return runtime.Result{Payload: c.Payload}, nil
}
func (*noop) Available() bool               { return true }
func (*noop) Retired() bool                 { return false }
func (n *noop) Drain(context.Context) error { close(n.done); return nil }
func (*noop) Kill()                         {}
func (n *noop) Done() <-chan struct{}       { return n.done }
func (*noop) ExitReason() string            { return "drained" }
func (*noop) Lag() time.Duration            { return 0 }
func (*noop) Printed() string               { return "" }

// The way of a warm call through the pool, on a process that does nothing.
func BenchmarkPoolHandle(b *testing.B) {
	p := pool.New(pool.Config{}, func(context.Context, string) (pool.Process, error) {
		return &noop{done: make(chan struct{})}, nil
	}, zerolog.Nop())
	b.Cleanup(func() { require.NoError(b, p.Close(bg)) })
	s, c := spec("12345678/0b6e0d2c-6a57-4b7a-9f6e-2a5f3c1d9e10/7e57b0a2-2f0f-4a3c-8a55-0d9f0c7d1b11"), call(`{}`)
	require.NoError(b, p.Warm(bg, s))
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := p.Handle(bg, s, c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("in parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, _, err := p.Handle(bg, s, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
