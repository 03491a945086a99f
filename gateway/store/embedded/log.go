package embedded

import (
	"fmt"

	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sluice-faas/sluice/gateway/store/zaplog"
)

// startNoise are two complaints of every new member about a version that it has
// not yet written and writes a moment later.
var startNoise = []string{"Failed to detect schema version", "failed to update storage version"}

// bridge gives etcd a zap logger that writes to log, from warn upwards. What
// etcd calls fatal becomes a panic: while the folder is opened it is turned
// into an error, and later it ends the process as etcd wants it, because the
// member cannot go on.
func bridge(log zerolog.Logger) *zap.Logger {
	return zaplog.New(log, startNoise, zap.WithFatalHook(panicHook{}), zap.WithPanicHook(panicHook{}))
}

// panicHook panics with the entry's text and its cause.
type panicHook struct{}

func (panicHook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			panic(fmt.Errorf("%s: %w", e.Message, err))
		}
	}
	panic(e.Message)
}
