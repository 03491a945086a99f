package journal

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// position is a place in the order of what a query gives: by time, then by where
// it is stored.
type position struct {
	at    int64 // in the unit of the kind
	day   day
	id    int64 // of the block, or of the activity
	order int64 // within the block
}

func (p position) compare(o position) int {
	for _, d := range [...][2]int64{{p.at, o.at}, {int64(p.day), int64(o.day)}, {p.id, o.id}, {p.order, o.order}} {
		if d[0] != d[1] {
			if d[0] < d[1] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// kind is what a cursor is a place among.
type kind byte

const (
	kindLines kind = iota + 1
	kindInvocations
	kindActivities
	kindAttempts
)

// A cursor is a position, as text: kind, direction and position, and a checksum.
// It gives no right to anything: the query's other fields do.
func (p position) cursor(k kind, newest bool) string {
	b := []byte{byte(k), 0}
	if newest {
		b[1] = 1
	}
	for _, n := range []int64{p.at, int64(p.day), p.id, p.order} {
		b = binary.AppendVarint(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, checksums))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads a cursor that cursor has written; of the empty text, nil.
func parseCursor(text string, k kind, newest bool) (*position, error) {
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > 100 || len(b) < 6 || binary.LittleEndian.Uint32(b[len(b)-4:]) != crc32.Checksum(b[:len(b)-4], checksums) {
		return nil, badCursor()
	}
	if kind(b[0]) != k || (b[1] == 1) != newest {
		return nil, lambda.Invalid("cursor", "cursor is of another list, or of another order: give the one that came with the page before")
	}
	w := wire{rest: b[2 : len(b)-4]}
	p := &position{at: w.int(), day: day(w.int()), id: w.int(), order: w.int()}
	if w.err != nil || len(w.rest) > 0 {
		return nil, badCursor()
	}
	return p, nil
}

func badCursor() error {
	return lambda.Invalid("cursor", "cursor is none that was given out: give the one that came with the page before, or none for the first page")
}
