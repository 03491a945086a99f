package host

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

const (
	defaultIdleWork = 30 * time.Second
	// idleShare of a core, over the whole of Options.IdleWork, is more than a process
	// without calls needs for what its calls left to do.
	idleShare = 0.5
	// labourInterval is how often a process without calls is looked at.
	labourInterval = time.Second
	// ticksPerSecond is the unit of processor times in /proc, the same on every machine.
	ticksPerSecond = 100
)

// labour watches the processor time of a process without open calls. Work may go on
// after an answer, but not for ever: nobody waits for it and nothing else ends it.
type labour struct {
	stat procFile
	// Only the watch uses these:
	looks time.Time     // no look before
	since time.Time     // when the time began that is looked at; zero while calls are open
	spent time.Duration // of the processor, until since
}

// tooLong reports whether the process, without calls for limit, has used more than
// its share of a core all that time.
func (l *labour) tooLong(now time.Time, busy bool, limit time.Duration) bool {
	switch {
	case busy:
		l.since = time.Time{}
		return false
	case now.Before(l.looks):
		return false
	}
	l.looks = now.Add(min(labourInterval, limit/4))
	spent, err := l.processor()
	elapsed := now.Sub(l.since)
	switch {
	case err != nil: // it has ended
		return false
	case l.since.IsZero():
	case elapsed < limit:
		return false
	case float64(spent-l.spent) > idleShare*float64(elapsed):
		return true
	}
	l.since, l.spent = now, spent
	return false
}

// processor is the processor time of all threads.
func (l *labour) processor() (time.Duration, error) {
	var buf [1024]byte
	text, err := l.stat.read(buf[:])
	if err != nil {
		return 0, err
	}
	// The name of the program, in parentheses, may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const user, system = 11, 12
	if len(fields) <= system {
		return 0, os.ErrProcessDone
	}
	var ticks int64
	for _, f := range fields[user : system+1] {
		t, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time: %w", err)
		}
		ticks += t
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
