package host

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-faas/sluice/plugins"
)

// areaPause is how often the record area of a process that lives is read at most.
const areaPause = 10 * time.Millisecond

// recordArea is where a runtime keeps the records that it has not sent, for the
// case that it never will (runtime.proto). What is in it is trusted as little as
// a frame.
type recordArea struct{ file *os.File }

// newRecordArea makes memory that has its size from the start, so that user code
// cannot make it larger.
func newRecordArea() (*recordArea, error) {
	fd, err := unix.MemfdCreate("records", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("record area: %w", err)
	}
	file := os.NewFile(uintptr(fd), "records")
	// Who has it open may use it. Nobody may open it once more, by /proc/self/fd: it
	// would be a file that code could be loaded from.
	if err := file.Chmod(0); err != nil {
		_ = file.Close() // nothing was written
		return nil, fmt.Errorf("record area: %w", err)
	}
	if err := file.Truncate(plugins.RecordArea); err != nil {
		_ = file.Close() // nothing was written
		return nil, fmt.Errorf("record area: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("record area: %w", err)
	}
	return &recordArea{file: file}, nil
}

func (a *recordArea) close() {
	if a != nil {
		_ = a.file.Close() // only memory
	}
}

// records reads what is there, by sequence. What does not look like a record ends
// its half.
func (a *recordArea) records() (found []record) {
	if a == nil {
		return nil
	}
	const half = plugins.RecordArea / 2
	content := a.content()
	for len(content) >= half {
		found = appendRecords(found, content[:half])
		content = content[half:]
	}
	slices.SortStableFunc(found, func(a, b record) int { return cmp.Compare(a.sequence, b.sequence) })
	return found
}

// content is the area as it stood at one moment: a process that is not as blocked
// as it seems may write while it is read. Nil if it writes all the time.
func (a *recordArea) content() []byte {
	read := func() []byte {
		b := make([]byte, plugins.RecordArea)
		if _, err := a.file.ReadAt(b, 0); err != nil {
			return nil // it was closed
		}
		return b
	}
	before := read()
	for range 3 {
		after := read()
		if bytes.Equal(before, after) {
			return after
		}
		before = after
	}
	return nil
}

func appendRecords(found []record, b []byte) []record {
	for {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 || field != runtimeFrameLogs || typ != protowire.BytesType {
			return found
		}
		entry, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return found
		}
		r, err := parseRecord(entry)
		if err != nil || r.sequence == 0 {
			return found
		}
		found, b = append(found, r), b[n+m:]
	}
}

// takeArea passes on what the process has logged and not sent. While it lives, that
// is what follows the last record without a gap, because others may be on their
// way; and when many calls end at once, it is looked for once.
func (s *session) takeArea(ended bool, now time.Time) {
	s.recording.Lock()
	defer s.recording.Unlock()
	if !ended && now.Sub(s.areaTaken) < areaPause {
		return
	}
	s.areaTaken = now
	for _, r := range s.proc.area.records() {
		if r.sequence <= s.recorded {
			continue
		}
		gap := r.sequence > s.recorded+1
		if gap && !ended || s.checkRecord(&r, now) != nil || s.passOn(r, now) != nil {
			return
		}
	}
}
