package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Views is what a gateway keeps in memory so that a call needs no read of etcd:
// what is live, and who may call. Lookups are safe for concurrent use, allocate
// nothing and never wait for etcd; what they return is shared and must not be
// changed. When etcd is away, Views go on with what they last knew.
type Views struct {
	followed
	now func() time.Time
	log zerolog.Logger

	mu     sync.RWMutex
	held   held
	onLive []func(old, now *lambda.Live)

	onSecret []func(account, key string)
	onDomain []func(account string)
	onWarm   []func(account, lambdaID string)
}

// ids names a thing of an account.
type ids struct{ account, id string }

// held is the content of Views.
type held struct {
	accounts map[string]*lambda.Account
	users    map[ids]*lambda.User
	profiles map[ids]*lambda.Profile
	apps     map[ids]*lambda.App
	tokens   map[string]*lambda.Token
	keys     map[string]*lambda.SigningKey
	sorted   []lambda.SigningKey // of keys, never changed in place
	live     map[ids]*lambda.Live
	events   map[ids][]*lambda.Live // of an account's event, by name; never changed in place
	skills   map[ids]*[]string      // of a saved lambda that has some
	warm     map[ids]*int           // processes of a lambda that are kept ready
	secrets  map[ids]int64          // revision of the last write of a secret
	domains  map[ids]*lambda.Domain // by id
	domNames map[ids]*lambda.Domain // the same by name
}

func newHeld() held {
	return held{
		accounts: map[string]*lambda.Account{}, users: map[ids]*lambda.User{}, apps: map[ids]*lambda.App{},
		profiles: map[ids]*lambda.Profile{},
		tokens:   map[string]*lambda.Token{}, keys: map[string]*lambda.SigningKey{},
		live: map[ids]*lambda.Live{}, events: map[ids][]*lambda.Live{}, skills: map[ids]*[]string{}, warm: map[ids]*int{}, secrets: map[ids]int64{},
		domains: map[ids]*lambda.Domain{}, domNames: map[ids]*lambda.Domain{},
	}
}

// OpenViews reads everything and follows it from there until Close.
func (s *Store) OpenViews(ctx context.Context) (*Views, error) {
	v := &Views{now: s.Now, log: s.log, held: newHeld()}
	f, err := s.follow(ctx, viewRoot, v)
	if err != nil {
		return nil, err
	}
	v.follower = f
	return v, nil
}

// Live tells what is live of a lambda.
func (v *Views) Live(account, lambdaID string) (*lambda.Live, bool) {
	v.mu.RLock()
	l, ok := v.held.live[ids{account, lambdaID}]
	v.mu.RUnlock()
	return l, ok
}

// Bound tells the live lambdas of an account's event that answer for a skill, in
// the order of their names: those that are bound to it, and those that are bound
// to none. The empty skill stands for any: then all of them do. With a skill it
// allocates.
func (v *Views) Bound(account, eventID, skillID string) []*lambda.Live {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := v.held.events[ids{account, eventID}]
	if skillID == "" {
		return all
	}
	var bound []*lambda.Live
	for _, l := range all {
		if v.held.answers(l, skillID) {
			bound = append(bound, l)
		}
	}
	return bound
}

// Implemented tells whether Bound has any.
func (v *Views) Implemented(account, eventID, skillID string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, l := range v.held.events[ids{account, eventID}] {
		if skillID == "" || v.held.answers(l, skillID) {
			return true
		}
	}
	return false
}

// answers tells whether a live lambda answers for a skill.
func (h *held) answers(l *lambda.Live, skillID string) bool {
	skills := h.skills[ids{l.Account, l.LambdaID}]
	return skills == nil || slices.Contains(*skills, skillID)
}

// Token tells the opaque token of that hash, if it has not ended.
func (v *Views) Token(hash string) (*lambda.Token, bool) {
	v.mu.RLock()
	t, ok := v.held.tokens[hash]
	v.mu.RUnlock()
	if !ok || !v.now().Before(t.ExpiresAt) {
		return nil, false
	}
	return t, true
}

// User tells a user.
func (v *Views) User(account, userID string) (*lambda.User, bool) {
	v.mu.RLock()
	u, ok := v.held.users[ids{account, userID}]
	v.mu.RUnlock()
	return u, ok
}

// Profile tells a profile.
func (v *Views) Profile(account, name string) (*lambda.Profile, bool) {
	v.mu.RLock()
	p, ok := v.held.profiles[ids{account, name}]
	v.mu.RUnlock()
	return p, ok
}

// App tells an app.
func (v *Views) App(account, clientID string) (*lambda.App, bool) {
	v.mu.RLock()
	a, ok := v.held.apps[ids{account, clientID}]
	v.mu.RUnlock()
	return a, ok
}

// Account tells whether there is an account of that id.
func (v *Views) Account(id string) bool {
	v.mu.RLock()
	_, ok := v.held.accounts[id]
	v.mu.RUnlock()
	return ok
}

// DomainOf tells the entry of an account's whitelist that a host is of; of several
// the closest. The host is in lower case and has no last dot.
func (v *Views) DomainOf(account, host string) (*lambda.Domain, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for name := range lambda.DomainsOf(host) {
		if d := v.held.domNames[ids{account, name}]; d != nil {
			return d, true
		}
	}
	return nil, false
}

// SigningKeys tells every signing key, the oldest first.
func (v *Views) SigningKeys() []lambda.SigningKey {
	v.mu.RLock()
	k := v.held.sorted
	v.mu.RUnlock()
	return k
}

// OnLive has f called after every change of what is live, in the order of the
// changes: old is nil when nothing was live, now when nothing is. Lookups
// already tell it, or what came after it. f must return soon: all changes wait
// for it.
func (v *Views) OnLive(f func(old, now *lambda.Live)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.onLive = append(v.onLive, f)
}

// OnSecret has f called for every secret that was written or deleted through a
// gateway, this one included, after the write was made. f must return soon: all
// changes wait for it.
func (v *Views) OnSecret(f func(account, key string)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.onSecret = append(v.onSecret, f)
}

// OnDomain has f called after every change of an account's whitelist. DomainOf
// already tells it, or what came after it. f must return soon: all changes wait for
// it.
func (v *Views) OnDomain(f func(account string)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.onDomain = append(v.onDomain, f)
}

// liveChange is what OnLive tells.
type liveChange struct{ old, now *lambda.Live }

func (v *Views) tell(changes []liveChange) {
	v.mu.RLock()
	listeners := v.onLive
	v.mu.RUnlock()
	for _, c := range changes {
		for _, f := range listeners {
			f(c.old, c.now)
		}
	}
}

func (v *Views) tellSecrets(changed []ids) {
	v.mu.RLock()
	listeners := v.onSecret
	v.mu.RUnlock()
	for _, s := range changed {
		for _, f := range listeners {
			f(s.account, s.id)
		}
	}
}

func (v *Views) tellDomains(accounts map[string]bool) {
	v.mu.RLock()
	listeners := v.onDomain
	v.mu.RUnlock()
	for account := range accounts {
		for _, f := range listeners {
			f(account)
		}
	}
}

func (v *Views) reset(kvs []*mvccpb.KeyValue) {
	h := newHeld()
	for _, kv := range kvs {
		h.set(v.log, string(kv.Key), kv)
	}
	h.sortKeys()
	v.mu.Lock()
	old := v.held
	v.held = h
	v.mu.Unlock()
	v.tell(difference(old.live, h.live))
	v.tellSecrets(rewritten(old.secrets, h.secrets))
	v.tellDomains(relisted(old.domains, h.domains))
	v.tellWarm(rewarmed(old.warm, h.warm))
}

// relisted are the accounts whose whitelists are others.
func relisted(old, now map[ids]*lambda.Domain) map[string]bool {
	accounts := map[string]bool{}
	for id := range old {
		if now[id] == nil { // an entry never changes
			accounts[id.account] = true
		}
	}
	for id := range now {
		if old[id] == nil {
			accounts[id.account] = true
		}
	}
	return accounts
}

// rewritten are the secrets whose last write is another.
func rewritten(old, now map[ids]int64) []ids {
	var changed []ids
	for id := range old {
		if _, ok := now[id]; !ok {
			changed = append(changed, id)
		}
	}
	for id, revision := range now {
		if old[id] != revision {
			changed = append(changed, id)
		}
	}
	return changed
}

func difference(old, now map[ids]*lambda.Live) []liveChange {
	var changes []liveChange
	for id, l := range old {
		if now[id] == nil {
			changes = append(changes, liveChange{l, nil})
		}
	}
	for id, l := range now {
		if was := old[id]; was == nil || *was != *l {
			changes = append(changes, liveChange{was, l})
		}
	}
	return changes
}

func (v *Views) change(events []*clientv3.Event) {
	var changes []liveChange
	var secrets, warm []ids
	domains := map[string]bool{}
	v.mu.Lock()
	keys := false
	for _, e := range events {
		kv := e.Kv
		if e.Type == mvccpb.DELETE {
			kv = nil
		}
		k := string(e.Kv.Key)
		if p, ok := parts(k, marksRoot, 2); ok {
			secrets = append(secrets, ids{p[0], p[1]})
		}
		if p, ok := parts(k, domainsRoot, 2); ok {
			domains[p[0]] = true
		}
		if p, ok := parts(k, warmRoot, 2); ok {
			warm = append(warm, ids{p[0], p[1]})
		}
		keys = keys || strings.HasPrefix(k, keysRoot)
		if c := v.held.set(v.log, k, kv); c != (liveChange{}) {
			changes = append(changes, c)
		}
	}
	if keys {
		v.held.sortKeys()
	}
	v.mu.Unlock()
	v.tell(changes)
	v.tellSecrets(secrets)
	v.tellDomains(domains)
	v.tellWarm(warm)
}

func (h *held) sortKeys() {
	sorted := make([]lambda.SigningKey, 0, len(h.keys))
	for _, k := range h.keys {
		sorted = append(sorted, *k)
	}
	sortKeys(sorted)
	h.sorted = sorted
}

// set takes the value of a key, or nil for none, and tells the change of what
// is live, if it is one. A value that cannot be read counts as none: better an
// unknown token than a wrong one.
func (h *held) set(log zerolog.Logger, k string, kv *mvccpb.KeyValue) liveChange {
	noun, _, _ := strings.Cut(strings.TrimPrefix(k, viewRoot), "/")
	switch viewRoot + noun + "/" {
	case liveRoot:
		return h.setLive(log, k, kv)
	case skillsRoot:
		h.setSkills(log, k, kv)
	case warmRoot:
		put2(log, h.warm, warmRoot, k, kv)
	case tokensRoot:
		put1(log, h.tokens, tokensRoot, k, kv)
	case usersRoot:
		put2(log, h.users, usersRoot, k, kv)
	case profilesRoot:
		put2(log, h.profiles, profilesRoot, k, kv)
	case appsRoot:
		put2(log, h.apps, appsRoot, k, kv)
	case accountsRoot:
		put1(log, h.accounts, accountsRoot, k, kv)
	case keysRoot:
		put1(log, h.keys, keysRoot, k, kv)
	case marksRoot:
		h.setSecret(k, kv)
	case domainsRoot:
		h.setDomain(log, k, kv)
	}
	return liveChange{}
}

func (h *held) setSecret(k string, kv *mvccpb.KeyValue) {
	p, ok := parts(k, marksRoot, 2)
	switch {
	case !ok:
	case kv == nil:
		delete(h.secrets, ids{p[0], p[1]})
	default:
		h.secrets[ids{p[0], p[1]}] = kv.ModRevision
	}
}

// setDomain also keeps the entry by its name, which no other entry of the account
// has at the same time.
func (h *held) setDomain(log zerolog.Logger, k string, kv *mvccpb.KeyValue) {
	old, now := put2(log, h.domains, domainsRoot, k, kv)
	if old != nil {
		if name := (ids{old.Account, old.Name}); h.domNames[name] == old {
			delete(h.domNames, name)
		}
	}
	if now != nil {
		h.domNames[ids{now.Account, now.Name}] = now
	}
}

func (h *held) setLive(log zerolog.Logger, k string, kv *mvccpb.KeyValue) liveChange {
	old, now := put2(log, h.live, liveRoot, k, kv)
	if old != nil && old.EventID != "" {
		e := ids{old.Account, old.EventID}
		h.events[e] = slices.DeleteFunc(slices.Clone(h.events[e]), func(l *lambda.Live) bool { return l.LambdaID == old.LambdaID })
		if len(h.events[e]) == 0 {
			delete(h.events, e)
		}
	}
	if now != nil && now.EventID != "" {
		e := ids{now.Account, now.EventID}
		at, _ := slices.BinarySearchFunc(h.events[e], now, byName)
		h.events[e] = slices.Insert(slices.Clone(h.events[e]), at, now)
	}
	return liveChange{old, now}
}

func byName(a, b *lambda.Live) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.LambdaID, b.LambdaID))
}

// setSkills takes the skills of a saved lambda.
func (h *held) setSkills(log zerolog.Logger, k string, kv *mvccpb.KeyValue) {
	if p, ok := parts(k, skillsRoot, 3); ok {
		put(log, h.skills, ids{p[0], p[2]}, kv)
	}
}

// put1 and put2 set the value of a key that has one or two segments, and tell
// the one before.
func put1[T any](log zerolog.Logger, m map[string]*T, folder, k string, kv *mvccpb.KeyValue) {
	if p, ok := parts(k, folder, 1); ok {
		put(log, m, p[0], kv)
	}
}

func put2[T any](log zerolog.Logger, m map[ids]*T, folder, k string, kv *mvccpb.KeyValue) (old, now *T) {
	p, ok := parts(k, folder, 2)
	if !ok {
		return nil, nil
	}
	return put(log, m, ids{p[0], p[1]}, kv)
}

func put[K comparable, T any](log zerolog.Logger, m map[K]*T, k K, kv *mvccpb.KeyValue) (old, now *T) {
	old = m[k]
	now, err := decodeNew[T](kv)
	if err != nil {
		log.Error().Err(err).Msg("a value in etcd cannot be read and counts as absent")
		now = nil
	}
	if now == nil {
		delete(m, k)
		return old, nil
	}
	m[k] = now
	return old, now
}
