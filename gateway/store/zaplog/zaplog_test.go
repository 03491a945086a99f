package zaplog_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/sluice-faas/sluice/gateway/store/zaplog"
)

func TestWarningsArriveWithTheirFieldsAndNoiseDoesNot(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := zaplog.New(zerolog.New(&out), []string{"noise"}).With(zap.String("member", "a"))
	log.Info("too quiet")
	log.Warn("noise")
	log.Warn("slow", zap.Int("n", 3))
	log.Error("bad", zap.Error(errors.New("reason")))
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	require.Len(t, lines, 2)
	require.JSONEq(t, `{"level":"warn","component":"etcd","member":"a","n":3,"message":"slow"}`, string(lines[0]))
	require.JSONEq(t, `{"level":"error","component":"etcd","member":"a","error":"reason","message":"bad"}`, string(lines[1]))
}
