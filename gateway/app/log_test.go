package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/app"
)

func TestEveryLogLineArrivesInOrderUnderItsFieldNames(t *testing.T) {
	out := &output{}
	w := app.NewLogWriter(out)
	log := app.NewLogger(w, zerolog.InfoLevel)
	const n = 1000
	for i := range n {
		log.Info().Int("i", i).Msg("line")
	}
	log.Debug().Msg("too quiet")
	require.NoError(t, w.Close(t.Context()))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, n)
	for i, line := range lines {
		var v struct {
			I     int       `json:"i"`
			Msg   string    `json:"msg"`
			Level string    `json:"level"`
			Time  time.Time `json:"time"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &v))
		require.Equal(t, i, v.I)
		require.Equal(t, "line", v.Msg)
		require.Equal(t, "info", v.Level)
		require.WithinDuration(t, time.Now(), v.Time, time.Minute)
	}
	require.Zero(t, w.Lost())
}

// stuck is a reader that does not read until it is released.
type stuck struct {
	released chan struct{}
	output
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.released
	return s.output.Write(p)
}

func TestAStuckReaderOfTheLogHoldsNobodyUpAndIsToldWhatItMissed(t *testing.T) {
	out := &stuck{released: make(chan struct{})}
	w := app.NewLogWriter(out)
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	lines := 4 * app.LogBuffer / len(line)
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range lines / 4 {
				n, err := w.Write(line)
				if err != nil || n != len(line) {
					t.Errorf("wrote %d bytes: %v", n, err)
				}
			}
		})
	}
	writers.Wait() // none of them waited for the reader
	require.GreaterOrEqual(t, w.Lost(), uint64(lines/2))
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, w.Close(soon), context.DeadlineExceeded)

	close(out.released)
	require.NoError(t, w.Close(t.Context()))
	require.Contains(t, out.String(), "log lines were dropped")
	require.Equal(t, uint64(lines), w.Lost()+uint64(strings.Count(out.String(), "x\n")))
}

func TestAReaderThatIsGoneIsNoReasonToStop(t *testing.T) {
	w := app.NewLogWriter(gone{})
	for range 10 {
		_, err := w.WriteLevel(zerolog.ErrorLevel, []byte("a line\n"))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return w.Lost() >= 10 }, 5*time.Second, time.Millisecond)
	require.NoError(t, w.Close(t.Context()))
}

func TestALogThatIsHeldIsWrittenAfterwards(t *testing.T) {
	out := &output{}
	w := app.NewHeldLogWriter(out)
	_, err := w.WriteLevel(zerolog.ErrorLevel, []byte("early\n"))
	require.NoError(t, err)
	require.Never(t, func() bool { return out.String() != "" }, 60*time.Millisecond, 10*time.Millisecond)
	w.Release()
	_, err = w.Write([]byte("late\n"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return out.String() == "early\nlate\n" }, 5*time.Second, time.Millisecond)
	require.NoError(t, w.Close(t.Context()))

	w = app.NewHeldLogWriter(out)
	_, err = w.Write([]byte("last\n"))
	require.NoError(t, err)
	require.NoError(t, w.Close(t.Context()))
	require.Equal(t, "early\nlate\nlast\n", out.String(), "a start that fails shows its log")
}

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestWhatWasOpenedIsClosedInReverseAndOnce(t *testing.T) {
	var list app.Closers
	var order []string
	for _, name := range []string{"first", "second", "third"} {
		list.Push(name, func(context.Context) error {
			order = append(order, name)
			if name != "first" {
				return errors.New("stuck")
			}
			return nil
		})
	}
	err := list.CloseAll(t.Context())
	require.ErrorContains(t, err, "close third: stuck")
	require.ErrorContains(t, err, "close second: stuck")
	require.Equal(t, []string{"third", "second", "first"}, order)
	require.NoError(t, list.CloseAll(t.Context()))
	require.Len(t, order, 3)
}

func TestAQuotedWordIsOneWordOfAShell(t *testing.T) {
	for _, word := range []string{"", "plain", "with space", "it's", `$HOME "and" \back`, "`id`; true", "a\nb"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+app.Quote(word)).Output()
		require.NoError(t, err)
		require.Equal(t, word, string(out))
	}
}
