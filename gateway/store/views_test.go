package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// broken is a client whose watches and requests can be made to end or fail.
type broken struct {
	clientv3.Watcher
	clientv3.KV
	mu      sync.Mutex
	cancels []context.CancelFunc
	held    chan struct{} // new watches wait for it
	away    atomic.Bool
}

// breakable wraps the shared client.
func breakable(ctx context.Context) (*clientv3.Client, *broken) {
	b := &broken{Watcher: client.Watcher, KV: client.KV}
	c := clientv3.NewCtxClient(ctx)
	c.KV, c.Lease, c.Watcher, c.Maintenance = b, client.Lease, b, client.Maintenance
	return c, b
}

func (b *broken) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	ctx, cancel := context.WithCancel(ctx)
	b.mu.Lock()
	b.cancels = append(b.cancels, cancel)
	held := b.held
	b.mu.Unlock()
	if held != nil {
		<-held
	}
	return b.Watcher.Watch(ctx, key, opts...)
}

// cut ends all watches; new ones wait until resume is called.
func (b *broken) cut() (resume func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = make(chan struct{})
	for _, cancel := range b.cancels {
		cancel()
	}
	b.cancels = nil
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		close(b.held)
		b.held = nil
	}
}

var errAway = errors.New("etcd is away")

func (b *broken) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if b.away.Load() {
		return nil, errAway
	}
	return b.KV.Get(ctx, key, opts...)
}

func (b *broken) Close() error { return nil } // the shared client goes on

// putLive writes a live pointer as FinishDeployment does, without the way there.
func putLive(t *testing.T, l *lambda.Live) int64 {
	t.Helper()
	r, err := client.Put(t.Context(), "/sluice/view/live/"+l.Account+"/"+l.LambdaID, fmt.Sprintf(
		`{"account":%q,"lambdaId":%q,"eventId":%q,"version":%d,"deploymentId":%q}`, l.Account, l.LambdaID, l.EventID, l.Version, l.DeploymentID))
	require.NoError(t, err)
	return r.Header.Revision
}

func deleteLive(t *testing.T, l *lambda.Live) int64 {
	t.Helper()
	r, err := client.Delete(t.Context(), "/sluice/view/live/"+l.Account+"/"+l.LambdaID)
	require.NoError(t, err)
	return r.Header.Revision
}

func newLive(account, event string) *lambda.Live {
	return &lambda.Live{Account: account, LambdaID: uuid.NewString(), EventID: event, Version: 1, DeploymentID: uuid.NewString()}
}

func TestViews(t *testing.T) {
	t.Run("a write is seen once its revision has been waited for", func(t *testing.T) {
		s := open(t)
		v := view(t, s)
		a := newAccount()
		require.False(t, v.Account(a))
		require.NoError(t, s.PutAccount(t.Context(), &lambda.Account{ID: a}))
		require.NoError(t, s.PutUser(t.Context(), &lambda.User{ID: "u", Account: a, LoginName: "x"}))
		require.NoError(t, s.PutApp(t.Context(), &lambda.App{ClientID: "c", Account: a, ClientName: "n"}))
		require.NoError(t, v.WaitFor(t.Context(), s.Written()))
		require.True(t, v.Account(a))
		u, ok := v.User(a, "u")
		require.True(t, ok)
		require.Equal(t, "x", u.LoginName)
		_, ok = v.App(a, "c")
		require.True(t, ok)
		_, ok = v.User(newAccount(), "u")
		require.False(t, ok)
	})
	t.Run("a revision that changes nothing in the views can be waited for", func(t *testing.T) {
		s := open(t)
		v := view(t, s)
		r, err := client.Put(t.Context(), "/sluice/other", "x")
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, v.WaitFor(t.Context(), r.Header.Revision))
		require.Less(t, time.Since(began), 2*time.Second)
	})
	t.Run("waiting ends with its context and with the views", func(t *testing.T) {
		s := open(t)
		v, err := s.OpenViews(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, v.WaitFor(ctx, 1<<60), context.DeadlineExceeded)
		failed := make(chan error)
		go func() { failed <- v.WaitFor(context.Background(), 1<<60) }()
		v.Close()
		require.Error(t, <-failed)
	})
	t.Run("listeners hear every change of what is live, in order, after lookups tell it", func(t *testing.T) {
		s := open(t)
		v := view(t, s)
		l := newLive(newAccount(), "event")
		var heard []string
		v.OnLive(func(old, now *lambda.Live) {
			if one := firstOf(old, now); one.LambdaID != l.LambdaID {
				return
			}
			seen, ok := v.Live(l.Account, l.LambdaID)
			require.Equal(t, now != nil, ok)
			if ok { // or what a later change of the same batch made of it
				require.GreaterOrEqual(t, seen.Version, now.Version)
			}
			heard = append(heard, fmt.Sprint(versionOf(old), ">", versionOf(now)))
		})
		for i := range 5 {
			l.Version = i + 1
			putLive(t, l)
		}
		require.NoError(t, v.WaitFor(t.Context(), putLive(t, l)))
		require.True(t, v.Implemented(l.Account, "event", ""))
		require.False(t, v.Implemented(l.Account, "another", ""))
		require.False(t, v.Implemented(newAccount(), "event", ""))
		require.NoError(t, v.WaitFor(t.Context(), deleteLive(t, l)))
		require.False(t, v.Implemented(l.Account, "event", ""))
		require.Equal(t, []string{"0>1", "1>2", "2>3", "3>4", "4>5", "5>5", "5>0"}, heard)
	})
	t.Run("a value that cannot be read counts as absent", func(t *testing.T) {
		s := open(t)
		v := view(t, s)
		session, token := newSession(newAccount(), time.Now().Add(time.Hour))
		require.NoError(t, begin(t, s, session, token))
		r, err := client.Put(t.Context(), "/sluice/view/tokens/"+token.Hash, "{")
		require.NoError(t, err)
		require.NoError(t, v.WaitFor(t.Context(), r.Header.Revision))
		_, ok := v.Token(token.Hash)
		require.False(t, ok)
		for _, k := range []string{"/sluice/view/live/x", "/sluice/view/live/a/b/c", "/sluice/view/unknown/x", "/sluice/view/live/a/b"} {
			r, err = client.Put(t.Context(), k, "[]")
			require.NoError(t, err)
			defer func() { _, _ = client.Delete(context.Background(), k) }()
		}
		require.NoError(t, v.WaitFor(t.Context(), r.Header.Revision))
		view(t, s) // reads the same without harm
	})
}

func firstOf(a, b *lambda.Live) *lambda.Live {
	if a != nil {
		return a
	}
	return b
}

func versionOf(l *lambda.Live) int {
	if l == nil {
		return 0
	}
	return l.Version
}

func TestViewsResync(t *testing.T) {
	t.Run("after a watch is cut and its revisions are compacted, nothing is missed and no delete is kept", func(t *testing.T) {
		c, b := breakable(t.Context())
		s := store.New(c, zerolog.New(zerolog.NewTestWriter(t)))
		v := view(t, s)
		account := newAccount()
		kept, changed, gone, born := newLive(account, "k"), newLive(account, "c"), newLive(account, "g"), newLive(account, "b")
		putLive(t, kept)
		putLive(t, changed)
		require.NoError(t, v.WaitFor(t.Context(), putLive(t, gone)))
		var mu sync.Mutex
		heard := map[string]string{}
		v.OnLive(func(old, now *lambda.Live) {
			mu.Lock()
			defer mu.Unlock()
			heard[firstOf(old, now).LambdaID] += fmt.Sprint(versionOf(old), ">", versionOf(now))
		})

		resume := b.cut()
		time.Sleep(50 * time.Millisecond) // the follower lists once and then waits for its new watch
		deleteLive(t, gone)
		putLive(t, born)
		changed.Version = 2
		revision := putLive(t, changed)
		_, err := client.Compact(t.Context(), revision)
		require.NoError(t, err)
		_, ok := v.Live(account, gone.LambdaID)
		require.True(t, ok, "the watch was not cut: the test shows nothing")
		resume()

		require.NoError(t, v.WaitFor(t.Context(), revision))
		_, ok = v.Live(account, gone.LambdaID)
		require.False(t, ok)
		require.False(t, v.Implemented(account, "g", ""))
		require.True(t, v.Implemented(account, "k", ""))
		now, ok := v.Live(account, changed.LambdaID)
		require.True(t, ok)
		require.Equal(t, 2, now.Version)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, map[string]string{gone.LambdaID: "1>0", born.LambdaID: "0>1", changed.LambdaID: "1>2"}, heard)
	})
	t.Run("while etcd is away the views tell what they knew, and afterwards what is", func(t *testing.T) {
		c, b := breakable(t.Context())
		s := store.New(c, zerolog.New(zerolog.NewTestWriter(t)))
		v := view(t, s)
		l := newLive(newAccount(), "")
		require.NoError(t, v.WaitFor(t.Context(), putLive(t, l)))
		b.away.Store(true)
		b.cut()()
		revision := deleteLive(t, l)
		time.Sleep(300 * time.Millisecond)
		_, ok := v.Live(l.Account, l.LambdaID)
		require.True(t, ok)
		b.away.Store(false)
		require.NoError(t, v.WaitFor(t.Context(), revision))
		_, ok = v.Live(l.Account, l.LambdaID)
		require.False(t, ok)
	})
	t.Run("views that cannot be read at first are not opened", func(t *testing.T) {
		c, b := breakable(t.Context())
		b.away.Store(true)
		_, err := store.New(c, zerolog.Nop()).OpenViews(t.Context())
		requireKind(t, err, lambda.KindUnavailable, lambda.CodeUnavailable)
	})
	t.Run("views equal etcd after many changes, cuts and compactions", func(t *testing.T) {
		c, b := breakable(t.Context())
		s := store.New(c, zerolog.Nop())
		v := view(t, s)
		account := newAccount()
		var lives [6]*lambda.Live
		want := map[string]int{}
		for i := range lives {
			lives[i] = newLive(account, "e")
		}
		var revision int64
		for step := range 300 {
			l := lives[rand.N(len(lives))]
			if rand.N(3) == 0 {
				revision = deleteLive(t, l)
				delete(want, l.LambdaID)
			} else {
				l.Version = step + 1
				revision = putLive(t, l)
				want[l.LambdaID] = l.Version
			}
			if step%40 == 20 {
				resume := b.cut()
				_, err := client.Compact(t.Context(), revision)
				require.NoError(t, err)
				resume()
			}
		}
		require.NoError(t, v.WaitFor(t.Context(), revision))
		got := map[string]int{}
		for _, l := range lives {
			if now, ok := v.Live(account, l.LambdaID); ok {
				got[l.LambdaID] = now.Version
			}
		}
		require.Equal(t, want, got)
		require.Equal(t, len(want) > 0, v.Implemented(account, "e", ""))
	})
}

func BenchmarkViewsLookup(b *testing.B) {
	s := store.New(client, zerolog.Nop())
	v, err := s.OpenViews(b.Context())
	require.NoError(b, err)
	defer v.Close()
	account := newAccount()
	l := &lambda.Live{Account: account, LambdaID: uuid.NewString()}
	r, err := client.Put(b.Context(), "/sluice/view/live/"+account+"/"+l.LambdaID, `{"version":1}`)
	require.NoError(b, err)
	require.NoError(b, v.WaitFor(b.Context(), r.Header.Revision))
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, ok := v.Live(account, l.LambdaID); !ok {
				b.Fail()
			}
		}
	})
}
