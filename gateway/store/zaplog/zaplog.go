// Package zaplog lets etcd's packages, which log through zap, write to the
// gateway's log.
package zaplog

import (
	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New makes a zap logger that writes to log, from warn upwards, but for the
// messages in noise.
func New(log zerolog.Logger, noise []string, options ...zap.Option) *zap.Logger {
	c := &core{log: log, noise: map[string]bool{}}
	for _, message := range noise {
		c.noise[message] = true
	}
	return zap.New(c, options...)
}

// core is a zapcore.Core over a zerolog.Logger.
type core struct {
	log    zerolog.Logger
	noise  map[string]bool
	fields []zapcore.Field
}

func (c *core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	all := make([]zapcore.Field, 0, len(c.fields)+len(fields))
	return &core{log: c.log, noise: c.noise, fields: append(append(all, c.fields...), fields...)}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if c.noise[e.Message] {
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
