package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins"
	"github.com/sluice-faas/sluice/plugins/host"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// account is an account's secrets, in memory. Hooks run before each request.
type account struct {
	mu     sync.Mutex
	values map[string][]byte
	before func(ctx context.Context) error
	served atomic.Int64
	now    atomic.Int64 // requests that are being served
	most   atomic.Int64 // the most of them at once
}

func secretsOf(values map[string]string) *account {
	a := &account{values: make(map[string][]byte), before: func(context.Context) error { return nil }}
	for k, v := range values {
		a.values[k] = []byte(v)
	}
	return a
}

func (a *account) ReadSecret(ctx context.Context, key string) (runtime.Secret, error) {
	return a.serve(ctx, key, nil)
}

func (a *account) UpdateSecret(ctx context.Context, s runtime.Secret) (runtime.Secret, error) {
	return a.serve(ctx, s.Key, s.Value)
}

func (a *account) serve(ctx context.Context, key string, value []byte) (runtime.Secret, error) {
	now := a.now.Add(1)
	defer a.now.Add(-1)
	for most := a.most.Load(); now > most && !a.most.CompareAndSwap(most, now); most = a.most.Load() {
	}
	a.served.Add(1)
	if err := a.before(ctx); err != nil {
		return runtime.Secret{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.values[key]; !ok {
		return runtime.Secret{}, fmt.Errorf("wrapped: %w", &runtime.SecretError{Code: runtime.SecretNotFound, Message: "There is no Secret " + key + " for this account"})
	}
	if value != nil {
		a.values[key] = value
	}
	return runtime.Secret{Key: key, Value: a.values[key]}, nil
}

// awaitQuiet fails if a request is still being served after a while.
func (a *account) awaitQuiet(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return a.now.Load() == 0 }, 5*time.Second, time.Millisecond)
}

func TestUserCodeReadsAndChangesTheSecretsOfItsAccount(t *testing.T) {
	o, _ := options(t, "obedient")
	p := loadWith(t, o, secretsOf(map[string]string{"k": `{"a":1}`, "large": `"` + strings.Repeat("ü", 100_000) + `"`}))
	got, err := tell(t, p, order{Do: "read", Text: "k"})
	require.NoError(t, err)
	require.Equal(t, `{"a":1}`, got)
	got, err = tell(t, p, order{Do: "update", Text: "k", N: 100_000})
	require.NoError(t, err)
	require.Len(t, got, 100_002)
	got, err = tell(t, p, order{Do: "read", Text: "k"})
	require.NoError(t, err)
	require.Len(t, got, 100_002, "the new value is kept")
	got, err = tell(t, p, order{Do: "read", Text: "large"})
	require.NoError(t, err)
	require.Len(t, got, 200_002)
	_, err = tell(t, p, order{Do: "read", Text: "other"})
	require.EqualError(t, err, runtime.SecretNotFound+": There is no Secret other for this account")
}

func TestAProcessWithoutSecretsIsToldSo(t *testing.T) {
	_, err := tell(t, obedient(t), order{Do: "read", Text: "k"})
	require.EqualError(t, err, runtime.SecretAuthFailed+": The gateway gives this lambda no access to secrets: it was started without a secret store")
}

func TestAProvidersOwnFaultsAreForTheLogOnly(t *testing.T) {
	o, log := options(t, "obedient")
	a := secretsOf(nil)
	a.before = func(context.Context) error { return errors.New("dial tcp 10.0.0.1:8200: refused") }
	p := loadWith(t, o, a)
	for range 3 {
		_, err := tell(t, p, order{Do: "update", Text: "k", N: 7})
		require.EqualError(t, err, runtime.SecretFailed+": Updating Secret k failed: the gateway could not serve the request")
	}
	require.Equal(t, 1, strings.Count(log.String(), "10.0.0.1"), "once a minute")
	require.NotContains(t, log.String(), "xxxxxxx", "a value is nowhere")
}

func TestAProviderThatPanicsEndsNoHost(t *testing.T) {
	o, log := options(t, "obedient")
	a := secretsOf(map[string]string{"k": `1`})
	a.before = func(context.Context) error { panic("this is the value xxxxxxx") }
	p := loadWith(t, o, a)
	for _, do := range []string{"read", "update"} {
		_, err := tell(t, p, order{Do: do, Text: "k", N: 7})
		require.ErrorContains(t, err, "Secret k failed: the gateway could not serve the request")
	}
	require.Contains(t, log.String(), "request_test.go", "the stack is in the log")
	require.NotContains(t, log.String(), "xxxxxxx", "a value is nowhere")
	a.before = func(context.Context) error { return nil }
	got, err := tell(t, p, order{Do: "read", Text: "k"})
	require.NoError(t, err)
	require.Equal(t, "1", got)
}

// TestAtMostSoManyRequestsAreServedAtOnce sends more than the contract allows
// through a runtime that keeps to it: all are served, by so many goroutines.
func TestAtMostSoManyRequestsAreServedAtOnce(t *testing.T) {
	o, _ := options(t, "obedient")
	a := secretsOf(map[string]string{"k": "1"})
	full := make(chan struct{})
	a.before = func(context.Context) error { <-full; return nil }
	p := loadWith(t, o, a)
	var calls []<-chan error
	for range 3 * plugins.MaxRequestWeight {
		calls = append(calls, start(t, p, context.Background(), order{Do: "read", Text: "k"}))
	}
	require.Eventually(t, func() bool { return a.now.Load() == plugins.MaxRequestWeight }, 5*time.Second, time.Millisecond)
	close(full)
	for _, c := range calls {
		require.NoError(t, <-c)
	}
	require.Equal(t, int64(plugins.MaxRequestWeight), a.most.Load())
	require.Equal(t, int64(len(calls)), a.served.Load())
}

func TestAProcessThatEndsCancelsItsRequests(t *testing.T) {
	o, _ := options(t, "obedient")
	a := secretsOf(nil)
	cancelled := make(chan error, 1)
	a.before = func(ctx context.Context) error {
		<-ctx.Done()
		cancelled <- ctx.Err()
		return ctx.Err()
	}
	p := loadWith(t, o, a)
	call := start(t, p, context.Background(), order{Do: "read", Text: "k"})
	require.Eventually(t, func() bool { return a.now.Load() == 1 }, 5*time.Second, time.Millisecond)
	p.Kill()
	var exit *host.ExitError
	require.ErrorAs(t, <-call, &exit)
	awaitEnd(t, p)
	require.ErrorIs(t, <-cancelled, context.Canceled)
	a.awaitQuiet(t)
}

func TestACallThatIsGivenUpLeavesItsRequestToEnd(t *testing.T) {
	o, _ := options(t, "obedient")
	a := secretsOf(map[string]string{"k": "1"})
	release := make(chan struct{})
	a.before = func(ctx context.Context) error {
		<-release
		return ctx.Err()
	}
	p := loadWith(t, o, a)
	ctx, cancel := context.WithCancel(context.Background())
	call := start(t, p, ctx, order{Do: "read", Text: "k"})
	require.Eventually(t, func() bool { return a.now.Load() == 1 }, 5*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-call, context.Canceled)
	close(release)
	got, err := tell(t, p, order{Do: "read", Text: "k"})
	require.NoError(t, err)
	require.Equal(t, "1", got)
}

// The hostile runtime

func read(id, call uint64, key string) *runtimev1.HostRequest {
	return &runtimev1.HostRequest{Id: id, CallId: call, Request: &runtimev1.HostRequest_ReadSecret{ReadSecret: &runtimev1.ReadSecret{Key: key}}}
}

func update(id, call uint64, value string) *runtimev1.HostRequest {
	return &runtimev1.HostRequest{Id: id, CallId: call, Request: &runtimev1.HostRequest_UpdateSecret{
		UpdateSecret: &runtimev1.UpdateSecret{Key: "k", Value: []byte(value)}}}
}

func asked(requests ...*runtimev1.HostRequest) *runtimev1.RuntimeFrame {
	return &runtimev1.RuntimeFrame{Requests: requests}
}

// replies receives until n replies are there.
func replies(s hostStream, n int) (got []*runtimev1.HostReply, err error) {
	for len(got) < n {
		frame, err := s.Recv()
		if err != nil {
			return nil, err
		}
		got = append(got, frame.GetReplies()...)
	}
	return got, nil
}

// stuck is a provider that serves nothing before the process ends.
func stuck() *account {
	a := secretsOf(nil)
	a.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	return a
}

var requestAttacks = map[string]attack{
	"a request with id 0": once(func(id uint64) *runtimev1.RuntimeFrame { return asked(read(0, id, "k")) }),
	"a request of a call that never was": once(func(id uint64) *runtimev1.RuntimeFrame {
		return asked(read(1, id+1, "k"))
	}),
	"a request id that is open": once(func(id uint64) *runtimev1.RuntimeFrame {
		return asked(read(1, id, "k"), read(1, 0, "other"))
	}),
	"a request for nothing": once(func(id uint64) *runtimev1.RuntimeFrame {
		return asked(&runtimev1.HostRequest{Id: 1, CallId: id})
	}),
	"a request for two things": raw(nested(6, append([]byte("\x08\x01"), append(nested(3, nested(1, []byte("k"))), nested(4, nested(1, []byte("k")))...)...))),
	"a request whose key is too large": once(func(id uint64) *runtimev1.RuntimeFrame {
		return asked(read(1, id, strings.Repeat("k", plugins.MaxSecretKey+1)))
	}),
	"a request whose key is not UTF-8": raw(nested(6, append([]byte("\x08\x01"), nested(3, nested(1, []byte("\xff")))...))),
	"a request whose value is too large": once(func(id uint64) *runtimev1.RuntimeFrame {
		return asked(update(1, id, `"`+strings.Repeat("x", plugins.MaxSecret)+`"`))
	}),
	"a request whose value is not JSON":  once(func(id uint64) *runtimev1.RuntimeFrame { return asked(update(1, id, `{`)) }),
	"a request without value":            once(func(id uint64) *runtimev1.RuntimeFrame { return asked(update(1, id, ``)) }),
	"a request whose value is not UTF-8": once(func(id uint64) *runtimev1.RuntimeFrame { return asked(update(1, id, "\"\xff\"")) }),
	"requests of one call without end":   requestsWithoutEnd(func(id, n uint64) *runtimev1.HostRequest { return read(n, id, "k") }),
	"requests of no call without end":    requestsWithoutEnd(func(_, n uint64) *runtimev1.HostRequest { return read(n, 0, "k") }),
	"large requests without end": requestsWithoutEnd(func(_, n uint64) *runtimev1.HostRequest {
		return update(n, 0, `"`+strings.Repeat("x", plugins.MaxSecret-2)+`"`)
	}),
}

func requestsWithoutEnd(f func(call, n uint64) *runtimev1.HostRequest) attack {
	return func(s hostStream, call uint64) error {
		for n := uint64(1); ; n++ {
			if err := s.Send(asked(f(call, n))); err != nil {
				return err
			}
		}
	}
}

func TestAnIllegalRequestEndsTheProcess(t *testing.T) {
	for name := range requestAttacks {
		for provider, secrets := range map[string]*account{"served": secretsOf(map[string]string{"k": "1"}), "not served": stuck()} {
			if name == "a request id that is open" && provider == "served" {
				continue // when the first has its reply already, the second is legal
			}
			t.Run(name+", "+provider, func(t *testing.T) {
				o, log := options(t, "hostile", name)
				p := loadWith(t, o, secrets)
				_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
				var exit *host.ExitError
				require.ErrorAs(t, err, &exit)
				awaitEnd(t, p)
				require.Contains(t, p.ExitReason(), "violated the runtime contract")
				require.Contains(t, log.String(), `"violation":true`)
				require.LessOrEqual(t, secrets.most.Load(), int64(plugins.MaxRequestWeight))
				secrets.awaitQuiet(t)
				require.Less(t, secrets.served.Load(), int64(100_000), "a flood ends")
			})
		}
	}
}

func init() {
	for name, f := range requestAttacks {
		behaviours[name] = f
	}
	behaviours["asks for too much at once"] = asksForTooMuch
	behaviours["asks after its call"] = asksAfterItsCall
	behaviours["asks and exits"] = func(s hostStream, id uint64) error {
		if err := s.Send(&runtimev1.RuntimeFrame{
			Requests: []*runtimev1.HostRequest{read(1, id, "k")}, Exit: &runtimev1.Exit{CallId: id, Reason: "process.exit(0)"},
		}); err != nil {
			return err
		}
		time.Sleep(time.Hour)
		return nil
	}
	behaviours["asks after drain"] = asksAfterDrain
	behaviours["asks and reads nothing"] = requestsWithoutEnd(func(id, n uint64) *runtimev1.HostRequest { return read(n, id, "k") })
}

// asksForTooMuch answers with how many requests were refused at once.
func asksForTooMuch(s hostStream, id uint64) error {
	f := asked()
	for n := range uint64(plugins.MaxRequestWeight + 3) {
		f.Requests = append(f.Requests, read(n+1, id, "k"))
	}
	if err := s.Send(f); err != nil {
		return err
	}
	got, err := replies(s, 3)
	if err != nil {
		return err
	}
	return once(func(uint64) *runtimev1.RuntimeFrame {
		return answer(id, fmt.Sprintf("%q", got[2].GetError().GetMessage()))
	})(s, id)
}

func TestWhatIsAskedBeyondTheLimitIsRefusedAtOnce(t *testing.T) {
	o, _ := options(t, "hostile", "asks for too much at once")
	secrets := stuck()
	p := loadWith(t, o, secrets)
	r, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	require.NoError(t, err)
	require.Equal(t, `"Reading Secret k failed: too many requests are open: wait for their replies"`, string(r.Payload))
	require.Eventually(t, func() bool { return secrets.now.Load() == plugins.MaxRequestWeight }, 5*time.Second, time.Millisecond)
}

// asksAfterItsCall answers its first call, asks, and answers its second call with
// the reply. It uses the id of the request again, which is legal by then.
func asksAfterItsCall(s hostStream, id uint64) error {
	if err := s.Send(answer(id, "1")); err != nil {
		return err
	}
	next, err := s.Recv()
	if err != nil {
		return err
	}
	var value string
	for range 2 {
		if err := s.Send(asked(read(9, id, "k"))); err != nil {
			return err
		}
		got, err := replies(s, 1)
		if err != nil {
			return err
		}
		value = string(got[0].GetSecret().GetValue())
	}
	return once(func(uint64) *runtimev1.RuntimeFrame { return answer(next.GetCalls()[0].GetId(), value) })(s, id)
}

func TestARequestAfterItsCallIsServed(t *testing.T) {
	o, _ := options(t, "hostile", "asks after its call")
	p := loadWith(t, o, secretsOf(map[string]string{"k": `"v"`}))
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	require.NoError(t, err)
	r, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	require.NoError(t, err)
	require.Equal(t, `"v"`, string(r.Payload))
}

func TestARequestBeforeAnExitHoldsNothingUp(t *testing.T) {
	o, _ := options(t, "hostile", "asks and exits")
	secrets := stuck()
	p := loadWith(t, o, secrets)
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	var exit *host.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, host.ExitError{Reason: "process.exit(0)", Own: true}, *exit)
	awaitEnd(t, p)
	secrets.awaitQuiet(t)
}

// asksAfterDrain ends the stream only when a request that it sends after the
// drain has its reply.
func asksAfterDrain(s hostStream, id uint64) error {
	if err := s.Send(answer(id, "1")); err != nil {
		return err
	}
	for drained := false; !drained; {
		frame, err := s.Recv()
		if err != nil {
			return err
		}
		drained = frame.GetDrain()
	}
	if err := s.Send(asked(read(1, 0, "k"))); err != nil {
		return err
	}
	_, err := replies(s, 1)
	return err
}

func TestARequestAfterDrainIsServed(t *testing.T) {
	o, _ := options(t, "hostile", "asks after drain")
	secrets := secretsOf(map[string]string{"k": `"v"`})
	p := loadWith(t, o, secrets)
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	require.NoError(t, err)
	require.NoError(t, p.Drain(context.Background()))
	require.Equal(t, "drained", p.ExitReason())
	require.Equal(t, int64(1), secrets.served.Load())
}

func TestRepliesToAProcessThatDoesNotReadAreBounded(t *testing.T) {
	o, _ := options(t, "hostile", "asks and reads nothing")
	secrets := secretsOf(map[string]string{"k": `"` + strings.Repeat("x", 2_000_000) + `"`})
	p := loadWith(t, o, secrets)
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	var exit *host.ExitError
	require.ErrorAs(t, err, &exit)
	awaitEnd(t, p)
	require.Contains(t, p.ExitReason(), "violated the runtime contract")
	// What fits the queue and the stream, and those that wait for room.
	require.Less(t, secrets.served.Load(), int64(plugins.MaxRequestWeight+30))
}
