package sandbox

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever controllers this machine has, a process is started in its group, and
// the group goes with it.
func TestAProcessIsInACgroupOfItsOwn(t *testing.T) {
	groups, err := openCgroups(nil)
	if err != nil {
		t.Skip(err)
	}
	box, err := Open(context.Background(), Settings{Mode: Auto})
	require.NoError(t, err)
	box.groups = groups
	dir, err := os.MkdirTemp("", "run")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, RemoveDir(dir)) })
	p := New(Command{Path: "/bin/sleep", Args: []string{"60"}, MemoryMiB: 64, Sandbox: box}, nil, dir)
	require.NoError(t, p.Start(context.Background()))
	own, err := os.ReadFile("/proc/" + p.ID() + "/cgroup")
	require.NoError(t, err)
	require.Contains(t, string(own), filepath.Base(p.group.path))
	require.NoError(t, p.Seal())
	require.False(t, p.OutOfMemory())

	require.NoError(t, p.Kill(context.Background()))
	_, err = io.ReadAll(p.Stderr())
	require.NoError(t, err)
	require.EqualError(t, p.Wait(context.Background()), "signal: killed")
	require.NoError(t, p.Egress().Close())
	require.NoDirExists(t, p.group.path)
}

func TestACgroupWithoutControllersIsNamed(t *testing.T) {
	_, err := openCgroups([]string{"a-controller-that-no-kernel-has"})
	require.Error(t, err)
	require.True(t, strings.Contains(err.Error(), "has no controller a-controller") || strings.Contains(err.Error(), "cgroup"), "%v", err)
}
