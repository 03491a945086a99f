package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// SetMinWarm has n processes of a lambda kept ready on each gateway, though nobody
// calls, from when a version of it is live; 0 ends that. It tells what was set
// before. With it the account may have no more than Limits.MinWarm in all: else it
// is a Conflict with CodeLambdaLimit.
func (s *Store) SetMinWarm(ctx context.Context, account, id string, n int) (before int, err error) {
	k, err := keysOf(account, id)
	if err != nil {
		return 0, noLambda(account, id)
	}
	folder := warmRoot + account + "/"
	for range maxAttempts {
		seen, err := s.read(ctx, keyOf(k.lambda), clientv3.OpGet(folder, clientv3.WithPrefix()))
		if err != nil {
			return 0, fmt.Errorf("keep lambda %s warm: %w", id, err)
		}
		if first(seen, 0) == nil {
			return 0, noLambda(account, id)
		}
		before, others := 0, 0
		for _, kv := range all(seen, 1) {
			set, err := decodeNew[int](kv)
			if err != nil {
				return 0, err
			}
			if string(kv.Key) == k.warm {
				before = *set
			} else {
				others += *set
			}
		}
		switch limit := s.Limits.MinWarm; {
		case n == before:
			return before, nil
		case n > before && limit > 0 && others+n > limit:
			return 0, conflict(lambda.CodeLambdaLimit, "minWarm", "minWarm %d is too many: the limit of the account is %d, "+
				"and its other lambdas have %d: lower this or theirs", n, limit, others)
		}
		saved, err := s.putMinWarm(ctx, k, n, noneNewer(folder, seen.Header.Revision))
		if err != nil {
			return 0, fmt.Errorf("keep lambda %s warm: %w", id, err)
		}
		if saved {
			return before, nil
		}
	}
	return 0, overtaken("keep lambda " + id + " warm")
}

func (s *Store) putMinWarm(ctx context.Context, k lambdaKeys, n int, unchanged clientv3.Cmp) (bool, error) {
	w := &write{when: []clientv3.Cmp{exists(k.lambda), unchanged}}
	if n == 0 {
		w.delete(k.warm)
	} else if err := w.put(k.warm, n); err != nil {
		return false, err
	}
	r, err := s.commit(ctx, w.when, w.then, nil)
	if err != nil {
		return false, err
	}
	if r.Succeeded {
		s.wrote(r.Header.Revision)
	}
	return r.Succeeded, nil
}

// MinWarm tells how many processes of a lambda are to be kept ready on each gateway.
func (v *Views) MinWarm(account, lambdaID string) int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if n := v.held.warm[ids{account, lambdaID}]; n != nil {
		return *n
	}
	return 0
}

// OnMinWarm has f called for every lambda that has a MinWarm, and again after every
// change of one. f must return soon: all changes wait for it.
func (v *Views) OnMinWarm(f func(account, lambdaID string)) {
	v.mu.Lock()
	v.onWarm = append(v.onWarm, f)
	var known []ids
	for id := range v.held.warm {
		known = append(known, id)
	}
	v.mu.Unlock()
	for _, id := range known {
		f(id.account, id.id)
	}
}

func (v *Views) tellWarm(changed []ids) {
	v.mu.RLock()
	listeners := v.onWarm
	v.mu.RUnlock()
	for _, id := range changed {
		for _, f := range listeners {
			f(id.account, id.id)
		}
	}
}

// rewarmed are the lambdas whose MinWarm is another.
func rewarmed(old, now map[ids]*int) []ids {
	var changed []ids
	for id := range old {
		if now[id] == nil {
			changed = append(changed, id)
		}
	}
	for id, n := range now {
		if was := old[id]; was == nil || *was != *n {
			changed = append(changed, id)
		}
	}
	return changed
}
