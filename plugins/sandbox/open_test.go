package sandbox_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/sandbox"
)

func TestOpenTriesEachStep(t *testing.T) {
	box, err := sandbox.Open(context.Background(), sandbox.Settings{Mode: sandbox.Auto})
	require.NoError(t, err)
	require.True(t, box.On())
	require.Equal(t, sandbox.Auto, box.Mode())
	var names []string
	for _, s := range box.Report().Steps {
		names = append(names, s.Name)
		require.Equal(t, s.Available, s.Why == "", s.Name)
	}
	require.Equal(t, []string{
		"launcher", "user namespace", "mount namespace", "process namespace", "IPC namespace", "host name namespace", "network namespace",
		"file system", "own /proc", "unprivileged user", "Landlock", "seccomp", "resource limits", "cgroup",
	}, names)
}

func TestASandboxThatIsOff(t *testing.T) {
	off, err := sandbox.Open(context.Background(), sandbox.Settings{Mode: sandbox.Off})
	require.NoError(t, err)
	for _, box := range []*sandbox.Sandbox{off, nil} {
		require.False(t, box.On())
		require.Equal(t, sandbox.Off, box.Mode())
		require.False(t, box.Report().Complete())
	}
}

func TestModes(t *testing.T) {
	for _, m := range []sandbox.Mode{sandbox.Required, sandbox.Auto, sandbox.Off} {
		got, err := sandbox.ParseMode(string(m))
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
	_, err := sandbox.ParseMode("")
	require.ErrorContains(t, err, "required, auto or off")
}
