package sandbox_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/sandbox"
)

// Whoever may read the files: a process with a user of its own reads them too.
func TestAProcessReadsTheCertificatesItTrusts(t *testing.T) {
	const script = `while read -r line; do echo "extra $line"; done < "$NODE_EXTRA_CA_CERTS" >&2
		while read -r line; do echo "root $line"; done < "$SSL_CERT_FILE" >&2`
	for name, mode := range map[string]os.FileMode{"everybody's": 0o644, "the gateway's alone": 0o600} {
		for _, kind := range []sandbox.Mode{sandbox.Required, sandbox.Off} {
			t.Run(name+" files, sandbox "+string(kind), func(t *testing.T) {
				dir := t.TempDir()
				extra, roots := filepath.Join(dir, "extra"), filepath.Join(dir, "all")
				require.NoError(t, os.WriteFile(extra, []byte("one\n"), mode))
				require.NoError(t, os.WriteFile(roots, []byte("machine\none\n"), mode))
				box, err := sandbox.Open(context.Background(), sandbox.Settings{Mode: kind, CAFile: extra, RootsFile: roots})
				require.NoError(t, err)
				run, err := os.MkdirTemp("", "run")
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, sandbox.RemoveDir(run)) })
				p := sandbox.New(sandbox.Command{Path: "/bin/sh", Args: []string{"-c", script}, MemoryMiB: 64, Sandbox: box}, nil, run)
				require.NoError(t, p.Start(context.Background()))
				out, said := read(p.Stdout()), read(p.Stderr())
				require.Equal(t, "extra one\nroot machine\nroot one\n", said())
				out()
				require.NoError(t, p.Kill(context.Background()))
				_ = p.Wait(context.Background()) // its error is the process's status
				_ = p.Egress().Close()           // its folder goes
			})
		}
	}
	for _, s := range []sandbox.Settings{{Mode: sandbox.Off, CAFile: "/nonexistent"}, {Mode: sandbox.Off, CAFile: "/dev/null", RootsFile: "/nonexistent"}} {
		_, err := sandbox.Open(context.Background(), s)
		require.ErrorContains(t, err, "CA file: ")
	}
}
