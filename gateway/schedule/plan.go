package schedule

import (
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// maxMissed bounds how many missed runs are counted at once: a week of one a
// minute. More count as so many.
const maxMissed = 7 * 24 * 60

// plan is what is to be done about a schedule at some moment.
type plan struct {
	due    time.Time // of the run to make; zero if there is none
	missed int       // runs that were due before that and are not made any more
	since  time.Time // the first of those was due then
	until  time.Time // no other was due after that
}

// planAt tells what is to be done at now about the runs that are due after that
// time. Only the newest is made, and only if it was due within grace.
func planAt(times Times, after, now time.Time, grace time.Duration) plan {
	var p plan
	tooOld := now.Add(-grace)
	next := times.Next(after)
	for ; !next.IsZero() && !next.After(tooOld); next = times.Next(next) {
		if p.missed == maxMissed {
			p.until = tooOld
			next = times.Next(tooOld)
			break
		}
		p.miss(next)
	}
	for ; !next.IsZero() && !next.After(now); next = times.Next(next) {
		if !p.due.IsZero() {
			p.miss(p.due)
		}
		p.due = next
	}
	return p
}

func (p *plan) miss(due time.Time) {
	if p.missed == 0 {
		p.since = due
	}
	p.missed++
	p.until = due
}

// runs is what is to be recorded, but for the run that is made.
func (p plan) runs(s *lambda.Schedule, old *lambda.Runs) lambda.Runs {
	r := lambda.Runs{ScheduleID: s.ID}
	if old != nil {
		r = *old
	}
	r.From = s.From
	if p.missed > 0 {
		if r.Missed == 0 {
			r.MissedSince = p.since
		}
		r.Missed += p.missed
		r.MissedUntil, r.Due = p.until, p.until
	}
	if !p.due.IsZero() {
		r.Due = p.due
	}
	return r
}
