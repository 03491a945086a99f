package pool

import "time"

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
	// IdleTimeout is how long a process is kept without a call (10 min).
	IdleTimeout time.Duration
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
	number(&c.StartConcurrency, 2)
	number(&c.BuildConcurrency, 4)
	duration(&c.IdleTimeout, 10*time.Minute)
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

	// youngAge is how long a loaded process must live without a call before
	// its end no longer counts as a failed start.
	youngAge = 10 * time.Second

	// refillPause is how long the replacement of a blank process waits after it
	// was taken: starting one takes the processor from the call that took it.
	refillPause = 50 * time.Millisecond

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
