package schedule

import "time"

// Clock tells the time. Tests have one that they can set.
type Clock interface {
	Now() time.Time
	// Timer gives a channel that gets a value when d has passed, and a function
	// that ends it.
	Timer(d time.Duration) (<-chan time.Time, func())
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Timer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}
