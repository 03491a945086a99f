package pool

import (
	"errors"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// State is how a key is.
type State string

// The states of a key.
const (
	Idle         State = "idle"          // it has no process, and the next call starts one
	Starting     State = "starting"      // its first process is being started
	Ready        State = "ready"         // a process takes calls
	CrashLooping State = "crash-looping" // start after start fails, or process after process ends
)

// Status is a key at one moment.
type Status struct {
	State     State
	Processes int // those that are draining too
	Kept      int // that are to be ready though nobody calls
	OpenCalls int
	Waiting   int // calls

	Failures int       // starts that failed in a row
	RetryAt  time.Time // no start before; zero when one may be made
	// What went wrong last, if the pool still knows: the last failed start, or the
	// last process that ended of itself. At most maxCause bytes each.
	LastError   string
	LastPrinted string // the end of what that process wrote outside any call
	LastErrorAt time.Time
	// Secrets are those that this process was given (host.LoadRequest): what it read
	// of them may stand in its words. Nil if it ran no call.
	Secrets runtime.Secrets
}

// maxCause bounds what is kept of a failure.
const maxCause = 2 << 10

// health is what a group knows of its failures and its load. Guarded by its mu.
type health struct {
	failures int       // starts that failed in a row
	retryAt  time.Time // no start before
	lastErr  error     // of the last failed start

	cause     string // of the last failure or end
	printed   string
	given     runtime.Secrets // of the process that printed it
	causeTime time.Time
	ends      [loopEnds]time.Time // of the last processes that ended of themselves, a ring
	nextEnd   int

	lookedAt time.Time // when the load was last looked at
	busy     int       // looks in a row that found all processes busy
}

// failed notes a failed start and puts the next one off, unless fewer than free
// others came before.
func (g *group) failed(err error, free int) {
	now := time.Now()
	g.pool.counts.failed.Add(1)
	g.failures++
	g.lastErr = err
	g.retryAt = now.Add(backoff(g.failures - free))
	printed := ""
	var fault *host.LoadError
	if errors.As(err, &fault) {
		printed = fault.Stack
	}
	g.blame(err.Error(), printed, nil, now) // user code had no secrets yet
	g.pool.log.Warn().Err(err).Str("key", g.spec.Key).Str("runtime", g.spec.Runtime).
		Int("failures", g.failures).Time("retryAt", g.retryAt).Msg("no process could be started for a deployment")
}

func (g *group) blame(cause, printed string, given runtime.Secrets, now time.Time) {
	g.cause, g.printed, g.given, g.causeTime = head(cause), head(printed), given, now
}

// head is the beginning of s, on a boundary of its characters.
func head(s string) string {
	if len(s) <= maxCause {
		return s
	}
	return strings.ToValidUTF8(s[:maxCause], "") + "…"
}

// unexpected notes the end of a process that nobody asked to end. If it came
// soon, and before many calls were answered, it counts as a failed start.
func (g *group) unexpected(m *member) {
	if m.draining || g.ended != nil {
		return
	}
	now := time.Now()
	g.pool.counts.exited.Add(1)
	reason := m.proc.ExitReason()
	g.pool.log.Warn().Str("key", g.spec.Key).Str("runtime", g.spec.Runtime).
		Int("openCalls", m.open).Str("reason", reason).Msg("a process ended")
	g.ends[g.nextEnd] = now
	g.nextEnd = (g.nextEnd + 1) % loopEnds
	if now.Sub(m.loadedAt) < youngAge && m.answered < soundCalls {
		free := 0
		if m.served {
			free = freeCrashes
		}
		g.failed(&CrashError{Reason: reason}, free)
	}
	g.blame("the process ended: "+reason, m.proc.Printed(), m.secrets, now)
}

// looping says whether the key crash-loops.
func (g *group) looping(now time.Time) bool {
	oldest := g.ends[g.nextEnd]
	return g.failures >= loopStarts && now.Before(g.retryAt.Add(lastBackoff)) || !oldest.IsZero() && now.Sub(oldest) < loopTime
}

func (g *group) condition() (waiting int, looping bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiters.Len(), g.looping(time.Now())
}

func (g *group) status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	st := Status{
		State: Idle, Processes: len(g.members), Kept: g.keep, Waiting: g.waiters.Len(), Failures: g.failures,
		LastError: g.cause, LastPrinted: g.printed, LastErrorAt: g.causeTime,
		Secrets: g.given,
	}
	for _, m := range g.members {
		st.OpenCalls += m.open
	}
	if g.failures > 0 && now.Before(g.retryAt) {
		st.RetryAt = g.retryAt
	}
	switch {
	case g.looping(now):
		st.State = CrashLooping
	case g.serving():
		st.State = Ready
	case g.starting:
		st.State = Starting
	}
	return st
}

// fill starts a process if fewer are there than are to be kept, and tells whether
// there is no room for it.
func (g *group) fill() (short bool) {
	if g.ended != nil || g.starting || g.lasting() >= g.keep {
		return false
	}
	if !g.pool.hasRoom(g.spec.Runtime) {
		return true
	}
	g.startIfNeeded()
	return false
}

// look sees how busy the processes are, and has another started when all of them
// are, again and again: a loop that is behind its work makes every call on it wait,
// long before its slots are taken. With one call on a process another would not help.
func (g *group) look(now time.Time) {
	if now.Sub(g.lookedAt) < lookInterval {
		return
	}
	g.lookedAt = now
	if !g.allBusy() {
		g.busy = 0
		return
	}
	g.busy++
	limit := min(g.pool.cfg.MaxProcessesPerKey, g.pool.cfg.Processors)
	if g.busy < busyLooks || g.starting || len(g.members) >= limit || !g.pool.hasRoom(g.spec.Runtime) {
		return
	}
	g.busy = 0
	g.startIfNeeded()
	if g.starting {
		g.pool.counts.added.Add(1)
	}
}

func (g *group) allBusy() bool {
	serving := false
	for _, m := range g.members {
		if m.draining || !m.proc.Available() {
			continue
		}
		if m.open < 2 || m.proc.Lag() < busyLag {
			return false
		}
		serving = true
	}
	return serving
}
