package host_test

import (
	"context"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// echo builds runtimes/echo and loads a process of it.
func echo(t testing.TB) *host.Process {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "echo")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/sluice-faas/sluice/runtimes/echo").CombinedOutput()
	require.NoError(t, err, string(out))
	return load(t, host.Options{
		Runtime: catalog.Runtime{Name: "echo", Command: binary, Protocol: 1}, RunDir: runDir(t), Log: zerolog.Nop(),
	})
}

// BenchmarkHandle measures a warm call through runtimes/echo.
func BenchmarkHandle(b *testing.B) {
	p := echo(b)
	call := runtime.Call{Payload: []byte(`{"name":"world"}`), RequestID: "7d3c1c7e-6c0f-4c52-9b52-1d2b4b6f3a11",
		Headers: []runtime.Header{{Key: "X-Header", Value: "value"}}}
	one := func(b *testing.B) {
		if _, err := p.Handle(context.Background(), call); err != nil {
			b.Error(err)
		}
	}
	b.Run("1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			one(b)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	})
	b.Run("64", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(64 / goruntime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one(b)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	})
}
