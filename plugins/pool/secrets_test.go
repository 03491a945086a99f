package pool_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// vault is what one process was given.
type vault struct {
	runtime.Secrets
	n int
}

func TestACallIsToldWhichSecretsItsProcessHas(t *testing.T) {
	l, loads := &lab{}, 0
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		s := pool.Spec{Key: "a", Runtime: "fake", Load: func(context.Context) (host.LoadRequest, error) {
			loads++
			return host.LoadRequest{Artifact: []byte("a"), Secrets: &vault{n: loads}}, nil
		}}
		for _, want := range []int{1, 1, 2} {
			if want > loads && loads > 0 {
				l.all[0].exit("died")
			}
			_, info, err := p.Handle(bg, s, call(`1`))
			require.NoError(t, err)
			require.Equal(t, &vault{n: want}, info.Secrets)
		}
		l.become(behaviour{handle: func(context.Context, *process, runtime.Call) (runtime.Result, error) {
			return runtime.Result{}, &host.ExitError{Reason: "gone"}
		}})
		_, info, err := p.Handle(bg, s, call(`1`))
		require.Error(t, err)
		require.Equal(t, &vault{n: 2}, info.Secrets, "also of a call that failed")
		l.all[1].printed = "what it read"
		l.all[1].exit("died")
		synctest.Wait()
		st := p.Status("a")
		require.Equal(t, "what it read", st.LastPrinted)
		require.Equal(t, &vault{n: 2}, st.Secrets, "of the process whose words they are")
	})
}
