package app

import (
	"context"
	"io"

	"github.com/rs/zerolog"
)

// LogWriter is the log's way out, for tests.
type LogWriter struct{ *logWriter }

func NewLogWriter(to io.Writer) LogWriter { return LogWriter{newLogWriter(to, false)} }

// NewHeldLogWriter writes nothing before Release.
func NewHeldLogWriter(to io.Writer) LogWriter { return LogWriter{newLogWriter(to, true)} }

func (w LogWriter) Release()                        { w.release() }
func (w LogWriter) Close(ctx context.Context) error { return w.close(ctx) }
func (w LogWriter) Lost() uint64                    { return w.lost() }

func NewLogger(w io.Writer, level zerolog.Level) zerolog.Logger { return newLogger(w, level) }

// LogBuffer is how many bytes may wait.
const LogBuffer = logBuffer

// Quote makes a word for a shell.
var Quote = quote

// Closers is the list of what was opened.
type Closers struct{ closers }

func (c *Closers) Push(name string, f func(context.Context) error) { c.push(name, f) }
func (c *Closers) CloseAll(ctx context.Context) error              { return c.closeAll(ctx) }
