package host_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/sandbox"
)

func TestAProcessThatWorksOnWithoutCallsIsEnded(t *testing.T) {
	box := sandboxed(t, sandbox.Auto)
	for _, c := range []struct {
		name, code string
		ends       bool
	}{
		{"a loop after the answer", `async function work() { setTimeout(() => { for (;;); }, 50); return 1; }`, true},
		{"a thread after the answer", `const { Worker } = require('worker_threads');
async function work() { new Worker('for (;;);', { eval: true }); return 1; }`, true},
		{"timers after the answer", `async function work() { setInterval(() => {}, 20); return 1; }`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := launch(t, host.Options{Runtime: javascript(t), RunDir: runDir(t), Log: zerolog.Nop(), Sandbox: box, IdleWork: time.Second})
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			built, err := p.Build(ctx, c.code+caller, nil)
			require.NoError(t, err)
			require.NoError(t, p.Load(ctx, host.LoadRequest{Artifact: built.Artifact}))
			_, err = invoke(t, p)
			require.NoError(t, err)
			if !c.ends {
				select {
				case <-p.Done():
					require.Fail(t, "it did hardly anything", p.ExitReason())
				case <-time.After(4 * time.Second):
				}
				return
			}
			select {
			case <-p.Done():
				require.Contains(t, p.ExitReason(), "busy for 1s after its last call")
			case <-time.After(60 * time.Second):
				require.Fail(t, "it goes on")
			}
		})
	}
}
