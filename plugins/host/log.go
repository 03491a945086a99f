package host

import (
	"bytes"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/sluice-faas/sluice/sdk/runtime"
)

const (
	// maxLine is how much of one line of stderr is kept.
	maxLine = 4 << 10
	// maxTail is how much of stderr's end is told when a start fails.
	maxTail = 2 << 10

	linesPerSecond = 50
	linesBurst     = 200
)

// output takes what a process says that belongs to no call: raw stderr and
// records with no open call. It trusts nothing in it, keeps little of it, and
// says how much it left out.
type output struct {
	mu      sync.Mutex
	log     zerolog.Logger
	limit   *rate.Limiter
	dropped int
	last    []byte
	redact  func(string) string // nil: nothing
	memory  bool                // a line spoke of memory that ran out
	writers []*lineWriter
}

func newOutput(log zerolog.Logger) *output {
	return &output{log: log, limit: rate.NewLimiter(linesPerSecond, linesBurst)}
}

func (o *output) setLog(log zerolog.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = log
}

// setRedact is for all that is said from now on.
func (o *output) setRedact(redact func(string) string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.redact = redact
}

// clean takes out of a text what nobody may read.
func (o *output) clean(text string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cleaned(text)
}

// cleaned needs mu.
func (o *output) cleaned(text string) string {
	if o.redact == nil {
		return text
	}
	return o.redact(text)
}

// lines returns a writer that passes on whole lines. It never fails or waits.
func (o *output) lines() *lineWriter {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := &lineWriter{out: o}
	o.writers = append(o.writers, w)
	return w
}

// lineWriter cuts a stream of bytes into lines; its fields are under out.mu.
type lineWriter struct {
	out  *output
	line []byte
	over int // bytes of the line that were not kept
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	written := len(b)
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		keep := min(len(line), maxLine-len(w.line))
		w.line = append(w.line, line[:keep]...)
		w.over += len(line) - keep
		if ended {
			w.emit()
		}
		b = rest
	}
	return written, nil
}

// emit logs the line, if there is one.
func (w *lineWriter) emit() {
	o := w.out
	if len(w.line) > 0 {
		text := string(w.line)
		if w.over > 0 {
			text += "…" // the redactor knows what stands before it as cut off
		}
		text = o.cleaned(text)
		o.remember(text)
		o.memory = o.memory || bytes.Contains(w.line, []byte("out of memory"))
		if o.allow() {
			o.log.Info().Str("stderr", strings.ToValidUTF8(text, "\uFFFD")).
				Int("cutBytes", w.over).Msg("runtime process printed")
		}
	}
	w.line, w.over = w.line[:0], 0
}

// record logs what user code logged outside any open call.
func (o *output) record(r runtime.LogRecord) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.allow() {
		o.log.WithLevel(levels[r.Level]).Str("text", o.cleaned(cut(r.Message, maxLine))).
			Str("extras", o.cleaned(cut(string(r.Extras), maxLine))).Time("at", r.Time).Msg("lambda logged outside a call")
	}
}

var levels = map[runtime.Level]zerolog.Level{
	runtime.LevelDebug: zerolog.DebugLevel,
	runtime.LevelInfo:  zerolog.InfoLevel,
	runtime.LevelWarn:  zerolog.WarnLevel,
	runtime.LevelError: zerolog.ErrorLevel,
}

// allow says whether one more line may be logged, and counts it if not. Needs mu.
func (o *output) allow() bool {
	if !o.limit.AllowN(time.Now(), 1) {
		o.dropped++
		return false
	}
	o.tellDropped()
	return true
}

func (o *output) tellDropped() {
	if o.dropped > 0 {
		o.log.Warn().Int("lines", o.dropped).Msg("runtime process said more than is kept")
		o.dropped = 0
	}
}

// remember keeps the end of stderr. Needs mu.
func (o *output) remember(line string) {
	o.last = append(append(o.last, line...), '\n')
	if over := len(o.last) - maxTail; over > 0 {
		o.last = append(o.last[:0], o.last[over:]...)
	}
}

// toldOfMemory reports whether the process complained, as V8 and Go do before
// they abort, that it is out of memory.
func (o *output) toldOfMemory() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.memory
}

// tail is what the process printed last to stderr.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := bytes.TrimSpace(o.last)
	for len(b) > 0 && !utf8.RuneStart(b[0]) {
		b = b[1:]
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// flush logs unfinished lines and what was left out, at the process's end.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.writers {
		w.emit()
	}
	o.tellDropped()
}
