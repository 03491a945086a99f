package app_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/app"
)

func TestTheRunFolderIsWhereItsProcessesMayGo(t *testing.T) {
	mine, err := os.MkdirTemp("", "mine") // t.TempDir has too long a path
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(mine)) })
	inner := filepath.Join(mine, "inner")
	require.NoError(t, os.Mkdir(inner, 0o755)) //nolint:gosec // that is what is tried
	t.Setenv("XDG_RUNTIME_DIR", inner)
	require.Equal(t, inner, app.RunBase("x", false))
	require.NotEqual(t, inner, app.RunBase("x", true), "the folder above lets in nobody else")
	require.NoError(t, os.Chmod(mine, 0o711)) //nolint:gosec // as above
	require.Equal(t, inner, app.RunBase("x", true))
}
