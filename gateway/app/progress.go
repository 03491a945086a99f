package app

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
)

// progress shows a person how the start goes on: one line for each step, drawn
// when it begins on a terminal, and in any case when it has ended.
type progress struct {
	to       io.Writer
	terminal bool // lines may be drawn over
	color    bool
	began    time.Time
}

func newProgress(to io.Writer) *progress {
	p := &progress{to: to, began: time.Now()}
	p.terminal = isTerminal(to) && os.Getenv("TERM") != "dumb"
	p.color = p.terminal && os.Getenv("NO_COLOR") == ""
	return p
}

// isTerminal reports whether a person looks at what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// step runs f and shows its name and how long it took.
func (p *progress) step(name string, f func() error) error {
	if p.terminal {
		p.print("  • %-22s …", name)
	}
	began := time.Now()
	err := f()
	took := time.Since(began).Seconds()
	switch {
	case p.terminal && err != nil:
		p.print("\r\x1b[K  %s %s\n", p.paint("31", "✗"), name)
	case p.terminal:
		p.print("\r\x1b[K  %s %-22s %s\n", p.paint("32", "✓"), name, p.paint("2", fmt.Sprintf("%.1f s", took)))
	case err != nil:
		p.print("  ✗ %s\n", name)
	default:
		p.print("  ✓ %-22s %.1f s\n", name, took)
	}
	return err
}

func (p *progress) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// print writes for people only: a closed terminal is no reason to stop.
func (p *progress) print(format string, args ...any) { _, _ = fmt.Fprintf(p.to, format, args...) }
