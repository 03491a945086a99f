package sandbox_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/sandbox"
)

func TestOpenRequired(t *testing.T) {
	s, err := sandbox.Open(context.Background(), sandbox.Settings{Mode: sandbox.Required})
	if s != nil {
		for _, st := range s.Report().Steps {
			t.Logf("%+v", st)
		}
	}
	require.NoError(t, err)
}
