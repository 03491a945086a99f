package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync/atomic"
	"time"
)

// maxHandshake bounds the handshake line; a socket path is at most 107 bytes.
const maxHandshake = 1024

// A handshake line is core protocol, our protocol, network, address, "grpc", and
// perhaps further fields that go-plugin's own servers add.
var handshakeLine = regexp.MustCompile(`^[0-9]+\|[0-9]+\|[a-z]+\|[^|]+\|grpc(\||$)`)

// ErrNoHandshake is HandshakeError's when the runtime closed its stdout, most
// often by ending, before it printed a line.
var ErrNoHandshake = errors.New("the runtime ended its stdout without a handshake line")

// handshake lets one line of a runtime's stdout through to go-plugin.
type handshake struct {
	line *io.PipeReader
	pass *io.PipeWriter
	err  *atomic.Pointer[error]
}

func newHandshake() handshake {
	r, w := io.Pipe()
	return handshake{line: r, pass: w, err: new(atomic.Pointer[error])}
}

func (h handshake) fault() error {
	if err := h.err.Load(); err != nil {
		return *err
	}
	return nil
}

// read passes the handshake line on and then reads stdout to its end, whatever
// comes, so that the process never waits for a reader.
func (h handshake) read(stdout *os.File, exited <-chan struct{}) {
	defer stdout.Close() //nolint:errcheck // only read from
	line, err := firstLine(stdout)
	if err != nil {
		h.err.Store(&err)
		if errors.Is(err, ErrNoHandshake) {
			// go-plugin kills the process as soon as it hears of it, and then nobody
			// would know that it had failed by itself.
			select {
			case <-exited:
			case <-time.After(lastWords):
			}
		}
		_ = h.pass.Close()
	} else {
		// go-plugin has what it wants of the line, or gave the start up.
		_, _ = h.pass.Write(line)
		_ = h.pass.Close()
	}
	// It ends with the process; its error would say no more than that.
	_, _ = io.Copy(io.Discard, stdout)
}

// firstLine reads up to the first line's end and checks that it is a handshake.
func firstLine(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, maxHandshake)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		line, _, found := bytes.Cut(buf, []byte{'\n'})
		line = bytes.TrimRight(line, "\r")
		switch {
		case found && handshakeLine.Match(line):
			return append(line[:len(line):len(line)], '\n'), nil
		case found, len(buf) == cap(buf), len(buf) > 0 && (err != nil || !isDigit(buf[0])):
			return nil, fmt.Errorf("the runtime printed %q on stdout where its handshake line must be", shorten(line))
		case err != nil:
			return nil, ErrNoHandshake
		}
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func shorten(b []byte) []byte {
	const enough = 200
	if len(b) > enough {
		return append(b[:enough:enough], "…"...)
	}
	return b
}
