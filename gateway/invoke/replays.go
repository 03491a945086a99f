package invoke

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// ReplaysConfig bounds Replays. The zero value of a field means its default.
type ReplaysConfig struct {
	Keep    time.Duration    // how long an answer is kept after it came; 10 min
	Entries int              // calls under way and answers kept, in all; 65536
	Bytes   int              // of answers kept, in all; 64 MiB
	Now     func() time.Time // for tests; time.Now
}

// CallKey names a call whose repetitions run once (contract/invocation.md §9).
type CallKey struct {
	account, lambdaID, caller, requestID string
	eventID, skillID                     string // of a call by event, which names no lambda
	manual                               bool   // another kind of token, and another form of answer
	body                                 [sha256.Size]byte
}

// ReplayKey makes the key of an invocation that came with this body. Use it only
// when the caller chose the request id.
func ReplayKey(inv lambda.Invocation, body []byte) CallKey {
	return CallKey{
		account: inv.Account, lambdaID: inv.LambdaID, caller: inv.Caller, requestID: inv.RequestID,
		eventID: inv.EventID, skillID: inv.SkillID, manual: inv.Manual, body: sha256.Sum256(body),
	}
}

// Replays makes repetitions of a call run once: whoever makes it while it is
// under way, or within Keep after, gets the one answer. Answers are kept within
// the bounds of ReplaysConfig; at a bound the oldest are forgotten first. Safe
// for concurrent use; what it returns is shared and must not be changed.
type Replays struct {
	keep       time.Duration
	now        func() time.Time
	maxEntries int // per shard
	maxBytes   int64
	seed       maphash.Seed
	bytes      atomic.Int64
	shards     [replayShards]shard
}

const replayShards = 32

// shard is the part of the calls whose keys hash alike.
type shard struct {
	mu      sync.Mutex
	entries map[CallKey]*replay
	kept    list.List // of *replay that have their answer, oldest first
}

// replay is one call, under way or answered.
type replay struct {
	key     CallKey
	done    chan struct{} // closed when result and err are there
	result  lambda.Result
	err     error
	size    int64
	expires time.Time
	place   *list.Element // in shard.kept; nil while under way
}

// entryCost is what an answer costs beside its texts.
const entryCost = 512

// errPanicked is what followers get of a leader that panicked.
var errPanicked = errors.New("the call panicked")

// NewReplays makes an empty Replays.
func NewReplays(c ReplaysConfig) *Replays {
	if c.Keep <= 0 {
		c.Keep = 10 * time.Minute
	}
	if c.Entries <= 0 {
		c.Entries = 65536
	}
	if c.Bytes <= 0 {
		c.Bytes = 64 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Replays{
		keep: c.Keep, now: c.Now, maxEntries: max(1, c.Entries/replayShards), maxBytes: int64(c.Bytes),
		seed: maphash.MakeSeed(),
	}
	for i := range r.shards {
		r.shards[i].entries = map[CallKey]*replay{}
	}
	return r
}

// Do runs the call, or waits for the answer of the one with the same key that
// is under way, or returns the answer that one got. Outcomes of calls that user
// code cannot have seen (see Ran) are told to those who wait and then forgotten.
//
// run gets a context that does not end when the caller's does, because others
// may wait for the answer: it must bound itself. It runs in the caller's
// goroutine, so Do returns when run does, even if this caller has left; who
// waits for another's run returns when its own ctx ends.
func (r *Replays) Do(ctx context.Context, key CallKey, run func(context.Context) (lambda.Result, error)) (lambda.Result, error) {
	s := &r.shards[maphash.Comparable(r.seed, key)%replayShards]
	entry, leader, err := r.join(s, key)
	if err != nil {
		return lambda.Result{}, err
	}
	if !leader {
		return entry.wait(ctx)
	}
	return r.lead(ctx, s, entry, run)
}

// ReplayStats is a snapshot of Replays.
type ReplayStats struct {
	Entries int   // calls under way and answers kept
	Bytes   int64 // of answers kept
}

// Stats counts what there is now.
func (r *Replays) Stats() ReplayStats {
	st := ReplayStats{Bytes: r.bytes.Load()}
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		st.Entries += len(s.entries)
		s.mu.Unlock()
	}
	return st
}

// join finds the call or enters it.
func (r *Replays) join(s *shard, key CallKey) (entry *replay, leader bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.expire(s)
	if entry = s.entries[key]; entry != nil {
		return entry, false, nil
	}
	if len(s.entries) >= r.maxEntries && !r.forgetOldest(s) {
		return nil, false, &lambda.Error{
			Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Phase: lambda.PhaseQueue, RetryAfter: retryAfter,
			Message: "The gateway has too many calls under way. Try again.",
		}
	}
	entry = &replay{key: key, done: make(chan struct{})}
	s.entries[key] = entry
	return entry, true, nil
}

// lead runs the call and publishes what came of it.
func (r *Replays) lead(ctx context.Context, s *shard, entry *replay, run func(context.Context) (lambda.Result, error)) (lambda.Result, error) {
	entry.err = errPanicked // unless run returns
	defer func() { r.settle(s, entry) }()
	entry.result, entry.err = run(context.WithoutCancel(ctx))
	return entry.result, entry.err
}

func (r *Replays) settle(s *shard, entry *replay) {
	close(entry.done)
	entry.size = sizeOf(entry)
	s.mu.Lock()
	if !Ran(entry.err) || entry.size > r.shrunk() {
		delete(s.entries, entry.key)
		s.mu.Unlock()
		return
	}
	entry.expires = r.now().Add(r.keep)
	entry.place = s.kept.PushBack(entry)
	s.mu.Unlock()
	if r.bytes.Add(entry.size) > r.maxBytes {
		r.shrink()
	}
}

// wait is for those who came while, or after, the call was under way.
func (e *replay) wait(ctx context.Context) (lambda.Result, error) {
	select {
	case <-e.done:
		return e.result, e.err
	default:
	}
	select {
	case <-e.done:
		return e.result, e.err
	case <-ctx.Done():
		return lambda.Result{}, ended(ctx, lambda.PhaseRun, fmt.Errorf("wait for the same call: %w", ctx.Err()))
	}
}

// expire forgets answers that have been kept long enough. Called with s locked,
// as are the next two.
func (r *Replays) expire(s *shard) {
	if s.kept.Len() == 0 {
		return
	}
	now := r.now()
	for e := s.kept.Front(); e != nil && !now.Before(e.Value.(*replay).expires); e = s.kept.Front() {
		r.forget(s, e.Value.(*replay))
	}
}

func (r *Replays) forgetOldest(s *shard) bool {
	oldest := s.kept.Front()
	if oldest == nil {
		return false
	}
	r.forget(s, oldest.Value.(*replay))
	return true
}

func (r *Replays) forget(s *shard, entry *replay) {
	s.kept.Remove(entry.place)
	delete(s.entries, entry.key)
	r.bytes.Add(-entry.size)
}

// shrink forgets answers, expired ones first, then the oldest of all, until
// their bytes are well within the bound, so that it is not called for every call.
func (r *Replays) shrink() {
	for i := range r.shards {
		other := &r.shards[i]
		other.mu.Lock()
		r.expire(other)
		other.mu.Unlock()
	}
	for r.bytes.Load() > r.shrunk() {
		oldest := r.oldestShard()
		if oldest == nil {
			return
		}
		oldest.mu.Lock()
		r.forgetOldest(oldest)
		oldest.mu.Unlock()
	}
}

// shrunk is how many bytes may be left after a shrink.
func (r *Replays) shrunk() int64 { return r.maxBytes - r.maxBytes/16 }

// oldestShard finds the shard with the oldest answer of all.
func (r *Replays) oldestShard() *shard {
	var found *shard
	var expires time.Time
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		if e := s.kept.Front(); e != nil {
			if at := e.Value.(*replay).expires; found == nil || at.Before(expires) {
				found, expires = s, at
			}
		}
		s.mu.Unlock()
	}
	return found
}

func sizeOf(e *replay) int64 {
	n := entryCost + len(e.key.requestID) + len(e.result.Payload)
	logs := e.result.Logs
	if failure := lambda.As(e.err); failure != nil {
		n += len(failure.Message)
		logs = failure.Logs
	}
	for _, r := range logs {
		n += recordCost + len(r.Message) + len(r.Extras)
	}
	return int64(n)
}
