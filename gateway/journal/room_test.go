package journal_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestTheJournalLeavesToOthersWhatIsTheirs(t *testing.T) {
	open := func(t *testing.T, reserve uint64) *journal.Journal {
		t.Helper()
		j, err := journal.Open(journal.Config{Dir: t.TempDir(), Log: zerolog.Nop(), Limits: lambda.DefaultLimits(), Reserve: reserve})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, j.Close(context.Background())) })
		j.Add(journal.Entry{Account: "1", LambdaID: "l", At: time.Now(), State: journal.Succeeded})
		require.NoError(t, j.Flush(t.Context()))
		return j
	}
	t.Run("with room enough", func(t *testing.T) {
		j := open(t, 1)
		require.EqualValues(t, 1, j.Stats().Written)
		require.NoError(t, j.Check(t.Context()))
	})
	t.Run("without", func(t *testing.T) {
		j := open(t, math.MaxUint64)
		require.Zero(t, j.Stats().Written)
		require.EqualValues(t, 1, j.Stats().Dropped[journal.DroppedDisk])
		require.ErrorContains(t, j.Check(t.Context()), "the disk is full")
		require.NoError(t, j.Note(t.Context(), journal.Activity{Account: "1", By: "ada", Action: journal.Create, Noun: journal.Domain}), "activities are few")
	})
}
