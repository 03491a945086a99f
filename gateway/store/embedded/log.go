package embedded

import (
	"fmt"

	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// bridge gives etcd a zap logger that writes to log, from warn upwards. What
// etcd calls fatal becomes a panic: while the folder is opened it is turned
// into an error, and later it ends the process as etcd wants it, because the
// member cannot go on.
func bridge(log zerolog.Logger) *zap.Logger {
	return zap.New(&core{log: log}, zap.WithFatalHook(panicHook{}), zap.WithPanicHook(panicHook{}))
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

// core is a zapcore.Core over a zerolog.Logger.
type core struct {
	log    zerolog.Logger
	fields []zapcore.Field
}

func (c *core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	all := make([]zapcore.Field, 0, len(c.fields)+len(fields))
	return &core{log: c.log, fields: append(append(all, c.fields...), fields...)}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// startNoise are two complaints of every new member about a version that it has
// not yet written and writes a moment later.
var startNoise = map[string]bool{
	"Failed to detect schema version":  true,
	"failed to update storage version": true,
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if startNoise[e.Message] {
		return nil
	}
	level := zerolog.WarnLevel
	if e.Level >= zapcore.ErrorLevel {
		level = zerolog.ErrorLevel
	}
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(encoder)
	}
	for _, f := range fields {
		f.AddTo(encoder)
	}
	c.log.WithLevel(level).Str("component", "etcd").Fields(encoder.Fields).Msg(e.Message)
	return nil
}

func (c *core) Sync() error { return nil }
