package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// resyncAfter is how long a watch is trusted. Then the folder is listed anew,
	// so nothing that a watch ever missed stays wrong for longer.
	resyncAfter = 5 * time.Minute
	// progressAfter is how long WaitFor waits for an event before it asks etcd
	// whether there is one.
	progressAfter = 20 * time.Millisecond

	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

var errClosed = errors.New("closed")

// copied is a copy in memory of a folder of etcd. A follower calls it from one
// goroutine, in the order of revisions.
type copied interface {
	// reset replaces everything by what was listed.
	reset([]*mvccpb.KeyValue)
	// change takes the events of one or more whole revisions.
	change([]*clientv3.Event)
}

// follower keeps a copy of a folder up to date: it lists the folder at a
// revision, watches from the next one, and begins anew when the watch cannot go
// on or is old. While etcd is away the copy stays as it is.
type follower struct {
	store  *Store
	log    zerolog.Logger
	prefix string
	copy   copied
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	revision int64 // all of the folder is known up to here
	changed  chan struct{}
}

// follow lists prefix into c and keeps it up to date until close.
func (s *Store) follow(ctx context.Context, prefix string, c copied) (*follower, error) {
	f := &follower{
		store: s, log: s.log.With().Str("folder", prefix).Logger(), prefix: prefix, copy: c,
		done: make(chan struct{}), changed: make(chan struct{}),
	}
	if err := f.list(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", prefix, err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.cancel = cancel
	go f.run(run)
	return f, nil
}

func (f *follower) close() {
	f.cancel()
	<-f.done
}

func (f *follower) run(ctx context.Context) {
	defer close(f.done)
	for ctx.Err() == nil {
		if err := f.watch(ctx); err != nil && ctx.Err() == nil {
			f.log.Info().Err(err).Msg("a watch ended: list the folder again")
		}
		f.relist(ctx)
	}
}

// relist lists until it succeeds.
func (f *follower) relist(ctx context.Context) {
	for wait := minBackoff; ctx.Err() == nil; wait = min(2*wait, maxBackoff) {
		err := f.list(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		f.log.Warn().Err(err).Dur("wait", wait).Msg("etcd does not answer: what is known is kept")
		sleep(ctx, wait/2+rand.N(wait))
	}
}

func (f *follower) list(ctx context.Context) error {
	var kvs []*mvccpb.KeyValue
	revision, err := f.store.list(ctx, f.prefix, 0, func(_ string, kv *mvccpb.KeyValue) error {
		kvs = append(kvs, kv)
		return nil
	})
	if err != nil {
		return err
	}
	f.copy.reset(kvs)
	f.reached(revision)
	return nil
}

// watch applies events until the watch ends: by ctx, by age, by compaction, or
// because its member of etcd has lost the others.
func (f *follower) watch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), resyncAfter)
	defer cancel()
	events := f.store.client.Watch(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithRev(f.at()+1))
	for r := range events {
		if err := r.Err(); err != nil {
			return err
		}
		if r.IsProgressNotify() {
			f.reached(r.Header.Revision)
			continue
		}
		if n := len(r.Events); n > 0 {
			f.copy.change(r.Events)
			f.reached(r.Events[n-1].Kv.ModRevision)
		}
	}
	return nil
}

func (f *follower) at() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

func (f *follower) reached(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision = max(f.revision, revision)
	close(f.changed)
	f.changed = make(chan struct{})
}

// next gives what is known and a channel that closes when more is.
func (f *follower) next() (int64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision, f.changed
}

// waitFor returns when everything up to revision is known.
func (f *follower) waitFor(ctx context.Context, revision int64) error {
	known, changed := f.next()
	if known >= revision {
		return nil
	}
	timer := time.NewTimer(progressAfter)
	defer timer.Stop()
	for known < revision {
		select {
		case <-changed:
		case <-timer.C:
			// The revision may have changed nothing in this folder, so that no event
			// comes: ask how far the watch is.
			if err := f.store.client.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil && ctx.Err() == nil {
				f.log.Debug().Err(err).Msg("etcd did not tell its progress")
			}
			timer.Reset(progressAfter)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.done:
			return errClosed
		}
		known, changed = f.next()
	}
	return nil
}

// followed is what the copies that a follower keeps have in common.
type followed struct{ follower *follower }

// Close stops following. Lookups go on answering.
func (f *followed) Close() { f.follower.close() }

// WaitFor returns when everything up to revision is known: after
// WaitFor(ctx, store.Written()) a gateway sees its own writes.
func (f *followed) WaitFor(ctx context.Context, revision int64) error {
	return f.follower.waitFor(ctx, revision)
}

// Changed gives a channel that is closed at the next change. Take it before
// looking, and no change is missed.
func (f *followed) Changed() <-chan struct{} {
	_, changed := f.follower.next()
	return changed
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
