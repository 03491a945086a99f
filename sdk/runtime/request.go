package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"

	"github.com/sluice-faas/sluice/plugins"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
)

// requests are what a session has asked of the gateway. They keep to the
// contract's limits, so that user code cannot break it.
type requests struct {
	room *semaphore.Weighted // the weight that may yet be opened
	over chan struct{}       // closed with the session

	// Both need session.mu.
	last uint64 // the latest request's id
	open map[uint64]*openRequest
}

// openRequest is one that waits for its reply.
type openRequest struct {
	weight  int64
	replied chan *runtimev1.HostReply // has room for the one reply
}

func newRequests() requests {
	return requests{
		room: semaphore.NewWeighted(plugins.MaxRequestWeight), over: make(chan struct{}),
		open: make(map[uint64]*openRequest),
	}
}

// callSecrets are the Secrets of one call.
type callSecrets struct {
	session *session
	call    *openCall
}

// ReadSecret asks the gateway.
func (c *callSecrets) ReadSecret(ctx context.Context, key string) (Secret, error) {
	if err := checkKey(key); err != nil {
		return Secret{}, err
	}
	return c.session.ask(ctx, c.call, &runtimev1.HostRequest{
		Request: &runtimev1.HostRequest_ReadSecret{ReadSecret: &runtimev1.ReadSecret{Key: key}},
	}, 0)
}

// UpdateSecret asks the gateway.
func (c *callSecrets) UpdateSecret(ctx context.Context, s Secret) (Secret, error) {
	if err := checkKey(s.Key); err != nil {
		return Secret{}, err
	}
	switch {
	case len(s.Value) > plugins.MaxSecret:
		return Secret{}, invalidSecret("the value has %d bytes, the limit is %d", len(s.Value), plugins.MaxSecret)
	case !utf8.Valid(s.Value) || !json.Valid(s.Value):
		return Secret{}, invalidSecret("the value is not JSON")
	}
	return c.session.ask(ctx, c.call, &runtimev1.HostRequest{
		Request: &runtimev1.HostRequest_UpdateSecret{UpdateSecret: &runtimev1.UpdateSecret{Key: s.Key, Value: slices.Clone(s.Value)}},
	}, len(s.Value))
}

func checkKey(key string) error {
	switch {
	case len(key) > plugins.MaxSecretKey:
		return invalidSecret("the key has %d bytes, the limit is %d", len(key), plugins.MaxSecretKey)
	case !utf8.ValidString(key):
		return invalidSecret("the key is not UTF-8")
	}
	return nil
}

func invalidSecret(format string, args ...any) error {
	return &SecretError{Code: SecretInvalid, Message: fmt.Sprintf(format, args...)}
}

var (
	errCallOver    = errors.New("the call is over: secrets are there until Handle has returned")
	errSessionOver = errors.New("the gateway has left")
)

// ask sends a request and waits for its reply. One that nobody waits for any more
// is open until its reply comes.
func (s *session) ask(ctx context.Context, c *openCall, r *runtimev1.HostRequest, bytes int) (Secret, error) {
	weight := int64(plugins.RequestWeight(bytes))
	if err := s.asked.room.Acquire(ctx, weight); err != nil {
		return Secret{}, fmt.Errorf("before the request was sent: %w", err)
	}
	o := &openRequest{weight: weight, replied: make(chan *runtimev1.HostReply, 1)}
	if err := s.request(c, o, r, bytes); err != nil {
		s.asked.room.Release(weight)
		return Secret{}, err
	}
	select {
	case reply := <-o.replied:
		return outcome(reply)
	case <-ctx.Done():
		return Secret{}, fmt.Errorf("before the gateway answered: %w", ctx.Err())
	case <-s.asked.over:
		return Secret{}, errSessionOver
	}
}

// request queues a request of an open call.
func (s *session) request(c *openCall, o *openRequest, r *runtimev1.HostRequest, bytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[c.id] != c {
		return errCallOver
	}
	if c.requests++; c.requests > plugins.MaxCallRequests {
		return &SecretError{Code: SecretFailed, Message: fmt.Sprintf("a call may ask for secrets %d times", plugins.MaxCallRequests)}
	}
	s.asked.last++
	r.Id, r.CallId = s.asked.last, c.id
	s.asked.open[r.GetId()] = o
	s.queue = append(s.queue, entry{request: r, size: bytes + plugins.MaxSecretKey})
	s.signal()
	return nil
}

// settle takes a reply.
func (s *session) settle(reply *runtimev1.HostReply) {
	s.mu.Lock()
	o := s.asked.open[reply.GetRequestId()]
	delete(s.asked.open, reply.GetRequestId())
	s.mu.Unlock()
	if o != nil {
		s.asked.room.Release(o.weight)
		o.replied <- reply
	}
}

func outcome(reply *runtimev1.HostReply) (Secret, error) {
	if e := reply.GetError(); e != nil {
		return Secret{}, &SecretError{Code: e.GetCode(), Message: e.GetMessage()}
	}
	return Secret{Key: reply.GetSecret().GetKey(), Value: reply.GetSecret().GetValue()}, nil
}
