package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	pace          = 2_000 // calls in a second, of the section journal
	pacers        = 20
	linesOfCall   = 3
	journalCost   = 3.0 // percent of the gateway's processor time
	recordsAim    = 20_000
	pageAim       = time.Second
	textAim       = 5 * time.Second
	queryRounds   = 3
	journalTenant = "12345678"
	busy          = "busy"
)

// talkative is a lambda that logs what a lambda at work may log.
const talkative = `function lambda(input, callback) {
  console.info('order of ' + input.payload.name + ' came in', { items: [1, 2, 3] })
  console.info('the warehouse has everything')
  console.warn('one item is the last')
  callback(null, { message: 'Hello, ' + input.payload.name + '!' })
}
`

// journal measures what keeping calls and logs costs the calls, how much can be
// kept, and how long questions take.
func (b *bench) journal(ctx context.Context) error {
	if err := b.journalOfCalls(ctx); err != nil {
		return err
	}
	if err := b.journalWrites(ctx); err != nil {
		return err
	}
	for _, c := range []corpus{
		{name: "over 10 lambdas and 5 days", lambdas: 10, days: 5, rare: "CUSTOMER 4711"},
		{name: "all of one lambda's day", lambdas: 1, days: 1, rare: "CUSTOMER 4711 "},
	} {
		if err := b.journalQueries(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// journalOfCalls measures what the journal adds to the processor time of a call,
// when calls come at a steady pace. There is no gateway without a journal to
// compare with: so a gateway gets the calls, and this process the same entries,
// with a journal and without.
func (b *bench) journalOfCalls(ctx context.Context) (err error) {
	g, err := b.gateway(ctx, "journal")
	if err != nil {
		return err
	}
	defer end(g, &err)
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return err
	}
	app, err := g.AppClient()
	if err != nil {
		return err
	}
	token, err := app.Token(ctx)
	if err != nil {
		return err
	}
	for _, l := range []struct {
		name, code string
		lines      int
	}{{"silent", namedHello("silent"), 0}, {"talkative", talkative, linesOfCall}} {
		id, err := deploy(ctx, author, l.name, l.code)
		if err != nil {
			return err
		}
		if err := b.costOfCall(ctx, callTarget(g, l.name, id, token), l.lines); err != nil {
			return err
		}
	}
	return nil
}

// costOfCall measures one lambda.
func (b *bench) costOfCall(ctx context.Context, t target, lines int) error {
	if _, err := t.paced(ctx, 2*time.Second); err != nil { // warms
		return err
	}
	own, below := dev.CPUTime(t.pid)
	calls, err := t.paced(ctx, b.duration)
	if err != nil {
		return err
	}
	ownAfter, belowAfter := dev.CPUTime(t.pid)
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(calls) }
	gateway, process := each(ownAfter-own), each(belowAfter-below)
	cost, err := b.costOfEntry(ctx, lines)
	if err != nil {
		return err
	}
	share := 100 * cost / gateway
	b.report.add(row{
		measure: fmt.Sprintf("journal of a call with %d log lines, %d/s", lines, pace),
		ours:    fmt.Sprintf("%.1f µs", cost), peer: fmt.Sprintf("gateway %.0f µs + process %.0f µs", gateway, process),
		ratio: fmt.Sprintf("%.1f %%", share), aim: fmt.Sprintf("≤ %.0f %%", journalCost), met: share <= journalCost,
	})
	b.report.note("journal of a call with %d log lines: processor time of this process with its entries added at the pace of the calls, less that without a journal; ratio to the gateway's own processor time of a call (%.0f calls/s came through)", lines, float64(calls)/b.duration.Seconds())
	return nil
}

// costOfEntry is the processor time that a journal takes for an entry, in µs.
func (b *bench) costOfEntry(ctx context.Context, lines int) (float64, error) {
	s, err := b.newScribe(fmt.Sprint("cost ", lines))
	if err != nil {
		return 0, err
	}
	entries := make([]journal.Entry, pace)
	for i := range entries {
		entries[i] = s.entry(i, busy, time.Now())
		entries[i].Logs = entries[i].Logs[:lines]
	}
	var with, without float64
	for range b.rounds { // in turns, so that both meet the machine's moods
		var none, all float64
		if none, err = s.pacedCost(ctx, b.duration, entries, func(journal.Entry) {}); err != nil {
			break
		}
		if all, err = s.pacedCost(ctx, b.duration, entries, s.journal.Add); err != nil {
			break
		}
		with, without = with+all, without+none
	}
	return (with - without) / float64(b.rounds), errors.Join(err, s.journal.Close(ctx))
}

// pacedCost hands entries on at the pace, and gives the processor time of one, in µs.
func (s *scribe) pacedCost(ctx context.Context, d time.Duration, entries []journal.Entry, hand func(journal.Entry)) (float64, error) {
	runtime.GC()
	begin, before, made := time.Now(), ownTime(), 0
	for time.Since(begin) < d {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
		for ; made < int(time.Since(begin).Seconds()*pace); made++ {
			now := time.Now()
			s.now.Store(now.UnixNano())
			e := entries[made%len(entries)]
			e.At = now
			hand(e)
		}
	}
	if err := s.journal.Flush(ctx); err != nil {
		return 0, err
	}
	return float64((ownTime() - before).Microseconds()) / float64(max(1, made)), nil
}

// ownTime is the processor time of this process.
func ownTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// paced calls the target at the pace for a while, and gives the number of calls.
func (t target) paced(ctx context.Context, d time.Duration) (int64, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: pacers, MaxConnsPerHost: pacers}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var calls atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for p := range pacers {
		wg.Go(func() {
			const interval = pacers * time.Second / pace
			due := begin.Add(time.Duration(p) * interval / pacers)
			for due.Before(begin.Add(d)) && pause(ctx, time.Until(due)) == nil {
				if err := t.callOnce(ctx, client); err != nil {
					cancel(err)
					return
				}
				calls.Add(1)
				due = due.Add(interval)
			}
		})
	}
	wg.Wait()
	return calls.Load(), context.Cause(ctx)
}

func (t target) callOnce(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(callBody))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+t.token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s answered %s", t.name, resp.Status))
	}
	return errors.Join(err, resp.Body.Close())
}

// scribe writes invocations to a journal in this process, at times of its own.
type scribe struct {
	journal *journal.Journal
	now     atomic.Int64
	count   int
	spent   time.Duration // in Add and in waiting until all is written
	adding  time.Duration
}

func (b *bench) newScribe(folder string) (*scribe, error) {
	s := &scribe{}
	limits := lambda.DefaultLimits()
	limits.JournalSize = 1 << 20
	j, err := journal.Open(journal.Config{
		Dir: filepath.Join(b.dir, folder), Log: zerolog.Nop(), Limits: limits, Now: func() time.Time { return time.Unix(0, s.now.Load()) },
	})
	s.journal = j
	return s, err
}

// write adds entries and waits until they are written.
func (s *scribe) write(ctx context.Context, entries []journal.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	s.now.Store(entries[len(entries)-1].At.Add(time.Millisecond).UnixNano())
	begin := time.Now()
	for i := range entries {
		s.journal.Add(entries[i])
	}
	s.adding += time.Since(begin)
	err := s.journal.Flush(ctx)
	s.spent += time.Since(begin)
	s.count += len(entries)
	return err
}

// entry is an invocation with its lines, of which each thousandth has an error.
func (s *scribe) entry(i int, lambdaID string, at time.Time) journal.Entry {
	e := journal.Entry{
		Account: journalTenant, LambdaID: lambdaID, LambdaName: "orders", Version: 7, RequestID: uuid.NewString(), Caller: "f3b1c6d2",
		Trigger: lambda.TriggerCall, At: at, Queue: 40 * time.Microsecond, Run: time.Duration(300+i%977) * time.Microsecond,
		State: journal.Succeeded, Logs: make([]lambda.LogRecord, linesOfCall),
	}
	for n := range e.Logs {
		level := "Info"
		if i%1000 == 0 && n == linesOfCall-1 {
			level = "Error"
		}
		e.Logs[n] = lambda.LogRecord{
			Level: level, Timestamp: at.UnixMilli(), Extras: json.RawMessage(fmt.Sprintf(`[{"order":%d,"articles":[%d,%d,%d]}]`, i, i%8191, i%1021, i%127)),
			Message: fmt.Sprintf("Order %d of customer %d goes to the warehouse, step %d", i*7919%1_000_003, i*31%99_991, n),
		}
	}
	return e
}

// journalWrites measures how many records a journal takes when they come in bursts.
func (b *bench) journalWrites(ctx context.Context) error {
	for _, c := range []struct {
		measure string
		lambdas int
		aim     float64 // none: a batch has no more than some of each lambda
	}{{"of one lambda", 1, recordsAim}, {"of 1 000 lambdas", 1_000, 0}} {
		s, err := b.newScribe("writes " + c.measure)
		if err != nil {
			return err
		}
		begin, at := time.Now(), time.Now()
		for time.Since(begin) < min(b.duration, 5*time.Second) && err == nil {
			entries := make([]journal.Entry, 4_000)
			for i := range entries {
				at = at.Add(10 * time.Microsecond)
				entries[i] = s.entry(s.count+i, fmt.Sprint("lambda-", i%c.lambdas), at)
			}
			err = s.write(ctx, entries)
		}
		stats := s.journal.Stats()
		if err = errors.Join(err, s.journal.Close(ctx)); err != nil {
			return err
		}
		if stats.Written != uint64(s.count) {
			return fmt.Errorf("the journal wrote %d of %d: %v", stats.Written, s.count, stats.Dropped)
		}
		rate := float64(s.count) / s.spent.Seconds()
		r := row{
			measure: fmt.Sprintf("journal, records with %d lines %s", linesOfCall, c.measure),
			ours:    fmt.Sprintf("%.0f/s (Add %.2f µs)", rate, float64(s.adding.Nanoseconds())/1e3/float64(s.count)),
		}
		if c.aim > 0 {
			r.aim, r.met = fmt.Sprintf("≥ %.0f/s", c.aim), rate >= c.aim
		}
		b.report.add(r)
	}
	return nil
}

// corpus is how the lines are spread.
type corpus struct {
	name          string
	lambdas, days int
	rare          string // a text that less than a page of lines have
}

// journalQueries measures questions about one lambda's day in a journal of many
// lines: each a page of 100.
func (b *bench) journalQueries(ctx context.Context, c corpus) error {
	s, err := b.newScribe("queries " + c.name)
	if err != nil {
		return err
	}
	first := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -c.days)
	err = b.writeCorpus(ctx, s, c, first)
	if err == nil {
		s.now.Store(first.AddDate(0, 0, c.days).UnixNano())
		err = b.askCorpus(ctx, s, c, first)
	}
	return errors.Join(err, s.journal.Close(ctx))
}

// writeCorpus writes b.lines lines, evenly over time.
func (b *bench) writeCorpus(ctx context.Context, s *scribe, c corpus, first time.Time) error {
	n := b.lines / linesOfCall
	step := time.Duration(c.days) * 24 * time.Hour / time.Duration(n)
	entries := make([]journal.Entry, 0, 4_000)
	for i := range n {
		id := busy
		if k := i % c.lambdas; k > 0 {
			id = fmt.Sprint("lambda-", k)
		}
		e := s.entry(i, id, first.Add(time.Duration(i)*step))
		if entries = append(entries, e); len(entries) < cap(entries) && i < n-1 {
			continue
		}
		if err := s.write(ctx, entries); err != nil {
			return err
		}
		entries = entries[:0]
	}
	b.report.note("%d log lines %s: written in %.0f s", b.lines, c.name, s.spent.Seconds())
	return nil
}

// askCorpus asks for lines of a day in the middle.
func (b *bench) askCorpus(ctx context.Context, s *scribe, c corpus, first time.Time) error {
	day := first.AddDate(0, 0, c.days/2)
	for _, ask := range []struct {
		what string
		q    journal.LogQuery
		aim  time.Duration
	}{
		{"by time", journal.LogQuery{From: day.Add(12 * time.Hour), To: day.Add(13 * time.Hour), Newest: true}, pageAim},
		{"by level", journal.LogQuery{Levels: []string{"Error"}}, pageAim},
		{"by a level that is not there", journal.LogQuery{Levels: []string{"Warn"}}, pageAim},
		{"full text, few found", journal.LogQuery{Text: c.rare}, textAim},
		{"full text, nothing found", journal.LogQuery{Text: "warehouse, step 9"}, textAim},
	} {
		q := ask.q
		q.Account, q.LambdaID = journalTenant, busy
		if q.To.IsZero() {
			q.From, q.To = day, day.AddDate(0, 0, 1)
		}
		var worst time.Duration
		var found int
		for range queryRounds {
			begin := time.Now()
			page, err := s.journal.Logs(ctx, q)
			if err != nil {
				return err
			}
			if len(page.Missing) > 0 {
				return fmt.Errorf("the journal lacks %v", page.Missing)
			}
			worst, found = max(worst, time.Since(begin)), len(page.Lines)
		}
		b.report.add(row{
			measure: fmt.Sprintf("one lambda's day %s, %d lines %s", ask.what, b.lines, c.name), ours: fmt.Sprintf("%s (%d found)", milliseconds(worst), found),
			aim: fmt.Sprintf("≤ %.0f s", ask.aim.Seconds()), met: worst <= ask.aim,
		})
	}
	return nil
}
