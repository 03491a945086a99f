package secret_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
	"github.com/sluice-faas/sluice/gateway/secret/sealed"
	"github.com/sluice-faas/sluice/gateway/secret/secrettest"
	"github.com/sluice-faas/sluice/gateway/secret/vault"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
	"github.com/sluice-faas/sluice/tests/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched is a store in whose way a test can stand.
type watched struct {
	secret.Store
	reads atomic.Int64
	gate  atomic.Pointer[func(context.Context) error] // asked before a request
	twin  *secret.Secret                              // if set, what is found under every key that begins as its does
}

func (w *watched) hold(ctx context.Context) error {
	if gate := w.gate.Load(); gate != nil {
		return (*gate)(ctx)
	}
	return nil
}

func (w *watched) away() {
	f := func(context.Context) error { return lambda.SecretsUnavailable(errors.New("away")) }
	w.gate.Store(&f)
}

func (w *watched) Read(ctx context.Context, account, key string) (*secret.Secret, error) {
	w.reads.Add(1)
	if err := w.hold(ctx); err != nil {
		return nil, err
	}
	if w.twin != nil && strings.HasPrefix(key, w.twin.Key) {
		twin := *w.twin
		twin.Key = key
		return &twin, nil
	}
	return w.Store.Read(ctx, account, key)
}

func (w *watched) Update(ctx context.Context, s secret.Secret) (*secret.Secret, error) {
	if err := w.hold(ctx); err != nil {
		return nil, err
	}
	return w.Store.Update(ctx, s)
}

// clock can be set.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) forward(d time.Duration) { c.offset.Add(int64(d)) }

// notes keeps activities.
type notes struct {
	mu   sync.Mutex
	all  []journal.Activity
	full bool
}

func (n *notes) Note(_ context.Context, a journal.Activity) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.full {
		return syscall.ENOSPC
	}
	n.all = append(n.all, a)
	return nil
}

// region is an etcd that gateways share, with secrets in it or in a Vault.
type region struct {
	etcd  *etcdtest.Server
	file  string
	vault *vault.Store
}

func newRegion(t *testing.T) *region {
	t.Helper()
	return &region{etcd: etcdtest.Start(t), file: filepath.Join(t.TempDir(), "secrets.key")}
}

// gateway is the service as one gateway of a region has it.
type gateway struct {
	*secret.Service
	store    *watched
	clock    *clock
	notes    *notes
	log      *secrettest.Log
	registry *prometheus.Registry
	views    *store.Views
	etcd     *store.Store
}

func (r *region) gateway(t *testing.T, change ...func(*lambda.Limits)) *gateway {
	t.Helper()
	etcd := store.New(r.etcd.Client(t), zerolog.Nop())
	require.NoError(t, etcd.Open(t.Context()))
	views, err := etcd.OpenViews(t.Context())
	require.NoError(t, err)
	t.Cleanup(views.Close)
	g := &gateway{clock: &clock{}, notes: &notes{}, log: &secrettest.Log{}, registry: prometheus.NewRegistry(), views: views, etcd: etcd}
	c := secret.Config{Limits: lambda.DefaultLimits(), Notes: g.notes, Metrics: g.registry, Log: zerolog.New(g.log), Now: g.clock.now}
	for _, f := range change {
		f(&c.Limits)
	}
	if r.vault != nil {
		g.store, c.Marks = &watched{Store: r.vault}, etcd
	} else {
		s, err := sealed.Open(t.Context(), sealed.Config{Records: etcd, KeyFile: r.file, Shared: true})
		require.NoError(t, err)
		g.store = &watched{Store: s}
	}
	c.Store = g.store
	g.Service = secret.New(c)
	t.Cleanup(g.Close)
	views.OnSecret(g.Forget)
	return g
}

func (g *gateway) create(t *testing.T, account, key, value string) {
	t.Helper()
	_, err := g.Create(t.Context(), secret.Secret{Account: account, Key: key, Value: json.RawMessage(value), CreatedBy: "admin"})
	require.NoError(t, err)
	g.settle(t)
}

// settle waits until the watch of the marks has told of all writes, after which
// it forgets nothing more.
func (g *gateway) settle(t *testing.T) {
	t.Helper()
	require.NoError(t, g.views.WaitFor(t.Context(), g.etcd.Written()))
}

func (g *gateway) read(t *testing.T, account, key string) string {
	t.Helper()
	one, err := g.ReadForLambda(t.Context(), account, key)
	require.NoError(t, err)
	return string(one.Value)
}

func (g *gateway) count(from string) float64 {
	families, _ := g.registry.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sluice_secret_reads_total" && m.GetLabel()[0].GetValue() == from {
				return m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

func requireError(t *testing.T, err error, kind lambda.Kind, code, text string) {
	t.Helper()
	e := lambda.As(err)
	require.NotNil(t, e, "want a lambda.Error, got %v", err)
	require.Equal(t, kind, e.Kind, "%v", err)
	require.Equal(t, code, e.Code, "%v", err)
	require.Equal(t, text, e.Message)
}

func TestReadsOfLambdas(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	g.create(t, account, "key", `{"a":1}`)
	t.Run("are answered from memory, for a while", func(t *testing.T) {
		for range 10 {
			require.Equal(t, `{"a":1}`, g.read(t, account, "key"))
		}
		require.EqualValues(t, 1, g.store.reads.Load())
		g.clock.forward(29 * time.Second)
		g.read(t, account, "key")
		require.EqualValues(t, 1, g.store.reads.Load())
		g.clock.forward(2 * time.Second)
		g.read(t, account, "key")
		require.EqualValues(t, 2, g.store.reads.Load())
		require.EqualValues(t, 2, g.count("store"))
		require.EqualValues(t, 10, g.count("cached"))
	})
	t.Run("of what is not there are, too, but not for long", func(t *testing.T) {
		before := g.store.reads.Load()
		for range 10 {
			_, err := g.ReadForLambda(t.Context(), account, "none")
			requireError(t, err, lambda.KindNotFound, lambda.CodeSecretNotFound, "There is no Secret none for this account")
		}
		require.EqualValues(t, before+1, g.store.reads.Load())
		g.clock.forward(6 * time.Second)
		_, _ = g.ReadForLambda(t.Context(), account, "none")
		require.EqualValues(t, before+2, g.store.reads.Load())
		g.create(t, account, "none", `1`)
		require.Equal(t, `1`, g.read(t, account, "none"), "a creation is seen at once")
	})
	t.Run("of what is no key ask nobody", func(t *testing.T) {
		before := g.store.reads.Load()
		for _, key := range []string{"", "a/b", "../x", "ü", "a\x00", strings.Repeat("k", 101), strings.Repeat("k", 1<<20)} {
			_, err := g.ReadForLambda(t.Context(), account, key)
			require.True(t, lambda.Is(err, lambda.KindNotFound))
			require.Less(t, len(err.Error()), 300)
		}
		require.Equal(t, before, g.store.reads.Load())
	})
	t.Run("at once are one read of the store", func(t *testing.T) {
		g.create(t, account, "busy", `"x"`)
		before := g.store.reads.Load()
		open := make(chan struct{})
		wait := func(context.Context) error { <-open; return nil }
		g.store.gate.Store(&wait)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				one, err := g.ReadForLambda(t.Context(), account, "busy")
				require.NoError(t, err)
				require.Equal(t, `"x"`, string(one.Value))
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := g.ReadForLambda(ctx, account, "busy")
		require.ErrorIs(t, err, context.Canceled, "who left does not wait, nor end it for others")
		close(open)
		wg.Wait()
		g.store.gate.Store(nil)
		require.EqualValues(t, before+1, g.store.reads.Load())
	})
	t.Run("have no encrypted form", func(t *testing.T) {
		one, err := g.ReadForLambda(t.Context(), account, "key")
		require.NoError(t, err)
		require.Empty(t, one.Crypted)
	})
}

func TestReadsDuringAnOutage(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	g.create(t, account, "known", `"value"`)
	g.create(t, account, "unknown", `"value"`)
	g.read(t, account, "known")
	g.store.away()
	t.Run("get what was last read, for an hour", func(t *testing.T) {
		for _, step := range []time.Duration{time.Second, time.Minute, 30 * time.Minute, 28 * time.Minute} {
			g.clock.forward(step)
			require.Equal(t, `"value"`, g.read(t, account, "known"))
		}
		require.Positive(t, g.count("stale"))
	})
	t.Run("do not ask the store each time", func(t *testing.T) {
		g.clock.forward(2 * time.Second)
		before := g.store.reads.Load()
		for range 1_000 {
			g.read(t, account, "known")
		}
		require.LessOrEqual(t, g.store.reads.Load(), before+3)
	})
	t.Run("of what nobody read fail, as the contract says", func(t *testing.T) {
		before := g.store.reads.Load()
		for range 100 {
			_, err := g.ReadForLambda(t.Context(), account, "unknown")
			requireError(t, err, lambda.KindUnavailable, lambda.CodeSecretFailed, "Reading Secret unknown failed")
		}
		require.LessOrEqual(t, g.store.reads.Load(), before+2)
		require.ErrorContains(t, func() error {
			_, err := g.UpdateFromLambda(t.Context(), account, "l", "known", json.RawMessage(`"x"`))
			return err
		}(), "Updating Secret known failed")
		require.Equal(t, `"value"`, g.read(t, account, "known"), "an update that failed is no reason to forget what is known")
	})
	t.Run("fail after an hour", func(t *testing.T) {
		g.clock.forward(time.Hour)
		_, err := g.ReadForLambda(t.Context(), account, "known")
		require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
	})
	t.Run("go on when it is over", func(t *testing.T) {
		g.store.gate.Store(nil)
		g.clock.forward(2 * time.Second)
		require.Equal(t, `"value"`, g.read(t, account, "known"))
		require.Equal(t, `"value"`, g.read(t, account, "unknown"))
	})
	require.Equal(t, 1, strings.Count(g.log.String(), "does not answer: lambdas get"), "an outage is logged once")
	require.Contains(t, g.log.String(), "answers again")
}

func TestASlowStoreKeepsNobodyWaitingForWhatIsKnown(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	g.create(t, account, "key", `"old"`)
	g.read(t, account, "key")
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	g.store.gate.Store(&hang)
	g.clock.forward(time.Minute)
	began := time.Now()
	require.Equal(t, `"old"`, g.read(t, account, "key"))
	require.Less(t, time.Since(began), 5*time.Second)
	g.store.gate.Store(nil)
}

func TestAChangeIsSeenByTheNextRead(t *testing.T) {
	t.Run("sealed", func(t *testing.T) { testChanges(t, newRegion(t)) })
	t.Run("Vault", func(t *testing.T) {
		r := newRegion(t)
		r.vault = openVault(t, vaulttest.Start(t))
		testChanges(t, r)
	})
}

func openVault(t *testing.T, server *vaulttest.Server) *vault.Store {
	t.Helper()
	token, err := server.Token(t.Context(), 0, true)
	require.NoError(t, err)
	t.Setenv("VAULT_ADDR", server.Address)
	t.Setenv("VAULT_TOKEN", token)
	s, away, err := vault.Open(t.Context(), vault.Config{Mount: "secret", Prefix: "sluice", TransitMount: "transit", TransitKey: "sluice", AppRoleMount: "approle", Log: zerolog.Nop()})
	require.NoError(t, err)
	require.NoError(t, away)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

// testChanges has one gateway write a number that rises, while lambdas read on
// it and on another. A read that begins after a write was answered gives that
// number or a later one; on the other gateway, once its views are so far.
func testChanges(t *testing.T, r *region) {
	writer, reader := r.gateway(t), r.gateway(t)
	account := secrettest.Account()
	writer.create(t, account, "n", `0`)
	const writes = 60
	var answered, seen atomic.Int64 // by the writer; by the reader's views
	done := make(chan struct{})
	var wg sync.WaitGroup
	check := func(g *gateway, least *atomic.Int64) {
		for {
			select {
			case <-done:
				return
			default:
			}
			want := least.Load()
			one, err := g.ReadForLambda(t.Context(), account, "n")
			require.NoError(t, err)
			got, err := strconv.ParseInt(string(one.Value), 10, 64)
			require.NoError(t, err)
			if got < want {
				t.Errorf("read %d after %d was written", got, want)
				return
			}
			time.Sleep(50 * time.Microsecond) // leave the writer some of the machine
		}
	}
	for range 4 {
		wg.Go(func() { check(writer, &answered) })
		wg.Go(func() { check(reader, &seen) })
	}
	for i := range writes {
		_, err := writer.UpdateFromLambda(t.Context(), account, "l", "n", json.RawMessage(strconv.Itoa(i+1)))
		require.NoError(t, err)
		answered.Store(int64(i + 1))
		require.NoError(t, reader.views.WaitFor(t.Context(), writer.etcd.Written()))
		seen.Store(int64(i + 1))
	}
	close(done)
	wg.Wait()

	require.NoError(t, writer.Delete(t.Context(), account, "n", nil))
	_, err := writer.ReadForLambda(t.Context(), account, "n")
	require.True(t, lambda.Is(err, lambda.KindNotFound), "%v", err)
	require.NoError(t, reader.views.WaitFor(t.Context(), writer.etcd.Written()))
	_, err = reader.ReadForLambda(t.Context(), account, "n")
	require.True(t, lambda.Is(err, lambda.KindNotFound), "%v", err)
	writer.create(t, account, "n", `"again"`)
	require.NoError(t, reader.views.WaitFor(t.Context(), writer.etcd.Written()))
	require.Equal(t, `"again"`, reader.read(t, account, "n"))
}

func TestAReadThatWasUnderWayDuringAWriteIsNotKept(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	g.create(t, account, "key", `"old"`)
	entered, open := make(chan struct{}, 1), make(chan struct{})
	var once sync.Once
	late := func(context.Context) error {
		first := false
		once.Do(func() { first = true })
		if first {
			entered <- struct{}{}
			<-open
		}
		return nil
	}
	g.store.gate.Store(&late)
	got := make(chan error, 1)
	go func() {
		_, err := g.ReadForLambda(t.Context(), account, "key")
		got <- err
	}()
	<-entered
	_, err := g.Update(t.Context(), account, "key", secret.Replacement{Value: json.RawMessage(`"new"`), By: "admin"})
	require.NoError(t, err)
	require.Equal(t, `"new"`, g.read(t, account, "key"), "it joins no read that began before the write")
	close(open)
	require.NoError(t, <-got)
	require.Equal(t, `"new"`, g.read(t, account, "key"))
}

func TestAStoreThatPanicsEndsNoGateway(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	g.create(t, account, "key", `"old"`)
	panics := func(context.Context) error { panic(`this is the value "s3cr3t"`) }
	g.store.gate.Store(&panics)
	_, err := g.ReadForLambda(t.Context(), account, "key")
	requireError(t, err, lambda.KindUnavailable, lambda.CodeSecretFailed, "Reading Secret key failed")
	_, err = g.Read(t.Context(), account, "key")
	require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
	_, err = g.Update(t.Context(), account, "key", secret.Replacement{Value: json.RawMessage(`"new"`), By: "admin"})
	require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
	require.Contains(t, g.log.String(), "a request to the store of secrets panicked")
	require.Contains(t, g.log.String(), "service_test.go", "with the stack")
	require.NotContains(t, g.log.String(), "s3cr3t")

	g.store.gate.Store(nil)
	g.clock.forward(2 * time.Second)
	require.Equal(t, `"old"`, g.read(t, account, "key"), "what was taken is given back")
	_, err = g.Update(t.Context(), account, "key", secret.Replacement{Value: json.RawMessage(`"new"`), By: "admin"})
	require.NoError(t, err)
}

func TestUpdatesOfLambdas(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	for key, value := range map[string]string{"text": `"a"`, "number": `1`, "json": `{"a":1}`} {
		g.create(t, account, key, value)
	}
	update := func(key, value string) (*secret.Secret, error) {
		return g.UpdateFromLambda(t.Context(), account, "4f1c", key, json.RawMessage(value))
	}
	t.Run("give a new value of the type", func(t *testing.T) {
		for key, value := range map[string]string{"text": `"b"`, "number": `1e400`, "json": `[1, 2]`} {
			changed, err := update(key, value)
			require.NoError(t, err)
			require.Equal(t, strings.ReplaceAll(value, " ", ""), string(changed.Value))
			require.Equal(t, 2, changed.Version)
			require.Equal(t, "lambda 4f1c", changed.UpdatedBy)
			require.Equal(t, "admin", changed.CreatedBy)
			require.Equal(t, string(changed.Value), g.read(t, account, key))
		}
	})
	t.Run("are noted, without values", func(t *testing.T) {
		require.Len(t, g.notes.all, 3)
		for _, a := range g.notes.all {
			require.Equal(t, account, a.Account)
			require.Equal(t, "lambda 4f1c", a.By)
			require.Equal(t, journal.Update, a.Action)
			require.Equal(t, journal.Secret, a.Noun)
			require.Equal(t, []journal.Change{{Field: "value", After: "set anew"}}, a.Changes)
			require.NotContains(t, fmt.Sprintf("%+v", a), "1e400")
		}
	})
	t.Run("are noted once an hour for each lambda and secret, with their number", func(t *testing.T) {
		again := func(lambdaID, key string, times int) {
			for range times {
				_, err := g.UpdateFromLambda(t.Context(), account, lambdaID, key, json.RawMessage(`"c"`))
				require.NoError(t, err)
			}
		}
		last := func() []journal.Change { return g.notes.all[len(g.notes.all)-1].Changes }
		again("4f1c", "text", 10)
		require.Len(t, g.notes.all, 3)
		again("77aa", "text", 10)
		require.Len(t, g.notes.all, 4, "another lambda is noted")
		require.Equal(t, []journal.Change{{Field: "value", After: "set anew"}}, last())
		g.clock.forward(time.Hour)
		g.notes.full = true
		again("4f1c", "text", 1)
		g.notes.full = false
		again("4f1c", "text", 5)
		require.Len(t, g.notes.all, 5)
		require.Equal(t, []journal.Change{{Field: "value", After: "set anew"}, {Field: "updates", After: "12"}}, last(), "also those that could not be noted")
		g.clock.forward(time.Hour)
		again("4f1c", "text", 1)
		require.Equal(t, []journal.Change{{Field: "value", After: "set anew"}, {Field: "updates", After: "5"}}, last())
	})
	t.Run("never create", func(t *testing.T) {
		for _, key := range []string{"none", "", "a b", strings.Repeat("k", 101)} {
			_, err := update(key, `"x"`)
			require.True(t, lambda.Is(err, lambda.KindNotFound), "%v", err)
			require.Equal(t, lambda.CodeSecretFailed, lambda.As(err).Code)
		}
		_, err := update("none", `"x"`)
		requireError(t, err, lambda.KindNotFound, lambda.CodeSecretFailed, "Updating Secret none failed")
	})
	t.Run("leave the platform's own alone", func(t *testing.T) {
		g.create(t, account, "lp-faas-default-app-key", `{}`)
		_, err := update("lp-faas-default-app-key", `{"a":1}`)
		requireError(t, err, lambda.KindForbidden, lambda.CodeSecretFailed, "Updating Secret lp-faas-default-app-key failed")
		require.Equal(t, `{}`, g.read(t, account, "lp-faas-default-app-key"))
	})
	t.Run("are no longer than a secret", func(t *testing.T) {
		_, err := update("text", `"`+strings.Repeat("𝄞", 10_001)+`"`)
		requireError(t, err, lambda.KindInvalid, lambda.CodeSecretFormat, "Provided Secret Value exceeds allowed length of 10000")
		_, err = update("text", `"`+strings.Repeat("𝄞", 10_000)+`"`)
		require.NoError(t, err)
		_, err = update("json", `["`+strings.Repeat("x", 10_000)+`"]`)
		requireError(t, err, lambda.KindInvalid, lambda.CodeSecretFormat, "Provided Secret Value exceeds allowed length of 10000")
	})
	t.Run("are of the secret's type", func(t *testing.T) {
		for key, values := range map[string][]string{"text": {`1`, `{}`}, "number": {`"1"`, `[]`}, "json": {`"{}"`, `1`}, "none": {`true`, `null`, ``, `{`, `undefined`, "\"\xff\""}} {
			for _, value := range values {
				_, err := update(key, value)
				require.True(t, lambda.Is(err, lambda.KindInvalid), "%s %s: %v", key, value, err)
				require.Equal(t, lambda.CodeSecretFormat, lambda.As(err).Code)
			}
		}
		require.Equal(t, `1e400`, g.read(t, account, "number"))
	})
	t.Run("of several at once are all made", func(t *testing.T) {
		g.create(t, account, "busy", `0`)
		others := []*gateway{g, r.gateway(t)}
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				_, err := others[i%2].UpdateFromLambda(t.Context(), account, "l", "busy", json.RawMessage(strconv.Itoa(i)))
				require.NoError(t, err)
			})
		}
		wg.Wait()
		one, err := g.Read(t.Context(), account, "busy")
		require.NoError(t, err)
		require.Equal(t, 31, one.Version)
	})
	require.NotContains(t, g.log.String(), "1e400")
}

func TestLambdasCannotFillTheStoreWithHistory(t *testing.T) {
	g := newRegion(t).gateway(t)
	g.create(t, "1", "k", `"a"`)
	g.create(t, "2", "k", `"a"`)
	update := func(account string) error {
		_, err := g.UpdateFromLambda(t.Context(), account, "l1", "k", json.RawMessage(`"`+strings.Repeat(`\u0001`, 10_000)+`"`))
		return err
	}
	written := 0
	var err error
	for err == nil && written <= 8<<20 {
		if err = update("1"); err == nil {
			written += 60_000
		}
	}
	e := lambda.As(err)
	require.NotNil(t, e, "8 MiB were written at once")
	require.Equal(t, lambda.KindRateLimited, e.Kind)
	require.Equal(t, lambda.CodeSecretFailed, e.Code)
	require.True(t, strings.HasPrefix(e.Message, "Updating Secret k failed: "), e.Message)
	require.Greater(t, written, 2<<20)
	require.NoError(t, update("2"), "another account is not kept from it")
	g.clock.forward(e.RetryAfter + time.Millisecond)
	require.NoError(t, update("1"))
	_, err = g.Update(t.Context(), "1", "k", secret.Replacement{Value: json.RawMessage(`"b"`), By: "admin"})
	require.NoError(t, err, "people have a limit of their own")
}

func TestAWriteGoesOnWhenItsCallerLeaves(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	g.create(t, account, "key", `"old"`)
	ctx, cancel := context.WithCancel(t.Context())
	leave := func(context.Context) error { cancel(); return nil }
	g.store.gate.Store(&leave)
	_, err := g.Update(ctx, account, "key", secret.Replacement{Value: json.RawMessage(`"new"`), By: "admin"})
	require.NoError(t, err)
	require.Equal(t, `"new"`, g.read(t, account, "key"))
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t, func(l *lambda.Limits) { l.SecretValue, l.Secrets = 100_000, 0 })
	account := secrettest.Account()
	const one = 100_000 * 4 // bytes of the largest string
	g.create(t, account, "large", `"`+strings.Repeat("𝄞", 100_000)+`"`)
	large, err := g.Read(t.Context(), account, "large")
	require.NoError(t, err)
	g.store.twin = large
	for i := range 100 {
		g.read(t, account, "large-"+strconv.Itoa(i))
	}
	held := func(name string) float64 {
		families, err := g.registry.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == name {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	require.LessOrEqual(t, held("sluice_secret_cache_bytes"), float64(32<<20))
	require.Greater(t, held("sluice_secret_cache_bytes"), float64(32<<20-2*one))
	require.Less(t, held("sluice_secret_cache_entries"), 100.0)
	t.Run("and keys that are made up push nothing out", func(t *testing.T) {
		before := held("sluice_secret_cache_entries")
		for i := range 6_000 {
			_, err := g.ReadForLambda(t.Context(), account, "none-"+strconv.Itoa(i))
			require.True(t, lambda.Is(err, lambda.KindNotFound))
		}
		require.Equal(t, before, held("sluice_secret_cache_entries"))
	})
}

func TestReadsUnderWayAreBounded(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	open := make(chan struct{})
	wait := func(ctx context.Context) error {
		select {
		case <-open:
		case <-ctx.Done():
		}
		return nil
	}
	g.store.gate.Store(&wait)
	var wg sync.WaitGroup
	var refused atomic.Int64
	for i := range 1_000 {
		wg.Go(func() {
			_, err := g.ReadForLambda(t.Context(), account, "none-"+strconv.Itoa(i))
			if lambda.Is(err, lambda.KindUnavailable) {
				refused.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return refused.Load() == 1_000-128 }, 10*time.Second, time.Millisecond)
	other := make(chan error, 1)
	go func() {
		_, err := g.ReadForLambda(t.Context(), secrettest.Account(), "key")
		other <- err
	}()
	close(open)
	require.True(t, lambda.Is(<-other, lambda.KindNotFound), "another account has its own share")
	wg.Wait()
}

func TestAnAnswerIsAsOldAsItsQuestion(t *testing.T) {
	r := newRegion(t)
	g := r.gateway(t)
	account := secrettest.Account()
	g.create(t, account, "key", `"value"`)
	asked, answer := make(chan struct{}), make(chan struct{})
	wait := func(context.Context) error {
		close(asked)
		<-answer
		return nil
	}
	g.store.gate.Store(&wait)
	read := make(chan error, 1)
	go func() {
		_, err := g.ReadForLambda(t.Context(), account, "key")
		read <- err
	}()
	<-asked
	g.store.gate.Store(nil)
	g.clock.forward(time.Minute)
	close(answer)
	require.NoError(t, <-read)
	before := g.count("store")
	g.read(t, account, "key")
	require.Equal(t, before+1, g.count("store"), "the store was asked a minute ago")
}

func TestVaultIsKilledWhileLambdasRead(t *testing.T) {
	server := vaulttest.Start(t)
	r := newRegion(t)
	r.vault = openVault(t, server)
	g := r.gateway(t)
	account := secrettest.Account()
	g.create(t, account, "key", `"value"`)
	g.read(t, account, "key")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				one, err := g.ReadForLambda(t.Context(), account, "key")
				if err != nil || string(one.Value) != `"value"` {
					t.Errorf("a read that worked before fails: %v", err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for _, outage := range []struct{ begin, end func() error }{
		{func() error { server.Kill(); return nil }, func() error { return server.Restart(t.Context()) }},
		{func() error { return server.Seal(t.Context()) }, func() error { return server.Unseal(t.Context()) }},
	} {
		require.NoError(t, outage.begin())
		g.clock.forward(time.Minute)
		require.Eventually(t, func() bool {
			return g.Check(t.Context()) != nil && strings.Contains(g.Check(t.Context()).Error(), "as they were last read")
		}, 20*time.Second, 20*time.Millisecond)
		require.NoError(t, outage.end())
		g.clock.forward(time.Minute)
		require.Eventually(t, func() bool { return g.Check(t.Context()) == nil }, 20*time.Second, 20*time.Millisecond)
	}
	close(stop)
	wg.Wait()
	require.Positive(t, g.count("stale"))
	_, err := g.UpdateFromLambda(t.Context(), account, "l", "key", json.RawMessage(`"other"`))
	require.NoError(t, err)
	require.Equal(t, `"other"`, g.read(t, account, "key"))
}
