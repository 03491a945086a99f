package host

import (
	"bytes"
	"context"
	goruntime "runtime"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// These tests are inside the package because the wire format is its secret; the
// generated code is the oracle.

func TestWrittenFramesAreWhatTheGeneratedCodeReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 300, -1)
		want := &runtimev1.HostFrame{}
		var got []byte
		for range rapid.IntRange(0, 3).Draw(t, "calls") {
			id := rapid.Uint64Min(1).Draw(t, "id")
			timeout := rapid.Uint32().Draw(t, "timeout")
			call := runtime.Call{
				RequestID: text.Draw(t, "request id"),
				Payload:   rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"),
				Debug:     rapid.Bool().Draw(t, "debug"),
			}
			message := &runtimev1.Call{Id: id, TimeoutMs: timeout, RequestId: call.RequestID, Payload: call.Payload, Debug: call.Debug}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				h := runtime.Header{Key: text.Draw(t, "key"), Value: text.Draw(t, "value")}
				call.Headers = append(call.Headers, h)
				message.Headers = append(message.Headers, &runtimev1.Header{Key: h.Key, Value: h.Value})
			}
			want.Calls = append(want.Calls, message)
			got = appendCall(got, id, timeout, &call, callSize(id, timeout, &call))
		}
		for range rapid.IntRange(0, 3).Draw(t, "cancels") {
			id := rapid.Uint64Min(1).Draw(t, "cancelled")
			want.Cancels = append(want.Cancels, &runtimev1.Cancel{CallId: id})
			got = appendCancel(got, id)
		}
		for range rapid.IntRange(0, 3).Draw(t, "replies") {
			id := rapid.Uint64Min(1).Draw(t, "request")
			first, second := text.Draw(t, "key or code"), text.Draw(t, "value or message")
			message := &runtimev1.HostReply{RequestId: id, Reply: &runtimev1.HostReply_Secret{
				Secret: &runtimev1.Secret{Key: first, Value: []byte(second)}}}
			told := secretReply(id, runtime.Secret{Key: first, Value: []byte(second)})
			if rapid.Bool().Draw(t, "refused") {
				message.Reply = &runtimev1.HostReply_Error{Error: &runtimev1.RequestError{Code: first, Message: second}}
				told = errorReply(id, &runtime.SecretError{Code: first, Message: second})
			}
			want.Replies = append(want.Replies, message)
			got = told.appendTo(got)
		}
		if want.Drain = rapid.Bool().Draw(t, "drain"); want.Drain {
			got = appendDrain(got)
		}
		var read runtimev1.HostFrame
		require.NoError(t, proto.Unmarshal(got, &read))
		require.True(t, proto.Equal(want, &read))
		require.Equal(t, proto.Size(want), len(got), "in the canonical form")
	})
}

func TestARequestIsReadLikeTheGeneratedCodeDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &runtimev1.HostRequest{Id: rapid.Uint64().Draw(t, "id"), CallId: rapid.Uint64().Draw(t, "call")}
		key, value := rapid.String().Draw(t, "key"), []byte(nil)
		update := rapid.Bool().Draw(t, "updates")
		if update {
			value = rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "value")
			want.Request = &runtimev1.HostRequest_UpdateSecret{UpdateSecret: &runtimev1.UpdateSecret{Key: key, Value: value}}
		} else {
			want.Request = &runtimev1.HostRequest_ReadSecret{ReadSecret: &runtimev1.ReadSecret{Key: key}}
		}
		b, err := proto.Marshal(want)
		require.NoError(t, err)
		got, err := parseRequest(protowire.AppendFixed32(protowire.AppendTag(b, 77, protowire.Fixed32Type), 1))
		require.NoError(t, err)
		require.Equal(t, request{id: want.GetId(), callID: want.GetCallId(), update: update, secret: runtime.Secret{Key: key, Value: value}}, got)
	})
}

// FuzzRuntimeFrame gives any bytes to the code that acts on a runtime's frames. It
// must not panic, and a call that it ends has the outcome that the generated code
// reads, or a legal one where that reads nothing. Each request has one reply.
func FuzzRuntimeFrame(f *testing.F) {
	for _, m := range []*runtimev1.RuntimeFrame{
		{Results: []*runtimev1.Result{{CallId: 1, Outcome: &runtimev1.Result_Payload{Payload: []byte(`{"a":1}`)}}}},
		{Results: []*runtimev1.Result{{CallId: 1, DroppedLogs: 3, Outcome: &runtimev1.Result_Failure{Failure: &runtimev1.Failure{Kind: 1, Message: "m", Stack: "s"}}}}},
		{Logs: []*runtimev1.LogRecord{{CallId: 1, Level: 2, Message: "m", Extras: []byte("[1]"), TimestampMs: 1}, {Level: 1}}},
		{Heartbeat: &runtimev1.Heartbeat{EventLoopLagMs: 5, OpenCalls: 1}, Retire: &runtimev1.Retire{Reason: "r"}},
		{Exit: &runtimev1.Exit{CallId: 2, Reason: "r"}},
		{Requests: []*runtimev1.HostRequest{
			{Id: 1, CallId: 2, Request: &runtimev1.HostRequest_ReadSecret{ReadSecret: &runtimev1.ReadSecret{Key: "k"}}},
			{Id: 2, Request: &runtimev1.HostRequest_UpdateSecret{UpdateSecret: &runtimev1.UpdateSecret{Key: "k", Value: []byte(`{"a":1}`)}}},
		}},
	} {
		b, err := proto.Marshal(m)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte("\x0a\x02\x12\x00"))
	f.Add([]byte("\x0b\x0c"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		s, calls := testSession(2)
		err := s.accept(frame, time.Now())
		var message runtimev1.RuntimeFrame
		readable := proto.Unmarshal(frame, &message) == nil
		for _, c := range calls {
			select {
			case <-c.done:
			default:
				continue
			}
			require.True(t, c.err != nil || validJSON(c.payload))
			if err == nil && readable {
				require.True(t, answers(&message, c))
			}
		}
		awaitReplies(s)
		if err == nil && readable {
			require.ElementsMatch(t, requestIDs(&message), repliedIDs(t, s))
		}
	})
}

// awaitReplies returns when no request is open.
func awaitReplies(s *session) {
	for open := 1; open > 0; goruntime.Gosched() {
		s.mu.Lock()
		open = len(s.asked.open)
		s.mu.Unlock()
	}
	s.asked.stop()
}

func requestIDs(m *runtimev1.RuntimeFrame) (ids []uint64) {
	for _, r := range m.GetRequests() {
		ids = append(ids, r.GetId())
	}
	return ids
}

// repliedIDs takes the replies that are queued.
func repliedIDs(t *testing.T, s *session) (ids []uint64) {
	t.Helper()
	for frame := s.take(); frame != nil; frame = s.take() {
		var m runtimev1.HostFrame
		require.NoError(t, proto.Unmarshal(*frame, &m))
		for _, r := range m.GetReplies() {
			require.NotEmpty(t, r.GetError().GetCode())
			ids = append(ids, r.GetRequestId())
		}
	}
	return ids
}

// answers reports whether c holds the message's result for it.
func answers(m *runtimev1.RuntimeFrame, c *call) bool {
	for _, r := range m.GetResults() {
		if r.GetCallId() != c.id {
			continue
		}
		if f := r.GetFailure(); f != nil {
			got, ok := c.err.(*runtime.Failure) //nolint:errorlint // set as such
			return ok && got.Message == f.GetMessage() && got.Stack == f.GetStack()
		}
		return bytes.Equal(c.payload, r.GetPayload())
	}
	return false
}

// testSession is a session with n open calls and no stream.
func testSession(n int) (*session, []*call) {
	p := &Process{output: newOutput(zerolog.Nop()), log: zerolog.Nop(), exit: &ending{}}
	s := newSession(p, nil, func() {}, p.withDefaults(Limits{}), nil)
	var calls []*call
	for range n {
		c := &call{id: s.ids.Add(1), done: make(chan struct{}, 1)}
		s.calls[c.id] = c
		calls = append(calls, c)
	}
	return s, calls
}

func TestAResultIsReadLikeTheGeneratedCodeDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &runtimev1.Result{CallId: rapid.Uint64().Draw(t, "id"), DroppedLogs: rapid.Uint32().Draw(t, "dropped")}
		if rapid.Bool().Draw(t, "fails") {
			want.Outcome = &runtimev1.Result_Failure{Failure: &runtimev1.Failure{
				Kind:    runtimev1.FailureKind(rapid.IntRange(1, 2).Draw(t, "kind")),
				Message: rapid.String().Draw(t, "message"), Stack: rapid.String().Draw(t, "stack"),
			}}
		} else {
			want.Outcome = &runtimev1.Result_Payload{Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload")}
		}
		b, err := proto.Marshal(want)
		require.NoError(t, err)
		// A field that a newer runtime may add is passed over.
		b = protowire.AppendFixed64(protowire.AppendTag(b, 77, protowire.Fixed64Type), 1)
		got, err := parseResult(b)
		require.NoError(t, err)
		require.Equal(t, want.GetCallId(), got.id)
		require.Equal(t, want.GetDroppedLogs(), got.dropped)
		if f := want.GetFailure(); f != nil {
			require.Equal(t, &runtime.Failure{Kind: runtime.FailureKind(f.GetKind()), Message: f.GetMessage(), Stack: f.GetStack()}, got.failure)
			return
		}
		require.NotNil(t, got.payload)
		require.True(t, bytes.Equal(want.GetPayload(), got.payload))
	})
}

// slow is a provider that waits for its context's end.
type slow struct{ noSecrets }

func (slow) ReadSecret(ctx context.Context, _ string) (runtime.Secret, error) {
	<-ctx.Done()
	return runtime.Secret{}, ctx.Err()
}

func TestARequestThatTakesTooLongIsAnswered(t *testing.T) {
	s, _ := testSession(1)
	s.asked.secrets, s.asked.time = slow{}, 20*time.Millisecond
	frame, err := proto.Marshal(&runtimev1.RuntimeFrame{Requests: []*runtimev1.HostRequest{
		{Id: 5, Request: &runtimev1.HostRequest_ReadSecret{ReadSecret: &runtimev1.ReadSecret{Key: "k"}}},
	}})
	require.NoError(t, err)
	require.NoError(t, s.accept(frame, time.Now()))
	awaitReplies(s)
	var got runtimev1.HostFrame
	require.NoError(t, proto.Unmarshal(*s.take(), &got))
	require.True(t, proto.Equal(&got, &runtimev1.HostFrame{Replies: []*runtimev1.HostReply{{RequestId: 5, Reply: &runtimev1.HostReply_Error{
		Error: &runtimev1.RequestError{Code: runtime.SecretFailed, Message: "Reading Secret k failed: no answer within 20ms"}}}}}), &got)
}

func TestAbandonedCallsAreRememberedWithinBounds(t *testing.T) {
	var a abandoned
	now := time.Now()
	require.False(t, a.settle(0))
	require.False(t, a.settle(1))
	for id := uint64(1); id <= 3*maxAbandoned; id++ {
		a.add(id, now)
	}
	require.Len(t, a.when, maxAbandoned)
	require.True(t, a.settle(3*maxAbandoned))
	require.False(t, a.settle(3*maxAbandoned), "once")
	require.True(t, a.settle(5), "what was forgotten is not held against anyone")
	require.False(t, a.settle(0))
	require.True(t, a.lately(now))
	require.False(t, a.lately(now.Add(2*time.Minute)))
}
