package app

import (
	"context"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Bounds of the log on its way out.
const (
	logBuffer = 1 << 20               // bytes that may wait for a slow reader
	logDelay  = 20 * time.Millisecond // for which a line may wait for others
)

// logGlobals sets the field names that every package of the gateway logs with.
var logGlobals = sync.OnceFunc(func() {
	zerolog.MessageFieldName = "msg"
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
})

// newLogger gives a JSON logger that writes to w.
func newLogger(w io.Writer, level zerolog.Level) zerolog.Logger {
	logGlobals()
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// logWriter writes log lines in the background, several in one write. A reader
// that is slow, stuck or gone never holds up a request: lines that find no room
// are counted, and the count is written when there is room again. Lines from
// level warn upwards do not wait for others. Safe for concurrent use.
type logWriter struct {
	to io.Writer

	mu      sync.Mutex
	waiting []byte
	dropped int
	total   uint64 // dropped, ever
	closed  bool

	held func()        // ends the hold, if there is one
	open chan struct{} // closed: lines may be written
	kick chan struct{} // there is something to write
	rush chan struct{} // and it shall not wait
	done chan struct{}
}

// newLogWriter begins to write at once, or with hold when release is called: on
// a terminal the log would tear the progress of the start apart.
func newLogWriter(to io.Writer, hold bool) *logWriter {
	w := &logWriter{
		to: to, open: make(chan struct{}), kick: make(chan struct{}, 1), rush: make(chan struct{}, 1), done: make(chan struct{}),
	}
	w.held = sync.OnceFunc(func() { close(w.open) })
	if !hold {
		w.release()
	}
	go w.run()
	return w
}

// release lets held lines go, and all that follow.
func (w *logWriter) release() { w.held() }

// Write takes one line.
func (w *logWriter) Write(line []byte) (int, error) { return w.WriteLevel(zerolog.InfoLevel, line) }

// WriteLevel takes one line of a level.
func (w *logWriter) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed || len(w.waiting)+len(line) > logBuffer:
		w.dropped++
		w.total++
		return len(line), nil
	case len(w.waiting) == 0:
		signal(w.kick)
	}
	w.waiting = append(w.waiting, line...)
	if level >= zerolog.WarnLevel && level != zerolog.NoLevel {
		signal(w.rush)
	}
	return len(line), nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is signalled already
	}
}

// lost is how many lines were dropped so far.
func (w *logWriter) lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

func (w *logWriter) run() {
	defer close(w.done)
	timer := time.NewTimer(logDelay)
	defer timer.Stop()
	<-w.open
	var spare []byte
	for range w.kick {
		timer.Reset(logDelay)
		select {
		case <-timer.C:
		case <-w.rush:
		}
		spare = w.flush(spare)
	}
	w.flush(spare)
}

// flush writes what waits and returns its buffer for the next lines but one.
func (w *logWriter) flush(spare []byte) []byte {
	w.mu.Lock()
	lines, dropped := w.waiting, w.dropped
	w.waiting, w.dropped = spare[:0], 0
	w.mu.Unlock()
	if dropped > 0 {
		lines = fmt.Appendf(lines, `{"level":"warn","time":%q,"dropped":%d,"msg":"log lines were dropped: the reader of the log is too slow"}`+"\n",
			time.Now().Format(zerolog.TimeFieldFormat), dropped)
	}
	if len(lines) == 0 {
		return lines
	}
	if _, err := w.to.Write(lines); err != nil {
		w.mu.Lock()
		n := strings.Count(string(lines), "\n")
		w.dropped += n
		w.total += uint64(n)
		w.mu.Unlock()
	}
	return lines
}

// close writes what waits, unless ctx ends first because nobody reads.
func (w *logWriter) close(ctx context.Context) error {
	w.release()
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		signal(w.rush)
		close(w.kick)
	}
	w.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serverLog gives net/http's own complaints to the log: broken handshakes and
// the like are the caller's doing and of interest to who debugs them only.
func serverLog(l zerolog.Logger) *log.Logger {
	return log.New(httpComplaint{l.With().Str("component", "http").Logger()}, "", 0)
}

type httpComplaint struct{ log zerolog.Logger }

func (c httpComplaint) Write(text []byte) (int, error) {
	line := strings.TrimSpace(string(text))
	level := zerolog.WarnLevel
	for _, caller := range []string{"TLS handshake error", "http2: ", "URL query contains semicolon", "broken pipe", "connection reset"} {
		if strings.Contains(line, caller) {
			level = zerolog.DebugLevel
		}
	}
	c.log.WithLevel(level).Str("error", line).Msg("HTTP server")
	return len(text), nil
}
