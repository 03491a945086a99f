package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// binding is where the store keeps that a saved lambda is bound to an event, and
// to skills of it. The zero binding is that of a lambda without an event.
type binding struct {
	lambda *lambda.Lambda
	// The folders hold a key for each lambda of the event: all of them, and those
	// with skills. The keys are this lambda's own.
	events, skills       string
	eventsKey, skillsKey string
}

// bindingOf gives none for an event whose name cannot be a key: earlier versions
// took any name.
func bindingOf(l *lambda.Lambda) (binding, error) {
	if l.EventID == "" {
		return binding{}, nil
	}
	tail, err := key("", l.Account, l.EventID)
	if err != nil {
		if len(l.Skills) > 0 {
			return binding{}, err
		}
		return binding{}, nil
	}
	b := binding{lambda: l, events: eventsRoot + tail + "/", skills: skillsRoot + tail + "/"}
	b.eventsKey, b.skillsKey = b.events+l.ID, b.skills+l.ID
	return b, nil
}

// bind adds to the write of a new lambda what binds it. An event that has its
// Limit of lambdas of the account is a Conflict with CodeEventLimit.
func (s *Store) bind(ctx context.Context, l *lambda.Lambda, w *write) error {
	b, err := bindingOf(l)
	if err != nil || b.lambda == nil {
		return err
	}
	event, ok := lambda.EventByID(l.EventID)
	if ok {
		seen, err := s.read(ctx, countOf(b.events))
		if err != nil {
			return err
		}
		if n := count(seen, 0); n >= int64(event.Limit) {
			return s.full(ctx, b, event, n)
		}
		w.when = append(w.when, noneNewer(b.events, seen.Header.Revision))
	}
	w.then = append(w.then, clientv3.OpPut(b.eventsKey, ""))
	return s.bindSkills(ctx, b, w)
}

// full says that an event has no room, unless some of its lambdas are gone.
func (s *Store) full(ctx context.Context, b binding, event lambda.Event, n int64) error {
	freed, err := s.forgetGone(ctx, b.lambda.Account, b.events)
	switch {
	case err != nil:
		return err
	case freed:
		return errAgain
	}
	lambdas := "lambdas"
	if n == 1 {
		lambdas = "lambda"
	}
	return conflict(lambda.CodeEventLimit, "eventId", "event %s (%s) is full: the account has %d %s of it and the limit is %d: delete one of them, or choose another event",
		event.Name, event.ID, n, lambdas, event.Limit)
}

// rebind adds to the write of a change what binds the lambda from then on.
func (s *Store) rebind(ctx context.Context, old, next *lambda.Lambda, w *write) error {
	b, err := bindingOf(next)
	if err != nil || b.lambda == nil {
		return err
	}
	// It is there already, unless a gateway from before this folder made it.
	w.then = append(w.then, clientv3.OpPut(b.eventsKey, ""))
	if slices.Equal(old.Skills, next.Skills) {
		return nil
	}
	return s.bindSkills(ctx, b, w)
}

// bindSkills adds the skills of a lambda to its write. One that another lambda of
// the event has is a Conflict with CodeSkillConflict.
func (s *Store) bindSkills(ctx context.Context, b binding, w *write) error {
	if len(b.lambda.Skills) == 0 {
		w.delete(b.skillsKey)
		return nil
	}
	revision, err := s.list(ctx, b.skills, 0, func(id string, kv *mvccpb.KeyValue) error {
		if id == b.lambda.ID {
			return nil
		}
		return s.checkSkills(ctx, b, id, kv)
	})
	if err != nil {
		return err
	}
	w.when = append(w.when, noneChanged(b.skills, revision))
	return w.put(b.skillsKey, b.lambda.Skills)
}

// checkSkills looks whether another lambda has one of b's skills.
func (s *Store) checkSkills(ctx context.Context, b binding, id string, kv *mvccpb.KeyValue) error {
	taken, err := decodeNew[[]string](kv)
	if err != nil {
		return err
	}
	for _, skill := range b.lambda.Skills {
		if !slices.Contains(*taken, skill) {
			continue
		}
		other, err := s.Record(ctx, b.lambda.Account, id)
		if lambda.Is(err, lambda.KindNotFound) {
			if _, err := s.forgetGone(ctx, b.lambda.Account, b.skills); err != nil {
				return err
			}
			return errAgain
		}
		if err != nil {
			return err
		}
		return conflict(lambda.CodeSkillConflict, "skills", "skill %s is bound to lambda %s (%s), which answers the same event: take it away there first, or leave it out here",
			skill, other.Lambda.Name, id)
	}
	return nil
}

// errAgain says that a write has to be put together anew.
var errAgain = errors.New("the store was cleared up meanwhile")

// forgetGone deletes the keys below a folder of an event whose lambdas are gone,
// and tells whether there were any. Gateways from before these folders leave them
// behind when they delete a lambda.
func (s *Store) forgetGone(ctx context.Context, account, folder string) (bool, error) {
	freed := false
	_, err := s.list(ctx, folder, 0, func(id string, kv *mvccpb.KeyValue) error {
		k, err := keysOf(account, id)
		if err != nil {
			return err
		}
		r, err := s.commit(ctx, []clientv3.Cmp{absent(k.lambda)}, []clientv3.Op{clientv3.OpDelete(string(kv.Key))}, nil)
		if err != nil {
			return err
		}
		freed = freed || r.Succeeded
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look for lambdas that are gone: %w", err)
	}
	return freed, nil
}

// indexEvents writes which lambdas are bound to which event for those that
// gateways saved who kept no such folder. It is done once.
func (s *Store) indexEvents(ctx context.Context) error {
	seen, err := s.read(ctx, keyOf(eventsIndexed))
	if err != nil || first(seen, 0) != nil {
		return err
	}
	_, err = s.list(ctx, lambdasRoot, 0, func(_ string, kv *mvccpb.KeyValue) error {
		l, err := decodeNew[lambda.Lambda](kv)
		if err != nil {
			s.log.Error().Err(err).Msg("a lambda in etcd cannot be read and counts for no event")
			return nil
		}
		b, err := bindingOf(l)
		if err != nil || b.lambda == nil || !strings.HasSuffix(string(kv.Key), "/"+l.ID) {
			return nil
		}
		// One that is deleted meanwhile must leave nothing behind.
		_, err = s.commit(ctx, []clientv3.Cmp{exists(string(kv.Key))}, []clientv3.Op{clientv3.OpPut(b.eventsKey, "")}, nil)
		return err
	})
	if err == nil {
		_, err = s.commit(ctx, nil, []clientv3.Op{clientv3.OpPut(eventsIndexed, "")}, nil)
	}
	if err != nil {
		return fmt.Errorf("index the lambdas of events: %w", err)
	}
	return nil
}
