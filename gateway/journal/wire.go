package journal

import (
	"encoding/binary"
	"errors"
)

// errGarbled says that bytes of a file are not what was written there.
var errGarbled = errors.New("the stored bytes are garbled")

// wire reads what append… of encoding/binary wrote. After the first fault it
// gives zeros, and err tells.
type wire struct {
	rest []byte
	err  error
}

func (w *wire) fail() {
	w.rest, w.err = nil, errGarbled
}

func (w *wire) uint() uint64 {
	v, n := binary.Uvarint(w.rest)
	if n <= 0 {
		w.fail()
		return 0
	}
	w.rest = w.rest[n:]
	return v
}

func (w *wire) int() int64 {
	v, n := binary.Varint(w.rest)
	if n <= 0 {
		w.fail()
		return 0
	}
	w.rest = w.rest[n:]
	return v
}

func (w *wire) byte() byte {
	if len(w.rest) == 0 {
		w.fail()
		return 0
	}
	b := w.rest[0]
	w.rest = w.rest[1:]
	return b
}

// next gives n bytes, which are part of what is read.
func (w *wire) next(n uint64) []byte {
	if n > uint64(len(w.rest)) {
		w.fail()
		return nil
	}
	b := w.rest[:n]
	w.rest = w.rest[n:]
	return b
}

// text gives a length and that many bytes.
func (w *wire) text() []byte { return w.next(w.uint()) }

// count gives a number of things that take at least one byte each.
func (w *wire) count() int {
	n := w.uint()
	if n > uint64(len(w.rest)) {
		w.fail()
		return 0
	}
	return int(n)
}

func appendText(to []byte, s string) []byte {
	to = binary.AppendUvarint(to, uint64(len(s)))
	return append(to, s...)
}
