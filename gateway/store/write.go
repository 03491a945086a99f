package store

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// write is one transaction while it is put together: what must still hold when
// it is committed, and what it then does.
type write struct {
	key  string // of what it is about
	when []clientv3.Cmp
	then []clientv3.Op
}

func (w *write) put(k string, v any) error {
	value, err := encode(v)
	if err == nil {
		w.then = append(w.then, clientv3.OpPut(k, value))
	}
	return err
}

func (w *write) delete(k string) { w.then = append(w.then, clientv3.OpDelete(k)) }

// update changes what is at k as decide says, who gets nil when nothing is
// there, and adds to the write what is to be done. When another write comes in
// between, decide is asked again with what that left; so it must change nothing
// but the write. A write that does nothing is not made.
func update[T any](ctx context.Context, s *Store, what, k string, decide func(old *T, w *write) error) error {
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(k))
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		kv := first(seen, 0)
		old, err := decodeNew[T](kv)
		if err != nil {
			return err
		}
		w := &write{key: k, when: []clientv3.Cmp{unchanged(k, modRevision(kv))}}
		if err := decide(old, w); err != nil {
			return err
		}
		if len(w.then) == 0 {
			return nil
		}
		r, err := s.commit(ctx, w.when, w.then, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if r.Succeeded {
			if !strings.HasPrefix(k, timesRoot) { // of which views hold nothing
				s.wrote(r.Header.Revision)
			}
			return nil
		}
	}
	return overtaken(what)
}

// existing is update of what must be there: where nothing is, or nothing can be,
// it is NotFound.
func existing[T any](ctx context.Context, s *Store, verb, noun, folder, account, name string, decide func(old *T, w *write) error) error {
	k, err := key(folder, account, name)
	if err != nil {
		return missing(noun, name)
	}
	return update(ctx, s, verb+" "+noun+" "+name, k, func(old *T, w *write) error {
		if old == nil {
			return missing(noun, name)
		}
		return decide(old, w)
	})
}

// remove deletes what must be there, if may, which may be nil, has nothing
// against it; also adds what goes with it.
func remove[T any](ctx context.Context, s *Store, noun, folder, account, name string, may func(*T) error, also func(old *T, w *write) error) error {
	return existing(ctx, s, "delete", noun, folder, account, name, func(old *T, w *write) error {
		if may != nil {
			if err := may(old); err != nil {
				return err
			}
		}
		w.delete(w.key)
		return also(old, w)
	})
}

// creation is something new of which there may be only so many.
type creation struct {
	what   string      // for messages
	folder string      // has one key for each that there is
	limit  int         // 0: none
	full   string      // the message when there are that many; it gets their number and the limit
	free   []condition // what must not be there yet
	needs  []condition // what must be there
	then   []clientv3.Op
}

// condition is a key and the error when it is not as it should be.
type condition struct {
	key   string
	fault error
}

// create writes something new, at once with the proof that it may.
func (s *Store) create(ctx context.Context, c creation) error {
	read := []clientv3.Op{countOf(c.folder)}
	var when []clientv3.Cmp
	for _, f := range c.free {
		read, when = append(read, keyOf(f.key)), append(when, absent(f.key))
	}
	for _, n := range c.needs {
		read, when = append(read, keyOf(n.key)), append(when, exists(n.key))
	}
	for range maxAttempts {
		seen, err := s.read(ctx, read...)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		if err := c.check(seen); err != nil {
			return err
		}
		bounded := when
		if c.limit > 0 {
			bounded = append(when[:len(when):len(when)], noneNewer(c.folder, seen.Header.Revision))
		}
		r, err := s.commit(ctx, bounded, c.then, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		if r.Succeeded {
			s.wrote(r.Header.Revision)
			return nil
		}
	}
	return overtaken(c.what)
}

// check looks at the answer of the read that create makes.
func (c creation) check(seen *clientv3.TxnResponse) error {
	for i, n := range c.needs {
		if first(seen, 1+len(c.free)+i) == nil {
			return n.fault
		}
	}
	for i, f := range c.free {
		if first(seen, 1+i) != nil {
			return f.fault
		}
	}
	if n := count(seen, 0); c.limit > 0 && n >= int64(c.limit) {
		return lambda.Conflict(lambda.CodeIdentityLimit, c.full, n, c.limit)
	}
	return nil
}
