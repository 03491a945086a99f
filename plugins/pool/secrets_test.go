package pool_test

import (
	"context"
	"errors"
	"strings"
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
	})
}

// Mask is of a process that has read the word sesame.
func (*vault) Mask(text string) string { return strings.ReplaceAll(text, "sesame", "***") }

func TestTheConditionOfAKeyShowsNoSecretThatItsProcessRead(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: func(_ context.Context, p *process, _ runtime.Call) (runtime.Result, error) {
		p.printed = "FATAL: sesame"
		p.exit("ended by sesame")
		return runtime.Result{}, &host.ExitError{Reason: "ended by sesame", Own: true}
	}}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		s := pool.Spec{Key: "a", Runtime: "fake", Load: func(context.Context) (host.LoadRequest, error) {
			return host.LoadRequest{Artifact: []byte("a"), Secrets: &vault{}}, nil
		}}
		var start *pool.StartError
		for err := error(nil); !errors.As(err, &start); _, _, err = p.Handle(bg, s, call(`1`)) {
			synctest.Wait()
		}
		require.Equal(t, "the process ended: ended by ***", p.Status("a").LastError)
		require.Equal(t, "FATAL: ***", p.Status("a").LastPrinted)
		require.NotContains(t, start.Error(), "sesame", "callers are told why, too")
	})
}
