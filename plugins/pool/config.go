package pool

import (
	"runtime"
	"time"
)

// Config bounds a Pool. The zero value of a field means its default.
type Config struct {
	// Prestart is how many blank processes to keep ready, by runtime name. None
	// is kept for a runtime that is not named.
	Prestart map[string]int
	// MaxCallsPerProcess is how many calls may be open on one process (256).
	MaxCallsPerProcess int
	// MaxProcessesPerKey is how many processes may serve one key (4). A process
	// that is draining or blocked counts until it has ended.
	MaxProcessesPerKey int
	// MaxProcesses is how many processes may exist in all, blank ones and
	// builders among them (1024). At the bound the process that has been idle
	// longest makes room.
	MaxProcesses int
	// MaxWaiting is how many calls of one key may wait for a process (1000).
	MaxWaiting int
	// MaxWaitingPerAccount is how many calls of one account may wait (4 · MaxWaiting).
	MaxWaitingPerAccount int
	// Processors is how many processes a key may have because their loops are
	// busy (the machine's processors, 2 at least): more would only take from
	// others. With every slot taken there may be MaxProcessesPerKey.
	Processors int
	// IdleTimeout is how long a process is kept without a call (10 min).
	IdleTimeout time.Duration
	// SpareTimeout is the same for a process that is not its key's only one (1 min).
	SpareTimeout time.Duration
	// DrainTimeout is how long a retired process may take to finish its calls (35 s).
	DrainTimeout time.Duration
	// StartTimeout is how long a start may take from the wish to the loaded
	// process, waiting for room included (30 s).
	StartTimeout time.Duration
	// LoadTimeout is how long user code may take to load (10 s). Taking longer
	// is the author's fault.
	LoadTimeout time.Duration
	// BuildTimeout is how long one attempt to build may take (10 s). A builder that takes
	// longer is replaced.
	BuildTimeout time.Duration
	// StartConcurrency is how many processes may be launched at once (2).
	StartConcurrency int
	// BuildConcurrency is how many builds of one runtime may go on at once (4).
	BuildConcurrency int
}

func (c Config) withDefaults() Config {
	number := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	duration := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	number(&c.MaxCallsPerProcess, 256)
	number(&c.MaxProcessesPerKey, 4)
	number(&c.MaxProcesses, 1024)
	number(&c.MaxWaiting, 1000)
	number(&c.MaxWaitingPerAccount, 4*c.MaxWaiting)
	number(&c.Processors, max(2, runtime.NumCPU()))
	number(&c.StartConcurrency, 2)
	number(&c.BuildConcurrency, 4)
	duration(&c.IdleTimeout, 10*time.Minute)
	duration(&c.SpareTimeout, min(time.Minute, c.IdleTimeout))
	duration(&c.DrainTimeout, 35*time.Second)
	duration(&c.StartTimeout, 30*time.Second)
	duration(&c.LoadTimeout, 10*time.Second)
	duration(&c.BuildTimeout, 10*time.Second)
	return c
}

const (
	// Back-off after failed starts, per key and per runtime.
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 30 * time.Second

	// A process that ends of itself before it has lived for youngAge and before it
	// has answered soundCalls counts as a failed start. If it had a call, the first
	// freeCrashes in a row are followed by no pause: one call can end a process, and
	// the next may be a better one.
	youngAge    = 10 * time.Second
	soundCalls  = 10
	freeCrashes = 3

	// A key crash-loops when so many starts in a row have failed, or so many
	// processes have ended of themselves within loopTime.
	loopStarts = 2
	loopEnds   = 3
	loopTime   = time.Minute

	// A key gets another process when each of those it has had two calls or more
	// open and was busyLag behind, at busyLooks looks in a row. There is a look
	// every lookInterval at most, and while calls come and go about so often.
	lookInterval = 250 * time.Millisecond
	busyLooks    = 3
	busyLag      = 50 * time.Millisecond

	// A process that lags counts as if it had a call more open for every lagOfCall,
	// mostLagCalls at most, when one is chosen for a call.
	lagOfCall    = 100 * time.Millisecond
	mostLagCalls = 4

	// yieldAfter is how long an account waits for a place, when all are taken and
	// nobody is idle, before the account that has most gives one up.
	yieldAfter = time.Second

	// refillPause is how long the replacement of a blank process waits after it
	// was taken: starting one takes the processor from the call that took it.
	refillPause = 50 * time.Millisecond

	// When the machine is full, a runtime of which a process was started within
	// reserveTime gets a blank one in place of a loaded one that has been idle for
	// reserveIdle.
	reserveTime = 10 * time.Second
	reserveIdle = time.Second

	// maxAttempts is how many processes one call tries when they refuse it.
	maxAttempts = 8

	// maxRuntimes bounds the runtimes that the pool remembers.
	maxRuntimes = 256

	// maxRetired bounds the retired keys that the pool remembers. A key names a
	// deployment, and no one asks for one that so many others have followed.
	maxRetired = 8192

	// sweepInterval is how often the janitor looks round.
	sweepInterval = time.Second
)

// backoff is the pause after the nth failure in a row.
func backoff(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	if failures > 7 { // 250 ms · 2^7 is beyond the last
		return lastBackoff
	}
	return firstBackoff << (failures - 1)
}
