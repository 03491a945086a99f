package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Work is a deployment under way, as it was at one revision.
type Work struct {
	Deployment lambda.Deployment
	Claimant   string // id of the gateway that moves it; empty when none does
	Order      int64  // rises with the time at which the work was asked for

	Revision int64 // of the latest change of the deployment

	claim int64 // revision of the claim's creation; 0 when there is none
}

// Ack is what one gateway found when it prepared a deployment.
type Ack struct {
	Gateway string          `json:"gateway"`
	Failure *lambda.Failure `json:"failure,omitempty"` // nil when it is ready
	At      time.Time       `json:"at"`
}

// Rollouts is what every gateway knows in memory of the deployments under way:
// the work, who has claimed it, which gateways are alive, and which of them are
// ready. Safe for concurrent use.
type Rollouts struct {
	followed
	log zerolog.Logger

	mu       sync.RWMutex
	work     map[ids]*record
	queue    []ids // of work, the oldest first
	claims   map[ids]*claim
	acks     map[ids]*Ack // by deployment and gateway
	gateways map[string]*Gateway
}

type record struct {
	lambda.Deployment
	revision, order int64
}

type claim struct {
	gateway string
	created int64
}

// OpenRollouts reads everything and follows it from there until Close.
func (s *Store) OpenRollouts(ctx context.Context) (*Rollouts, error) {
	r := &Rollouts{log: s.log}
	r.clear()
	f, err := s.follow(ctx, rolloutRoot, r)
	if err != nil {
		return nil, err
	}
	r.follower = f
	return r, nil
}

// Each calls f with all work, the oldest first, until f returns false. f may
// not call r.
func (r *Rollouts) Each(f func(Work) bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, id := range r.queue {
		if !f(r.of(id)) {
			return
		}
	}
}

// Of tells the work of one lambda.
func (r *Rollouts) Of(account, lambdaID string) (Work, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id := ids{account, lambdaID}
	if r.work[id] == nil {
		return Work{}, false
	}
	return r.of(id), true
}

func (r *Rollouts) of(id ids) Work {
	w := Work{Deployment: r.work[id].Deployment, Order: r.work[id].order, Revision: r.work[id].revision}
	if c := r.claims[id]; c != nil {
		w.Claimant, w.claim = c.gateway, c.created
	}
	return w
}

// Gateways tells the ids of the gateways that count as alive, sorted.
func (r *Rollouts) Gateways() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.gateways))
}

// Ack tells what a gateway found when it prepared a deployment.
func (r *Rollouts) Ack(deploymentID, gateway string) (Ack, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	a := r.acks[ids{deploymentID, gateway}]
	if a == nil {
		return Ack{}, false
	}
	return *a, true
}

func (r *Rollouts) clear() {
	r.work, r.queue, r.claims = map[ids]*record{}, nil, map[ids]*claim{}
	r.acks, r.gateways = map[ids]*Ack{}, map[string]*Gateway{}
}

func (r *Rollouts) reset(kvs []*mvccpb.KeyValue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
	for _, kv := range kvs {
		r.set(string(kv.Key), kv)
	}
	slices.SortFunc(r.queue, func(a, b ids) int { return int(r.work[a].order - r.work[b].order) })
}

func (r *Rollouts) change(events []*clientv3.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		kv := e.Kv
		if e.Type == mvccpb.DELETE {
			kv = nil
		}
		r.set(string(e.Kv.Key), kv)
	}
}

// set takes the value of a key, or nil for none.
func (r *Rollouts) set(k string, kv *mvccpb.KeyValue) {
	if p, ok := parts(k, workRoot, 2); ok {
		r.setWork(ids{p[0], p[1]}, kv)
	} else if p, ok := parts(k, claimsRoot, 2); ok {
		if kv == nil {
			delete(r.claims, ids{p[0], p[1]})
		} else {
			r.claims[ids{p[0], p[1]}] = &claim{string(kv.Value), kv.CreateRevision}
		}
	} else if p, ok := parts(k, acksRoot, 2); ok {
		put(r.log, r.acks, ids{p[0], p[1]}, kv)
	} else if p, ok := parts(k, gatewaysRoot, 1); ok {
		put(r.log, r.gateways, p[0], kv)
	}
}

// setWork keeps the queue in order: a key that is made now is the newest.
func (r *Rollouts) setWork(id ids, kv *mvccpb.KeyValue) {
	old, w := put(r.log, r.work, id, kv)
	if w != nil {
		w.revision, w.order = kv.ModRevision, kv.CreateRevision
	}
	if old != nil && (w == nil || w.order != old.order) {
		r.queue = slices.DeleteFunc(r.queue, func(q ids) bool { return q == id })
		old = nil
	}
	if old == nil && w != nil {
		r.queue = append(r.queue, id)
	}
}

// errGone is the cause of a step whose work is no longer the caller's: another
// gateway holds the claim, or the work has moved or ended.
var errGone = errors.New("the claim is lost or the work has moved")

func errLost(w Work) error {
	e := lambda.Conflict(lambda.CodeDeploymentConflict, "deployment %s is no longer moved by this gateway", w.Deployment.ID)
	e.Err = errGone
	return e
}

// Lost reports whether err says that work is no longer the caller's.
func Lost(err error) bool { return errors.Is(err, errGone) }

// Claim makes the work this gateway's, for as long as p lasts, and returns it
// as it now is. Work that has ended, or that another gateway has, is Lost, and
// the Revision returned with that error is one at which it was so. Claiming
// what is already p's own is no error.
func (s *Store) Claim(ctx context.Context, p *Presence, w Work) (Work, error) {
	k, err := keysOf(w.Deployment.Account, w.Deployment.LambdaID)
	if err != nil {
		return Work{}, err
	}
	look := []clientv3.Op{clientv3.OpGet(k.work), clientv3.OpGet(k.claim)}
	take := append([]clientv3.Op{clientv3.OpPut(k.claim, p.ID, clientv3.WithLease(p.lease))}, look...)
	r, err := s.commit(ctx, []clientv3.Cmp{absent(k.claim), exists(k.work)}, take, look)
	if err != nil {
		return Work{}, fmt.Errorf("claim deployment %s: %w", w.Deployment.ID, err)
	}
	at := len(r.Responses) - len(look)
	held, mine := first(r, at), first(r, at+1)
	if held == nil || mine == nil || mine.Lease != int64(p.lease) {
		return Work{Revision: r.Header.Revision}, errLost(w)
	}
	d, err := decodeNew[lambda.Deployment](held)
	if err != nil {
		return Work{}, err
	}
	return Work{Deployment: *d, Claimant: p.ID, Order: held.CreateRevision, Revision: held.ModRevision, claim: mine.CreateRevision}, nil
}

// ours tells whether the claim is the one that w was returned with.
func ours(k lambdaKeys, w Work) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(k.claim), "=", w.claim)
}

// Built records the artifact of claimed work and moves it to Build Finish.
func (s *Store) Built(ctx context.Context, w Work, artifact []byte) (Work, error) {
	op, err := putArtifact(w.Deployment.Account, w.Deployment.LambdaID, w.Deployment.Digest, artifact)
	if err != nil {
		return w, err
	}
	return s.step(ctx, w, lambda.Built, op)
}

// RolledOut moves claimed work to Deploy Start: every gateway prepares it.
func (s *Store) RolledOut(ctx context.Context, w Work) (Work, error) {
	return s.step(ctx, w, lambda.RolledOut)
}

// step moves claimed work to a state that is not final.
func (s *Store) step(ctx context.Context, w Work, e lambda.DeploymentEvent, more ...clientv3.Op) (Work, error) {
	d, err := s.after(w, e)
	if err != nil {
		return w, err
	}
	k, err := keysOf(d.Account, d.LambdaID)
	if err != nil {
		return w, err
	}
	value, err := encode(d)
	if err != nil {
		return w, err
	}
	r, err := s.commit(ctx, []clientv3.Cmp{unchanged(k.work, w.Revision), ours(k, w)},
		append(more, clientv3.OpPut(k.work, value)), nil)
	if err != nil {
		return w, fmt.Errorf("move deployment %s to %s: %w", d.ID, d.State, err)
	}
	if !r.Succeeded {
		return w, errLost(w)
	}
	w.Deployment, w.Revision = d, r.Header.Revision
	return w, nil
}

// after is the deployment as it is when e has happened.
func (s *Store) after(w Work, e lambda.DeploymentEvent) (lambda.Deployment, error) {
	d := w.Deployment
	next, err := d.State.Next(e)
	if err != nil {
		return d, err
	}
	d.State, d.UpdatedAt = next, s.Now().UTC()
	return d, nil
}

// Acknowledge tells the others what this gateway found when it prepared the
// work: failure is nil when it is ready. Work that has moved on is Lost.
func (s *Store) Acknowledge(ctx context.Context, p *Presence, w Work, failure *lambda.Failure) error {
	k, err := keysOf(w.Deployment.Account, w.Deployment.LambdaID)
	if err != nil {
		return err
	}
	ack, err := key(acksRoot, w.Deployment.ID, p.ID)
	if err != nil {
		return err
	}
	value, err := encode(Ack{Gateway: p.ID, Failure: failure, At: s.Now().UTC()})
	if err != nil {
		return err
	}
	r, err := s.commit(ctx, []clientv3.Cmp{unchanged(k.work, w.Revision)},
		[]clientv3.Op{clientv3.OpPut(ack, value, clientv3.WithLease(p.lease))}, nil)
	if err != nil {
		return fmt.Errorf("acknowledge deployment %s: %w", w.Deployment.ID, err)
	}
	if !r.Succeeded {
		return errLost(w)
	}
	return nil
}

// FinishDeployment makes the version of claimed work live: one transaction ends
// the deployment, moves the live pointer and removes the work, and forgets
// versions that nothing names any more. It returns the revision from which
// views see the version. A lambda or version that is gone is NotFound.
func (s *Store) FinishDeployment(ctx context.Context, w Work) (int64, error) {
	d, err := s.after(w, lambda.Healthy)
	if err != nil {
		return 0, err
	}
	d.DeployedAt = d.UpdatedAt
	return s.finish(ctx, w, d, func(k lambdaKeys, seen *clientv3.TxnResponse) ([]clientv3.Op, error) {
		live, err := pointTo(d, first(seen, 0), first(seen, 1))
		if err != nil {
			return nil, err
		}
		value, err := encode(live)
		return []clientv3.Op{clientv3.OpPut(k.live, value)}, err
	})
}

// FinishUndeployment takes the live version of claimed work away, and the
// lambda's schedule with it.
func (s *Store) FinishUndeployment(ctx context.Context, w Work) (int64, error) {
	d, err := s.after(w, lambda.Healthy)
	if err != nil {
		return 0, err
	}
	return s.finish(ctx, w, d, func(k lambdaKeys, _ *clientv3.TxnResponse) ([]clientv3.Op, error) {
		return append(dropSchedule(k), clientv3.OpDelete(k.live)), nil
	})
}

// FailDeployment ends claimed work in Build Error or Deploy Error, whichever
// its state leads to. What was live stays live.
func (s *Store) FailDeployment(ctx context.Context, w Work, failure *lambda.Failure) (int64, error) {
	e := lambda.Unhealthy
	if w.Deployment.State == lambda.BuildStart {
		e = lambda.BuildFailed
	}
	d, err := s.after(w, e)
	if err != nil {
		return 0, err
	}
	d.Failure = failure
	return s.finish(ctx, w, d, nil)
}

// pointTo is the live pointer that a deployment sets. The version's own record
// says what runs; the lambda's says what it is called.
func pointTo(d lambda.Deployment, savedKV, versionKV *mvccpb.KeyValue) (lambda.Live, error) {
	l, err := decodeNew[struct {
		Name    string `json:"name"`
		EventID string `json:"eventId"`
	}](savedKV)
	if err != nil {
		return lambda.Live{}, err
	}
	v, err := decodeNew[struct {
		Runtime string `json:"runtime"`
	}](versionKV)
	if err != nil {
		return lambda.Live{}, err
	}
	if l == nil || v == nil {
		return lambda.Live{}, lambda.NotFound(lambda.CodeMissingLambda, "lambda %s or its version %d is gone", d.LambdaID, d.Version)
	}
	return lambda.Live{
		Account: d.Account, LambdaID: d.LambdaID, Name: l.Name, EventID: l.EventID, Version: d.Version,
		DeploymentID: d.ID, Digest: d.Digest, Runtime: v.Runtime, DeployedAt: d.DeployedAt,
	}, nil
}

// finish ends claimed work as d. move makes what becomes of the live pointer
// from the saved lambda (answer 0) and the version (answer 1); nil leaves it.
func (s *Store) finish(ctx context.Context, w Work, d lambda.Deployment, move func(lambdaKeys, *clientv3.TxnResponse) ([]clientv3.Op, error)) (int64, error) {
	k, err := keysOf(d.Account, d.LambdaID)
	if err != nil {
		return 0, err
	}
	acks, err := folder(acksRoot, d.ID)
	if err != nil {
		return 0, err
	}
	value, err := encode(d)
	if err != nil {
		return 0, err
	}
	seen, err := s.read(ctx, clientv3.OpGet(k.lambda), clientv3.OpGet(k.version(d.Version)), clientv3.OpGet(k.live),
		clientv3.OpGet(k.history, clientv3.WithPrefix()), keysBelow(k.versions), keysBelow(k.artifacts))
	if err != nil {
		return 0, fmt.Errorf("finish deployment %s: %w", d.ID, err)
	}
	then := []clientv3.Op{
		clientv3.OpPut(k.last, value), clientv3.OpDelete(k.work), clientv3.OpDelete(k.claim),
		clientv3.OpDelete(acks, clientv3.WithPrefix()),
	}
	if move != nil {
		ops, err := move(k, seen)
		if err != nil {
			return 0, err
		}
		then = append(then, ops...)
	}
	then, err = s.remember(then, k, w, d, value, seen)
	if err != nil {
		return 0, err
	}
	r, err := s.commit(ctx, []clientv3.Cmp{unchanged(k.work, w.Revision), ours(k, w)}, then, nil)
	if err != nil {
		return 0, fmt.Errorf("finish deployment %s: %w", d.ID, err)
	}
	if !r.Succeeded {
		return 0, errLost(w)
	}
	if move != nil {
		s.wrote(r.Header.Revision)
	}
	s.tellDropped(ctx, r, d.CreatedBy)
	return r.Header.Revision, nil
}

// remember adds a deployment to the history and drops what is too old, with the
// versions and artifacts that nothing names any more. What is live now stays,
// and so does what was live until now: another gateway may start a process of
// it before it sees the change.
func (s *Store) remember(then []clientv3.Op, k lambdaKeys, w Work, d lambda.Deployment, value string, seen *clientv3.TxnResponse) ([]clientv3.Op, error) {
	if d.Kind != lambda.Deploy {
		return then, nil
	}
	versions := map[string]bool{k.version(d.Version): true}
	digests := map[string]bool{k.artifacts + d.Digest: true}
	live, err := decodeNew[lambda.Live](first(seen, 2))
	if err != nil {
		return nil, err
	}
	if live != nil {
		versions[k.version(live.Version)], digests[k.artifacts+live.Digest] = true, true
	}
	history := all(seen, 3)
	for i, kv := range history {
		old, err := decodeNew[lambda.Deployment](kv)
		if err != nil {
			return nil, err
		}
		if i <= len(history)-s.Limits.History { // with the new one, one too many
			then = append(then, clientv3.OpDelete(string(kv.Key)))
			continue
		}
		versions[k.version(old.Version)], digests[k.artifacts+old.Digest] = true, true
	}
	then = append(then, clientv3.OpPut(fmt.Sprintf("%s%020d", k.history, w.Order), value))
	return append(append(then, forget(all(seen, 4), versions)...), forget(all(seen, 5), digests)...), nil
}

// maxForgotten bounds what one transaction deletes; the rest goes with the next.
const maxForgotten = 40

func forget(kvs []*mvccpb.KeyValue, keep map[string]bool) []clientv3.Op {
	var ops []clientv3.Op
	for _, kv := range kvs {
		if !keep[string(kv.Key)] && len(ops) < maxForgotten {
			ops = append(ops, clientv3.OpDelete(string(kv.Key)))
		}
	}
	return ops
}

func keysBelow(prefix string) clientv3.Op {
	return clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
}
