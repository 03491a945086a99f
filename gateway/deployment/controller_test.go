package deployment_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/deployment"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/host"
)

func TestDeploy(t *testing.T) {
	t.Run("every gateway prepares a version before it becomes live", func(t *testing.T) {
		w := newWorld(t)
		var l *lambda.Lambda
		live := func(ctx context.Context, d *lambda.Deployment) error {
			found, err := w.store.Live(ctx, d.Account, d.LambdaID)
			if err == nil && found != nil {
				err = errors.New("live before it was prepared")
			}
			return err
		}
		a, b := run(t, w.store, &gateway{onLoad: live}), run(t, w.store, &gateway{onLoad: live})
		l = w.create(t, "hello")
		r := w.deploy(t, l)
		require.Equal(t, lambda.DeployFinish, r.Last.State, "%+v", r.Last.Failure)
		require.Equal(t, lambda.Productive, r.State())
		artifact, err := w.store.Artifact(t.Context(), account, l.ID, r.Live.Digest)
		require.NoError(t, err)
		require.Equal(t, "built code of hello", string(artifact))
		builtA, preparedA, _ := a.told()
		builtB, preparedB, _ := b.told()
		require.Equal(t, 1, builtA+builtB)
		require.Equal(t, []string{r.Last.ID}, preparedA)
		require.Equal(t, []string{r.Last.ID}, preparedB)
		require.Empty(t, w.leftOver(t))
	})
	t.Run("an undeployment takes the live version away", func(t *testing.T) {
		w := newWorld(t)
		g := run(t, w.store, &gateway{})
		l := w.create(t, "hello")
		w.deploy(t, l)
		r := w.ended(t, l, w.start(t, l, lambda.Undeploy))
		require.Equal(t, lambda.Draft, r.State())
		require.Equal(t, lambda.DeployFinish, r.Last.State)
		_, prepared, _ := g.told()
		require.Len(t, prepared, 1, "an undeployment prepares nothing")
	})
	t.Run("work that was asked for while no gateway ran is done later", func(t *testing.T) {
		w := newWorld(t)
		l := w.create(t, "hello")
		d := w.start(t, l, lambda.Deploy)
		run(t, w.store, &gateway{})
		require.Equal(t, lambda.DeployFinish, w.ended(t, l, d).Last.State)
	})
	t.Run("many deployments end, and no more are built at once than allowed", func(t *testing.T) {
		w := newWorld(t)
		slow := func(_ context.Context, source string) (host.BuildResult, error) {
			time.Sleep(2 * time.Millisecond)
			return host.BuildResult{Artifact: []byte(source)}, nil
		}
		two := func(c *deployment.Config) { c.Builds, c.Claims, c.Preparations = 2, 3, 2 }
		a, b := run(t, w.store, &gateway{build: slow}, two), run(t, w.store, &gateway{build: slow}, two)
		var ls []*lambda.Lambda
		var ds []*lambda.Deployment
		for i := range 40 {
			l := w.create(t, fmt.Sprint("f", i))
			ls, ds = append(ls, l), append(ds, w.start(t, l, lambda.Deploy))
		}
		for i := range ls {
			require.Equal(t, lambda.DeployFinish, w.ended(t, ls[i], ds[i]).Last.State)
		}
		for _, g := range []*gateway{a, b} {
			g.mu.Lock()
			require.LessOrEqual(t, g.most, 2)
			require.Len(t, g.prepared, 40)
			g.mu.Unlock()
		}
		require.Empty(t, w.leftOver(t))
	})
	t.Run("a configuration that lacks something is refused", func(t *testing.T) {
		_, err := deployment.New(deployment.Config{})
		require.Error(t, err)
	})
}

func TestBuildError(t *testing.T) {
	result := func(r host.BuildResult, err error) func(context.Context, string) (host.BuildResult, error) {
		return func(context.Context, string) (host.BuildResult, error) { return r, err }
	}
	fault := func(severity host.Severity, line int, text string) host.Diagnostic {
		return host.Diagnostic{Severity: severity, Message: text, Line: line, Column: 5}
	}
	for name, c := range map[string]struct {
		build   func(context.Context, string) (host.BuildResult, error)
		failure lambda.Failure
		builds  int
	}{
		"faults of the source are told with line and column, warnings are not": {
			result(host.BuildResult{Diagnostics: []host.Diagnostic{
				fault(host.SeverityWarning, 1, "unused"), fault(host.SeverityError, 3, "Unexpected token"), fault(host.SeverityError, 0, "no lambda"),
			}}, nil),
			lambda.Failure{Code: lambda.CodeLambdaContract, Message: "3:5: Unexpected token\nno lambda"}, 1,
		},
		"a runtime that makes nothing is at fault": {
			result(host.BuildResult{}, nil),
			lambda.Failure{Code: lambda.CodeDeploymentFailed, Message: "the runtime built nothing and did not say why"}, 1,
		},
		"a builder that never runs is tried a few times": {
			result(host.BuildResult{}, errors.New("no node")),
			lambda.Failure{Code: lambda.CodeDeploymentFailed, Message: "the javascript runtime could not build the lambda: no node"}, 3,
		},
		"an artifact that is too large is told": {
			result(host.BuildResult{Artifact: make([]byte, 2<<20)}, nil),
			lambda.Failure{Code: lambda.CodeDeploymentFailed, Message: "the built lambda has 2097152 bytes: the limit is 1048576"}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := run(t, w.store, &gateway{build: c.build})
			r := w.deploy(t, w.create(t, "hello"))
			require.Equal(t, lambda.BuildError, r.Last.State)
			require.Equal(t, &c.failure, r.Last.Failure)
			require.Nil(t, r.Live)
			builds, prepared, _ := g.told()
			require.Equal(t, c.builds, builds)
			require.Empty(t, prepared)
			require.Empty(t, w.leftOver(t))
		})
	}
	t.Run("a fault that passes is not told", func(t *testing.T) {
		w := newWorld(t)
		var n atomic.Int32
		run(t, w.store, &gateway{build: func(_ context.Context, source string) (host.BuildResult, error) {
			if n.Add(1) < 3 {
				return host.BuildResult{}, errors.New("no node")
			}
			return host.BuildResult{Artifact: []byte(source)}, nil
		}})
		require.Equal(t, lambda.DeployFinish, w.deploy(t, w.create(t, "hello")).Last.State)
	})
	t.Run("a build that hangs is given up", func(t *testing.T) {
		w := newWorld(t)
		run(t, w.store, &gateway{build: func(ctx context.Context, _ string) (host.BuildResult, error) {
			<-ctx.Done()
			return host.BuildResult{}, ctx.Err()
		}}, func(c *deployment.Config) { c.BuildTimeout = 10 * time.Millisecond })
		require.Equal(t, lambda.BuildError, w.deploy(t, w.create(t, "hello")).Last.State)
	})
}

func TestDeployError(t *testing.T) {
	t.Run("a fault of the author's code is told with its stack, on whichever gateway it shows, and what was live stays", func(t *testing.T) {
		w := newWorld(t)
		var broken atomic.Bool
		var loads atomic.Int32
		g := &gateway{onLoad: func(context.Context, *lambda.Deployment) error {
			if broken.Load() {
				loads.Add(1)
				return fmt.Errorf("load: %w", &host.LoadError{Message: "x is not defined", Stack: "at f (index.js:1)"})
			}
			return nil
		}}
		a, b := run(t, w.store, &gateway{}), run(t, w.store, g)
		l := w.create(t, "hello")
		before := w.deploy(t, l)
		broken.Store(true)
		r := w.deploy(t, l)
		require.Equal(t, lambda.DeployError, r.Last.State)
		require.Equal(t, lambda.CodeDeploymentFailed, r.Last.Failure.Code)
		require.Equal(t, "x is not defined", r.Last.Failure.Message)
		require.Len(t, r.Last.Failure.Logs, 1)
		require.Equal(t, "at f (index.js:1)", r.Last.Failure.Logs[0].Message)
		require.Equal(t, before.Live, r.Live)
		require.EqualValues(t, 1, loads.Load(), "the author's fault is not tried again")
		for _, g := range []*gateway{a, b} {
			require.Eventually(t, func() bool {
				_, prepared, discarded := g.told()
				return len(prepared) < 2 || len(discarded) == 1 && discarded[0] == r.Last.ID
			}, soon, 5*time.Millisecond, "a gateway keeps what did not become live")
		}
	})
	t.Run("what became live is not discarded", func(t *testing.T) {
		w := newWorld(t)
		g := run(t, w.store, &gateway{})
		l := w.create(t, "hello")
		w.deploy(t, l)
		w.deploy(t, l)
		g.stop()
		_, _, discarded := g.told()
		require.Empty(t, discarded)
	})
	t.Run("a gateway that cannot start a process tries again, then names itself", func(t *testing.T) {
		w := newWorld(t)
		var n atomic.Int32
		g := run(t, w.store, &gateway{onLoad: func(context.Context, *lambda.Deployment) error {
			n.Add(1)
			return errors.New("no memory")
		}})
		r := w.deploy(t, w.create(t, "hello"))
		require.Equal(t, lambda.DeployError, r.Last.State)
		require.Equal(t, "gateway "+g.id+" could not start the lambda: no memory", r.Last.Failure.Message)
		require.EqualValues(t, 3, n.Load())
	})
	t.Run("a gateway that does not get ready in time is named", func(t *testing.T) {
		w := newWorld(t)
		late := func(c *deployment.Config) { c.AckTimeout = 300 * time.Millisecond }
		run(t, w.store, &gateway{}, late)
		hangs := run(t, w.store, &gateway{id: "zz-hangs", onLoad: func(ctx context.Context, _ *lambda.Deployment) error {
			<-ctx.Done()
			return ctx.Err()
		}}, late)
		r := w.deploy(t, w.create(t, "hello"))
		require.Equal(t, lambda.DeployError, r.Last.State)
		require.Equal(t, "gateway "+hangs.id+" did not get ready within 300ms", r.Last.Failure.Message)
	})
	t.Run("a preparation that hangs is given up by its own gateway first", func(t *testing.T) {
		w := newWorld(t)
		g := run(t, w.store, &gateway{onLoad: func(ctx context.Context, _ *lambda.Deployment) error {
			<-ctx.Done()
			return ctx.Err()
		}}, func(c *deployment.Config) { c.PrepareTimeout = 50 * time.Millisecond })
		r := w.deploy(t, w.create(t, "hello"))
		require.Contains(t, r.Last.Failure.Message, "gateway "+g.id+" could not start the lambda")
	})
	t.Run("one that hangs does not keep the others from being deployed", func(t *testing.T) {
		w := newWorld(t)
		hung := w.create(t, "hung")
		run(t, w.store, &gateway{onLoad: func(ctx context.Context, d *lambda.Deployment) error {
			if d.LambdaID == hung.ID {
				<-ctx.Done()
			}
			return ctx.Err()
		}})
		w.start(t, hung, lambda.Deploy)
		require.Equal(t, lambda.DeployFinish, w.deploy(t, w.create(t, "hello")).Last.State)
		require.Equal(t, lambda.DeployStart, w.record(t, hung).Last.State)
	})
}

// revoke ends the lease of a gateway, as its death does.
func (w *world) revoke(t *testing.T, gateway string) {
	t.Helper()
	r, err := w.client.Get(context.Background(), "/sluice/rollout/gateways/"+gateway)
	require.NoError(t, err)
	if len(r.Kvs) > 0 {
		_, err = w.client.Revoke(context.Background(), clientv3.LeaseID(r.Kvs[0].Lease))
		require.NoError(t, err)
	}
}

func TestGatewayDies(t *testing.T) {
	t.Run("a gateway that dies while it is waited for is waited for no longer", func(t *testing.T) {
		w := newWorld(t)
		asked := make(chan struct{}, 1)
		dies := run(t, w.store, &gateway{onLoad: func(ctx context.Context, _ *lambda.Deployment) error {
			asked <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}}, func(c *deployment.Config) { c.Claims = 1 })
		// Its one worker is busy with another lambda's build, so the other gateway works.
		a := run(t, w.store, &gateway{})
		l := w.create(t, "hello")
		d := w.start(t, l, lambda.Deploy)
		select {
		case <-asked:
		case <-time.After(soon):
			require.Fail(t, "never asked")
		}
		dies.stop()
		r := w.ended(t, l, d)
		require.Equal(t, lambda.DeployFinish, r.Last.State, "%+v", r.Last.Failure)
		_, prepared, _ := a.told()
		require.Equal(t, []string{d.ID}, prepared)
	})
	t.Run("a gateway that was taken for dead joins again and goes on", func(t *testing.T) {
		w := newWorld(t)
		building := make(chan struct{}, 10)
		var hold atomic.Bool
		hold.Store(true)
		g := run(t, w.store, &gateway{build: func(ctx context.Context, source string) (host.BuildResult, error) {
			building <- struct{}{}
			if hold.Load() {
				<-ctx.Done()
				return host.BuildResult{}, ctx.Err()
			}
			return host.BuildResult{Artifact: []byte(source)}, nil
		}})
		l := w.create(t, "hello")
		d := w.start(t, l, lambda.Deploy)
		<-building
		hold.Store(false)
		w.revoke(t, g.id)
		require.Equal(t, lambda.DeployFinish, w.ended(t, l, d).Last.State)
	})
	t.Run("a gateway that joins during a roll-out prepares it too", func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		run(t, w.store, &gateway{onLoad: func(ctx context.Context, _ *lambda.Deployment) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		l := w.create(t, "hello")
		d := w.start(t, l, lambda.Deploy)
		require.Eventually(t, func() bool { return w.record(t, l).Last.State == lambda.DeployStart }, soon, time.Millisecond)
		late := run(t, w.store, &gateway{})
		require.Eventually(t, func() bool { _, prepared, _ := late.told(); return len(prepared) == 1 }, soon, time.Millisecond)
		close(release)
		require.Equal(t, lambda.DeployFinish, w.ended(t, l, d).Last.State)
	})
	t.Run("a controller whose context ends before etcd answers returns", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		w := newWorld(t)
		m := w.mortal(t)
		m.dead.Store(true)
		g := &gateway{id: "g"}
		c, err := deployment.New(deployment.Config{GatewayID: g.id, Store: m.store, Builder: g, Prepare: g.prepare, Log: zerolog.Nop()})
		require.NoError(t, err)
		c.Run(ctx)
	})
}

// TestKilledBetweenSteps kills a gateway at each of its writes to etcd, before
// or after the write took place, and lets another go on.
func TestKilledBetweenSteps(t *testing.T) {
	steps := map[lambda.DeploymentKind]int{lambda.Deploy: 5, lambda.Undeploy: 2} // claim, built, rolled out, ack, finish
	for kind, writes := range steps {
		for n := 2; n <= writes+1; n++ { // the first write is the registration
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, killed at write %d, which took place: %v", kind, n, after), func(t *testing.T) {
					w := newWorld(t)
					l := w.create(t, "hello")
					if kind == lambda.Undeploy {
						first := run(t, w.store, &gateway{})
						w.deploy(t, l)
						first.stop()
					}
					m := w.mortal(t)
					m.dieAt, m.after = int32(n), after
					a := run(t, m.store, &gateway{})
					d := w.start(t, l, kind)
					select {
					case <-m.died:
					case <-time.After(soon):
						require.Fail(t, "the gateway was not killed: it made fewer writes")
					}
					a.stop()
					w.revoke(t, a.id)
					b := run(t, w.store, &gateway{})
					r := w.ended(t, l, d)
					require.Equal(t, lambda.DeployFinish, r.Last.State, "%+v", r.Last.Failure)
					require.Equal(t, kind == lambda.Deploy, r.Live != nil)
					require.Eventually(t, func() bool { return len(w.leftOver(t)) == 0 }, soon, 5*time.Millisecond)
					history, err := w.store.History(t.Context(), account, l.ID)
					require.NoError(t, err)
					require.Len(t, history, 1)
					b.stop()
				})
			}
		}
	}
}

// TestKilledAmongOthers kills one of two gateways that work at once.
func TestKilledAmongOthers(t *testing.T) {
	for n := 2; n <= 9; n++ {
		t.Run(fmt.Sprint("at write ", n), func(t *testing.T) {
			w := newWorld(t)
			m := w.mortal(t)
			m.dieAt, m.after = int32(n), n%2 == 0
			a := run(t, m.store, &gateway{})
			run(t, w.store, &gateway{})
			var ls []*lambda.Lambda
			var ds []*lambda.Deployment
			for i := range 6 {
				l := w.create(t, fmt.Sprint("f", i))
				ls, ds = append(ls, l), append(ds, w.start(t, l, lambda.Deploy))
			}
			go func() {
				<-m.died
				a.stop()
				w.revoke(t, a.id)
				close(m.buried)
			}()
			<-m.buried
			for i := range ls {
				r := w.ended(t, ls[i], ds[i])
				require.Equal(t, lambda.DeployFinish, r.Last.State, "%+v", r.Last.Failure)
			}
			require.Eventually(t, func() bool { return len(w.leftOver(t)) == 0 }, soon, 5*time.Millisecond)
		})
	}
}

// BenchmarkDeployment measures the way from the request to Deploy Finish, with a
// runtime that takes no time.
func BenchmarkDeployment(b *testing.B) {
	for _, gateways := range []int{1, 3} {
		b.Run(fmt.Sprint("gateways=", gateways), func(b *testing.B) {
			w := newWorld(b)
			for range gateways {
				run(b, w.store, &gateway{})
			}
			v, err := w.store.OpenViews(b.Context())
			require.NoError(b, err)
			defer v.Close()
			live := make(chan string, 1)
			v.OnLive(func(_, l *lambda.Live) { live <- l.DeploymentID })
			l := w.create(b, "hello")
			for b.Loop() {
				d := w.start(b, l, lambda.Deploy)
				for id := range live {
					if id == d.ID {
						break
					}
				}
			}
		})
	}
}
