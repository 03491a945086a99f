// Package store keeps everything that a gateway must not lose in etcd: accounts
// with their users, profiles, apps and domains, sessions, codes, grants and tokens,
// lambdas with their versions, deployments, and the pointer to the version that is
// live.
//
// Every write is one transaction that compares what it was decided on, so two
// gateways can never both win. What is read on the way of an invocation is kept
// in memory by Views; what moves a deployment is followed by Rollouts; both
// list at a revision and watch from the next.
//
// Errors are *lambda.Error: NotFound, Conflict, Invalid and others for the caller,
// Unavailable when etcd does not answer. A caller's ended context comes back as
// its own error.
package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Schema is the version of the layout in keys.go that this gateway reads and
// writes.
const Schema = "1"

const (
	requestTimeout = 5 * time.Second // of one request to etcd
	pageSize       = 500             // keys of one answer when a folder is listed
	maxAttempts    = 50              // of a write that others keep overtaking
)

// Store is safe for concurrent use.
type Store struct {
	// Limits apply to writes: Lambdas, DeployedLambdas, Domains, History, Schedules,
	// IdempotencyReceipt, IdempotencyKeys, Accounts, Users, Profiles and Apps. Set
	// them before first use; New sets the defaults.
	Limits lambda.Limits
	// Now tells the time. Set it before first use; New sets time.Now.
	Now func() time.Time
	// OnScheduleDropped is told of a schedule that this Store deleted because its
	// lambda was undeployed, and by whom. Set it before first use; it may be nil.
	OnScheduleDropped func(ctx context.Context, schedule *lambda.Schedule, by string)

	client  *clientv3.Client
	log     zerolog.Logger
	written atomic.Int64 // newest revision that this Store wrote into the views' folder
}

// New makes a Store over a client, which it neither owns nor closes.
func New(client *clientv3.Client, log zerolog.Logger) *Store {
	return &Store{client: client, log: log, Now: time.Now, Limits: lambda.DefaultLimits()}
}

// Open checks that what is in etcd has the layout of this gateway, marks an empty
// etcd as having it, and adds what earlier versions of the layout's gateways did
// not write.
func (s *Store) Open(ctx context.Context) error {
	r, err := s.commit(ctx,
		[]clientv3.Cmp{absent(schemaKey)},
		[]clientv3.Op{clientv3.OpPut(schemaKey, Schema), clientv3.OpPut(eventsIndexed, "")},
		[]clientv3.Op{clientv3.OpGet(schemaKey)})
	if err != nil {
		return fmt.Errorf("check the schema of etcd: %w", err)
	}
	if r.Succeeded {
		return nil
	}
	if kv := first(r, 0); kv != nil && string(kv.Value) != Schema {
		return fmt.Errorf("etcd holds data of schema %q and this gateway knows %q: run the gateway version that wrote it, or a newer one", kv.Value, Schema)
	}
	if err := s.nameApps(ctx); err != nil {
		return err
	}
	return s.indexEvents(ctx)
}

// Check reports whether etcd answers and takes writes, for readiness.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := s.client.Get(ctx, schemaKey, clientv3.WithKeysOnly()); err != nil {
		return s.wrap(ctx, err)
	}
	alarms, err := s.client.AlarmList(ctx)
	if err != nil {
		return s.wrap(ctx, err)
	}
	for _, a := range alarms.Alarms {
		return fmt.Errorf("etcd raised alarm %s on member %x", a.Alarm, a.MemberID)
	}
	return nil
}

// Written is the newest revision that this Store wrote of what Views hold. A
// reader who must see its own writes waits for it with Views.WaitFor.
func (s *Store) Written() int64 { return s.written.Load() }

// wrote notes a revision for Written.
func (s *Store) wrote(revision int64) {
	for {
		old := s.written.Load()
		if revision <= old || s.written.CompareAndSwap(old, revision) {
			return
		}
	}
}

// commit runs one transaction within requestTimeout.
func (s *Store) commit(ctx context.Context, when []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	if err := ctx.Err(); err != nil { // an embedded member may answer all the same
		return nil, s.wrap(ctx, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := s.client.Txn(ctx).If(when...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	return r, nil
}

// read gets several things at one revision.
func (s *Store) read(ctx context.Context, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	return s.commit(ctx, nil, ops, nil)
}

// get decodes the value of one key into v, and reports whether there is one.
func (s *Store) get(ctx context.Context, k string, v any) (bool, error) {
	r, err := s.read(ctx, clientv3.OpGet(k))
	if err != nil {
		return false, err
	}
	kv := first(r, 0)
	if kv == nil {
		return false, nil
	}
	return true, decode(kv, v)
}

// list calls each with every key below prefix, and what of the key follows
// prefix, as of revision (0: the newest), which it returns. It reads in pages,
// so no answer grows with the folder.
func (s *Store) list(ctx context.Context, prefix string, revision int64, each func(tail string, kv *mvccpb.KeyValue) error) (int64, error) {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		r, err := s.page(ctx, from, end, revision)
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = r.Header.Revision
		}
		for _, kv := range r.Kvs {
			if err := each(string(kv.Key[len(prefix):]), kv); err != nil {
				return 0, err
			}
		}
		if !r.More || len(r.Kvs) == 0 {
			return revision, nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

func (s *Store) page(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(pageSize),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	return r, nil
}

// wrap tells the caller's own ended context from an etcd that does not answer.
func (s *Store) wrap(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	if errors.Is(err, rpctypes.ErrRequestTooLarge) {
		return &lambda.Error{Kind: lambda.KindTooLarge, Code: lambda.CodeBadInput, Message: "this is larger than the state store takes", Err: err}
	}
	message := "the state store does not answer: try again"
	if errors.Is(err, rpctypes.ErrNoSpace) {
		message = "the state store is full and takes no writes: delete what is not needed, then start the gateway again"
	}
	return &lambda.Error{
		Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Message: message,
		RetryAfter: time.Second, Err: err,
	}
}

// overtaken is the error of a write that lost against others maxAttempts times.
func overtaken(what string) error {
	return &lambda.Error{
		Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, RetryAfter: time.Second,
		Message: fmt.Sprintf("%s: too many writes at once: try again", what),
	}
}

// exists tells whether a key is there; absent that it is not.
func exists(k string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(k), ">", 0) }
func absent(k string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(k), "=", 0) }

// unchanged tells whether a key is as it was at mod revision, 0 for absent.
func unchanged(k string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(k), "=", revision)
}

// noneChanged tells whether no key below prefix was made or changed after
// revision. That one was deleted it does not tell.
func noneChanged(prefix string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(prefix).WithPrefix(), "<", revision+1)
}

// noneNewer tells whether no key below prefix was made after revision.
func noneNewer(prefix string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(prefix).WithPrefix(), "<", revision+1)
}

// first is the first key of the i-th answer of a transaction, or nil.
func first(r *clientv3.TxnResponse, i int) *mvccpb.KeyValue {
	if kvs := all(r, i); len(kvs) > 0 {
		return kvs[0]
	}
	return nil
}

func all(r *clientv3.TxnResponse, i int) []*mvccpb.KeyValue {
	return r.Responses[i].GetResponseRange().GetKvs()
}

func modRevision(kv *mvccpb.KeyValue) int64 { return kv.GetModRevision() }

// encode makes the value of a key. Nouns hold nothing that JSON cannot say, so
// an error is a defect of ours; it is returned all the same.
func encode(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // source code is full of < and >
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("encode %T: %w", v, err)
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

func decode(kv *mvccpb.KeyValue, v any) error {
	if err := json.Unmarshal(kv.Value, v); err != nil {
		return fmt.Errorf("decode %s as %T: %w", kv.Key, v, err)
	}
	return nil
}

// decodeNew decodes a key's value into a new T; a key that is absent gives nil.
func decodeNew[T any](kv *mvccpb.KeyValue) (*T, error) {
	if kv == nil {
		return nil, nil
	}
	v := new(T)
	return v, decode(kv, v)
}
