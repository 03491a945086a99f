package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Record is a lambda with what is live of it and its last deployment, which may
// be under way, all as of one moment.
type Record struct {
	Lambda *lambda.Lambda
	Live   *lambda.Live       // nil when nothing is live
	Last   *lambda.Deployment // nil before the first deployment
}

// State is the lambda's state as users see it.
func (r Record) State() lambda.State { return lambda.StateOf(r.Lambda, r.Live, r.Last) }

// CreateLambda saves a new lambda as it is given: id, version, times and users
// are the caller's. A name or id that is taken is a Conflict that names the
// field; more lambdas than Limits.Lambdas is a Conflict with CodeLambdaLimit, more
// than its event takes one with CodeEventLimit, and a skill that another lambda of
// the event has one with CodeSkillConflict.
func (s *Store) CreateLambda(ctx context.Context, l *lambda.Lambda, once *Once) (Record, error) {
	k, err := keysOf(l.Account, l.ID)
	if err != nil {
		return Record{}, err
	}
	name, err := key(namesRoot, l.Account, l.Name)
	if err != nil {
		return Record{}, err
	}
	value, err := encode(l)
	if err != nil {
		return Record{}, err
	}
	names := namesRoot + l.Account + "/"
	for range maxAttempts {
		seen, err := s.read(ctx, countOf(names), clientv3.OpGet(name), keyOf(k.lambda))
		if err != nil {
			return Record{}, fmt.Errorf("create lambda %s: %w", l.ID, err)
		}
		if err := s.mayCreate(seen, l); err != nil {
			return Record{}, err
		}
		w := &write{
			when: []clientv3.Cmp{absent(name), absent(k.lambda)},
			then: []clientv3.Op{clientv3.OpPut(k.lambda, value), clientv3.OpPut(name, l.ID)},
		}
		if s.Limits.Lambdas > 0 {
			w.when = append(w.when, noneNewer(names, seen.Header.Revision))
		}
		switch err := s.bind(ctx, l, w); {
		case errors.Is(err, errAgain):
			continue
		case err != nil:
			return Record{}, fmt.Errorf("create lambda %s: %w", l.ID, err)
		}
		r, err := s.commitOnce(ctx, once, l.ID, w.when, w.then)
		if err != nil {
			return Record{}, fmt.Errorf("create lambda %s: %w", l.ID, err)
		}
		if r.Succeeded {
			if len(l.Skills) > 0 {
				s.wrote(r.Header.Revision)
			}
			saved := *l
			return Record{Lambda: &saved}, nil
		}
	}
	return Record{}, overtaken("create lambda " + l.Name)
}

func (s *Store) mayCreate(seen *clientv3.TxnResponse, l *lambda.Lambda) error {
	switch count := count(seen, 0); {
	case first(seen, 1) != nil:
		return nameTaken(l.Name)
	case first(seen, 2) != nil:
		return conflict(lambda.CodeLambdaConflict, "uuid", "uuid %s is taken by another lambda", l.ID)
	case s.Limits.Lambdas > 0 && count >= int64(s.Limits.Lambdas):
		return lambda.Conflict(lambda.CodeLambdaLimit, "the account has %d lambdas: the limit is %d, delete one first", count, s.Limits.Lambdas)
	}
	return nil
}

// Record reads one lambda.
func (s *Store) Record(ctx context.Context, account, id string) (Record, error) {
	r, _, err := s.record(ctx, account, id)
	return r, err
}

// RecordByName reads the lambda of that name.
func (s *Store) RecordByName(ctx context.Context, account, name string) (Record, error) {
	k, err := key(namesRoot, account, name)
	if err != nil {
		return Record{}, noLambda(account, name)
	}
	seen, err := s.read(ctx, clientv3.OpGet(k))
	if err != nil {
		return Record{}, fmt.Errorf("find lambda %s: %w", name, err)
	}
	kv := first(seen, 0)
	if kv == nil {
		return Record{}, noLambda(account, name)
	}
	return s.Record(ctx, account, string(kv.Value))
}

// record reads one lambda and the mod revision of what its author saved.
func (s *Store) record(ctx context.Context, account, id string) (Record, int64, error) {
	k, err := keysOf(account, id)
	if err != nil {
		return Record{}, 0, noLambda(account, id)
	}
	seen, err := s.read(ctx, clientv3.OpGet(k.lambda), clientv3.OpGet(k.live), clientv3.OpGet(k.last), clientv3.OpGet(k.work))
	if err != nil {
		return Record{}, 0, fmt.Errorf("read lambda %s: %w", id, err)
	}
	kv := first(seen, 0)
	if kv == nil {
		return Record{}, 0, noLambda(account, id)
	}
	r, err := decodeRecord(kv, first(seen, 1), first(seen, 2), first(seen, 3))
	return r, kv.ModRevision, err
}

func decodeRecord(saved, live, last, work *mvccpb.KeyValue) (Record, error) {
	var r Record
	var err error
	if r.Lambda, err = decodeNew[lambda.Lambda](saved); err != nil {
		return r, err
	}
	if r.Live, err = decodeNew[lambda.Live](live); err != nil {
		return r, err
	}
	if work != nil { // what is under way began after what has ended
		last = work
	}
	r.Last, err = decodeNew[lambda.Deployment](last)
	return r, err
}

// Records reads all lambdas of an account, the oldest first.
func (s *Store) Records(ctx context.Context, account string) ([]Record, error) {
	for range maxAttempts {
		records, err := s.records(ctx, account)
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue // the moment we began to read is forgotten: begin at another
		}
		if err != nil {
			return nil, fmt.Errorf("list lambdas: %w", err)
		}
		slices.SortFunc(records, func(a, b Record) int {
			if c := a.Lambda.CreatedAt.Compare(b.Lambda.CreatedAt); c != 0 {
				return c
			}
			return strings.Compare(a.Lambda.ID, b.Lambda.ID)
		})
		return records, nil
	}
	return nil, overtaken("list lambdas")
}

func (s *Store) records(ctx context.Context, account string) ([]Record, error) {
	lambdas, err := folder(lambdasRoot, account)
	if err != nil {
		return nil, nil // such an account has none
	}
	var records []Record
	at := map[string]int{}
	revision, err := s.list(ctx, lambdas, 0, func(id string, kv *mvccpb.KeyValue) error {
		l, err := decodeNew[lambda.Lambda](kv)
		at[id] = len(records)
		records = append(records, Record{Lambda: l})
		return err
	})
	if err != nil || len(records) == 0 {
		return nil, err
	}
	return records, s.join(ctx, account, revision, records, at)
}

// join adds what is live and what was deployed last to records, as of revision.
func (s *Store) join(ctx context.Context, account string, revision int64, records []Record, at map[string]int) error {
	live := func(r *Record, kv *mvccpb.KeyValue) (err error) {
		r.Live, err = decodeNew[lambda.Live](kv)
		return err
	}
	last := func(r *Record, kv *mvccpb.KeyValue) (err error) {
		r.Last, err = decodeNew[lambda.Deployment](kv)
		return err
	}
	for _, part := range []struct {
		root string
		set  func(*Record, *mvccpb.KeyValue) error
	}{{liveRoot, live}, {lastRoot, last}, {workRoot, last}} { // what is under way wins
		_, err := s.list(ctx, part.root+account+"/", revision, func(id string, kv *mvccpb.KeyValue) error {
			if i, ok := at[id]; ok {
				return part.set(&records[i], kv)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Counts tells how many lambdas an account has saved and how many are live.
func (s *Store) Counts(ctx context.Context, account string) (total, deployed int, err error) {
	if checkSegment(account) != nil {
		return 0, 0, nil
	}
	r, err := s.read(ctx, countOf(namesRoot+account+"/"), countOf(liveRoot+account+"/"))
	if err != nil {
		return 0, 0, fmt.Errorf("count lambdas: %w", err)
	}
	return int(count(r, 0)), int(count(r, 1)), nil
}

// UpdateLambda changes a saved lambda. version is what the caller last read; if
// another is saved it is a Conflict. change gets a copy to write into and tells
// whether it differs; if not, nothing is stored and false is returned. It may
// not change id, account, event, version or creation, which are put back; the
// version goes up by one. It may be called more than once. A skill that another
// lambda of the event has is a Conflict with CodeSkillConflict.
func (s *Store) UpdateLambda(ctx context.Context, account, id string, version int, change func(*lambda.Lambda) (bool, error)) (Record, bool, error) {
	for range maxAttempts {
		r, revision, err := s.record(ctx, account, id)
		if err != nil {
			return Record{}, false, err
		}
		old := r.Lambda
		if old.Version != version {
			return Record{}, false, conflict(lambda.CodeLambdaConflict, "version",
				"version %d was saved since you read version %d: read the lambda again and repeat your change", old.Version, version)
		}
		next := clone(old)
		changed, err := change(next)
		if err != nil || !changed {
			return r, false, err
		}
		next.Account, next.ID, next.EventID, next.Version = old.Account, old.ID, old.EventID, old.Version+1
		next.CreatedAt, next.CreatedBy = old.CreatedAt, old.CreatedBy
		saved, err := s.replace(ctx, old, next, revision)
		if err != nil {
			return Record{}, false, err
		}
		if saved {
			r.Lambda = next
			return r, true, nil
		}
	}
	return Record{}, false, overtaken("update lambda " + id)
}

// replace writes next over old if that still has its mod revision, moves the name
// and binds the skills.
func (s *Store) replace(ctx context.Context, old, next *lambda.Lambda, revision int64) (bool, error) {
	k, err := keysOf(old.Account, old.ID)
	if err != nil {
		return false, err
	}
	value, err := encode(next)
	if err != nil {
		return false, err
	}
	w := &write{when: []clientv3.Cmp{unchanged(k.lambda, revision)}, then: []clientv3.Op{clientv3.OpPut(k.lambda, value)}}
	var otherwise []clientv3.Op
	if next.Name != old.Name {
		name, err := key(namesRoot, next.Account, next.Name)
		if err != nil {
			return false, err
		}
		w.when = append(w.when, absent(name))
		w.then = append(w.then, clientv3.OpPut(name, next.ID), clientv3.OpDelete(namesRoot+old.Account+"/"+old.Name))
		otherwise = append(otherwise, keyOf(name))
	}
	switch err := s.rebind(ctx, old, next, w); {
	case errors.Is(err, errAgain):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("update lambda %s: %w", old.ID, err)
	}
	r, err := s.commit(ctx, w.when, w.then, otherwise)
	switch {
	case err != nil:
		return false, fmt.Errorf("update lambda %s: %w", old.ID, err)
	case r.Succeeded && !slices.Equal(old.Skills, next.Skills):
		s.wrote(r.Header.Revision)
	case !r.Succeeded && len(otherwise) > 0 && first(r, 0) != nil:
		return false, nameTaken(next.Name)
	}
	return r.Succeeded, nil
}

// DeleteLambda removes a lambda with its versions and its history, if the saved
// version is still the given one; 0 stands for any. While it is live or being
// deployed that is a Conflict.
func (s *Store) DeleteLambda(ctx context.Context, account, id string, version int) error {
	for range maxAttempts {
		r, revision, err := s.record(ctx, account, id)
		switch {
		case err != nil:
			return err
		case version != 0 && r.Lambda.Version != version:
			return lambda.Stale(r.Lambda.Version, version)
		case r.Last != nil && !r.Last.State.Final():
			return lambda.Conflict(lambda.CodeDeploymentConflict, "lambda %s is being deployed or undeployed: wait for its end", r.Lambda.Name)
		case r.Live != nil:
			return lambda.Conflict(lambda.CodeLambdaConflict, "lambda %s is deployed: undeploy it first", r.Lambda.Name)
		}
		deleted, err := s.remove(ctx, r.Lambda, revision)
		if err != nil {
			return fmt.Errorf("delete lambda %s: %w", id, err)
		}
		if deleted {
			return nil
		}
	}
	return overtaken("delete lambda " + id)
}

func (s *Store) remove(ctx context.Context, l *lambda.Lambda, revision int64) (bool, error) {
	k, err := keysOf(l.Account, l.ID)
	if err != nil {
		return false, err
	}
	w := &write{when: []clientv3.Cmp{unchanged(k.lambda, revision), absent(k.live), absent(k.work)}, then: dropSchedule(k)}
	for _, one := range []string{k.lambda, namesRoot + l.Account + "/" + l.Name, k.last, k.warm} {
		w.delete(one)
	}
	for _, folder := range []string{k.versions, k.artifacts, k.history} {
		w.then = append(w.then, clientv3.OpDelete(folder, clientv3.WithPrefix()))
	}
	b, err := bindingOf(l)
	if err != nil {
		return false, err
	}
	if b.lambda != nil {
		w.delete(b.eventsKey)
		w.delete(b.skillsKey)
	}
	r, err := s.commit(ctx, w.when, w.then, nil)
	if err != nil {
		return false, err
	}
	return r.Succeeded, nil
}

// countOf and keyOf ask for less than the values.
func countOf(prefix string) clientv3.Op {
	return clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
}
func keyOf(k string) clientv3.Op { return clientv3.OpGet(k, clientv3.WithKeysOnly()) }

func count(r *clientv3.TxnResponse, i int) int64 { return r.Responses[i].GetResponseRange().GetCount() }

func clone(l *lambda.Lambda) *lambda.Lambda {
	c := *l
	c.Skills, c.Dependencies, c.Environment = slices.Clone(l.Skills), slices.Clone(l.Dependencies), slices.Clone(l.Environment)
	return &c
}

func noLambda(account, id string) error {
	return lambda.NotFound(lambda.CodeMissingLambda, "There is no lambda %.100s on %s", id, account)
}

func nameTaken(name string) error {
	return conflict(lambda.CodeLambdaConflict, "name", "name %s is taken by another lambda of the account: choose another", name)
}

func conflict(code, field, format string, args ...any) error {
	e := lambda.Conflict(code, format, args...)
	e.Field = field
	return e
}
