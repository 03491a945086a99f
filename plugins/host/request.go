package host

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluice-faas/sluice/plugins"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// requestTime is how long one request may take, whatever it waits for.
const requestTime = 10 * time.Second

// requests are what a process has asked of its host. Each is served by a goroutine
// of its own, which the session's end cancels and nobody waits for: a write that
// was begun may take a moment more.
type requests struct {
	secrets runtime.Secrets
	time    time.Duration   // of one request
	ctx     context.Context // ends with the session
	stop    context.CancelFunc
	faults  rate.Sometimes // how often the log hears of a provider that fails

	// Both need session.mu.
	open   map[uint64]int // weights by id; a request is open until its reply is queued
	weight int
}

func newRequests(secrets runtime.Secrets) requests {
	if secrets == nil {
		secrets = noSecrets{}
	}
	ctx, stop := context.WithCancel(context.Background())
	return requests{
		secrets: secrets, time: requestTime, ctx: ctx, stop: stop,
		faults: rate.Sometimes{Interval: time.Minute}, open: make(map[uint64]int),
	}
}

// noSecrets answers for a process that was given none.
type noSecrets struct{}

var errNoSecrets = &runtime.SecretError{Code: runtime.SecretAuthFailed, Message: "The gateway gives this lambda no access to secrets: it was started without a secret store"}

func (noSecrets) ReadSecret(context.Context, string) (runtime.Secret, error) {
	return runtime.Secret{}, errNoSecrets
}

func (noSecrets) UpdateSecret(context.Context, runtime.Secret) (runtime.Secret, error) {
	return runtime.Secret{}, errNoSecrets
}

// acceptRequest checks a request and begins to serve it. It never waits.
func (s *session) acceptRequest(b []byte, now time.Time) error {
	r, err := parseRequest(b)
	if err != nil {
		return err
	}
	if err := s.checkRequest(&r); err != nil {
		return err
	}
	if err := s.countRequest(&r, now); err != nil {
		return err
	}
	begun, err := s.begin(&r)
	if err != nil {
		return err
	}
	if !begun {
		return s.refuseRequest(&r, now)
	}
	r.secret.Value = slices.Clone(r.secret.Value) // the frame's buffer is used again
	go s.serve(r)
	return nil
}

func (s *session) checkRequest(r *request) error {
	switch {
	case r.id == 0:
		return violationf("a request has the id 0")
	case r.callID > s.ids.Load():
		return violationf("a request of call %d, which never was", r.callID)
	case len(r.secret.Key) > plugins.MaxSecretKey:
		return violationf("the key of a request is larger than %d bytes", plugins.MaxSecretKey)
	case !r.update:
		r.secret.Value = nil
	case len(r.secret.Value) > plugins.MaxSecret:
		return violationf("the value of a request is larger than %d bytes", plugins.MaxSecret)
	case !validJSON(r.secret.Value):
		return violationf("the value of a request is not JSON in UTF-8")
	}
	return nil
}

// countRequest lets an open call send so many; the rest belongs to no call.
func (s *session) countRequest(r *request, now time.Time) error {
	s.mu.Lock()
	c := s.calls[r.callID]
	counted := false
	if c != nil {
		c.requests++
		counted = c.requests <= plugins.MaxCallRequests
	}
	s.mu.Unlock()
	if counted {
		return nil
	}
	return s.spend(len(r.secret.Value), now)
}

// begin opens the request, unless it is one too many.
func (s *session) begin(r *request) (bool, error) {
	weight := plugins.RequestWeight(len(r.secret.Value))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.open[r.id] > 0 {
		return false, violationf("the id of request %d is used again before its reply", r.id)
	}
	if s.asked.weight+weight > plugins.MaxRequestWeight {
		return false, nil
	}
	s.asked.open[r.id] = weight
	s.asked.weight += weight
	return true, nil
}

// refuseRequest answers one that is too many, at once. A process that has so many
// open and reads nothing cannot even be told.
func (s *session) refuseRequest(r *request, now time.Time) error {
	if err := s.spend(len(r.secret.Value), now); err != nil {
		return err
	}
	told := errorReply(r.id, r.failed("too many requests are open: wait for their replies"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasRoom(told.size()) {
		return violationf("too many requests are open, and their replies are not read")
	}
	s.control(told.size(), told.appendTo)
	return nil
}

// serve performs one request and queues its reply.
func (s *session) serve(r request) {
	told := s.perform(&r)
	for {
		s.mu.Lock()
		if s.hasRoom(told.size()) {
			break
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-s.asked.ctx.Done():
			return
		}
	}
	defer s.mu.Unlock()
	s.asked.weight -= s.asked.open[r.id]
	delete(s.asked.open, r.id)
	s.control(told.size(), told.appendTo)
}

func (s *session) perform(r *request) reply {
	ctx, cancel := context.WithTimeout(s.asked.ctx, s.asked.time)
	defer cancel()
	secret, err := s.asked.do(ctx, r)
	if err == nil && len(secret.Value) > plugins.MaxSecret {
		err = r.failed(fmt.Sprintf("the value is larger than %d bytes", plugins.MaxSecret))
	}
	if err != nil {
		return errorReply(r.id, s.refusal(ctx, r, err))
	}
	return secretReply(r.id, secret)
}

// do asks the provider. A panic of it is an error for the log: it must not end the
// host. What it panicked with may hold a value, so that its type is all that is
// said of it.
func (a *requests) do(ctx context.Context, r *request) (got runtime.Secret, err error) {
	defer func() {
		if p := recover(); p != nil {
			got, err = runtime.Secret{}, fmt.Errorf("panic: a %T\n%s", p, debug.Stack())
		}
	}()
	if r.update {
		return a.secrets.UpdateSecret(ctx, r.secret)
	}
	return a.secrets.ReadSecret(ctx, r.secret.Key)
}

// refusal puts an error into words for user code. What the provider did not mean
// for it goes to the log.
func (s *session) refusal(ctx context.Context, r *request, err error) *runtime.SecretError {
	var told *runtime.SecretError
	switch {
	case errors.As(err, &told):
		return &runtime.SecretError{
			Code:    strings.ToValidUTF8(cut(told.Code, maxReason), "\uFFFD"),
			Message: strings.ToValidUTF8(cut(told.Message, maxTextBytes), "\uFFFD"),
		}
	case s.asked.ctx.Err() != nil:
		return r.failed("the process is ending") // which it will not read
	case ctx.Err() != nil:
		return r.failed(fmt.Sprintf("no answer within %v", s.asked.time))
	}
	s.asked.faults.Do(func() {
		s.proc.log.Warn().Err(err).Msg("a request of the runtime process could not be served")
	})
	return r.failed("the gateway could not serve the request")
}

// failed is the contract's error for what is not the secret's fault.
func (r *request) failed(why string) *runtime.SecretError {
	doing := "Reading"
	if r.update {
		doing = "Updating"
	}
	return &runtime.SecretError{Code: runtime.SecretFailed, Message: fmt.Sprintf("%s Secret %s failed: %s", doing, r.secret.Key, why)}
}
