package host_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/sandbox"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

func required(t testing.TB) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.Open(context.Background(), sandbox.Settings{Mode: sandbox.Required})
	require.NoError(t, err)
	return box
}

// javascript is the built runtime.
func javascript(t testing.TB) catalog.Runtime {
	t.Helper()
	dir, err := filepath.Abs("../../bin/runtimes")
	require.NoError(t, err)
	if _, err := os.Stat(filepath.Join(dir, "javascript", "main.cjs")); err != nil {
		t.Skip("the JavaScript runtime is not built: run make build")
	}
	c, err := catalog.Open(dir)
	require.NoError(t, err)
	r, ok := c.Runtime("javascript")
	require.True(t, ok)
	return r
}

// lambda loads JavaScript code in a sandbox.
func lambda(t testing.TB, box *sandbox.Sandbox, code string, egress host.Egress) *host.Process {
	t.Helper()
	p := launch(t, host.Options{Runtime: javascript(t), RunDir: runDir(t), Log: zerolog.New(zerolog.NewTestWriter(t)), Sandbox: box})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	built, err := p.Build(ctx, code, nil)
	require.NoError(t, err)
	require.Empty(t, built.Diagnostics)
	require.NoError(t, p.Load(ctx, host.LoadRequest{Artifact: built.Artifact, Egress: egress}))
	return p
}

func TestHello(t *testing.T) {
	p := lambda(t, required(t), `function lambda(input, callback) { callback(null, 'hello') }`, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := p.Handle(ctx, runtime.Call{Payload: []byte(`{"payload":{}}`)})
	require.NoError(t, err)
	require.Equal(t, `"hello"`, string(r.Payload))
	_ = fmt.Sprint
	_ = net.Dial
	_ = strings.Cut
}
