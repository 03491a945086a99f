package host

import (
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// The session's frames are written and read by hand, at the level of fields.
// That costs some lines and saves the hot path most of its allocations: a call
// is appended to the frame in the making by the goroutine that brings it, and a
// result's bytes are copied once. The generated code is the oracle in tests.

// Field numbers of runtime.proto.
const (
	hostFrameCalls   = 1
	hostFrameCancels = 2
	hostFrameDrain   = 3
	hostFrameReplies = 4

	callID        = 1
	callHeaders   = 2
	callPayload   = 3
	callTimeout   = 4
	callRequestID = 5
	callDebug     = 6

	replyRequestID = 1
	replySecret    = 2
	replyError     = 3

	runtimeFrameResults   = 1
	runtimeFrameLogs      = 2
	runtimeFrameHeartbeat = 3
	runtimeFrameRetire    = 4
	runtimeFrameExit      = 5
	runtimeFrameRequests  = 6
)

// appendCall appends one Call entry of a HostFrame. size is callSize's answer.
func appendCall(b []byte, id uint64, timeoutMS uint32, call *runtime.Call, size int) []byte {
	b = protowire.AppendTag(b, hostFrameCalls, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendVarint(b, callID, id)
	for i := range call.Headers {
		h := &call.Headers[i]
		b = protowire.AppendTag(b, callHeaders, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(stringSize(h.Key)+stringSize(h.Value)))
		b = appendString(b, 1, h.Key)
		b = appendString(b, 2, h.Value)
	}
	b = appendString(b, callPayload, call.Payload)
	b = appendVarint(b, callTimeout, uint64(timeoutMS))
	b = appendString(b, callRequestID, call.RequestID)
	if call.Debug {
		b = appendVarint(b, callDebug, 1)
	}
	return b
}

// callSize is the size of a Call's fields without the entry's tag and length.
func callSize(id uint64, timeoutMS uint32, call *runtime.Call) int {
	n := varintSize(id) + varintSize(uint64(timeoutMS)) + stringSize(call.Payload) + stringSize(call.RequestID)
	for i := range call.Headers {
		h := &call.Headers[i]
		n += 1 + protowire.SizeBytes(stringSize(h.Key)+stringSize(h.Value))
	}
	if call.Debug {
		n += varintSize(1)
	}
	return n
}

func appendCancel(b []byte, id uint64) []byte {
	b = protowire.AppendTag(b, hostFrameCancels, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(varintSize(id)))
	return appendVarint(b, 1, id)
}

func appendDrain(b []byte) []byte { return appendVarint(b, hostFrameDrain, 1) }

// reply is a HostReply entry: two texts, which are a secret's key and value or an
// error's code and message.
type reply struct {
	id     uint64
	field  protowire.Number // replySecret or replyError
	first  string
	second []byte
}

func secretReply(id uint64, s runtime.Secret) reply {
	return reply{id: id, field: replySecret, first: s.Key, second: s.Value}
}

func errorReply(id uint64, e *runtime.SecretError) reply {
	return reply{id: id, field: replyError, first: e.Code, second: []byte(e.Message)}
}

func (r *reply) outcomeSize() int { return stringSize(r.first) + stringSize(r.second) }

// size is the size of the reply's fields without the entry's tag and length.
func (r *reply) size() int {
	return varintSize(r.id) + 1 + protowire.SizeBytes(r.outcomeSize())
}

// appendTo appends the entry to a HostFrame.
func (r *reply) appendTo(b []byte) []byte {
	b = protowire.AppendTag(b, hostFrameReplies, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(r.size()))
	b = appendVarint(b, replyRequestID, r.id)
	b = protowire.AppendTag(b, r.field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(r.outcomeSize()))
	b = appendString(b, 1, r.first)
	return appendString(b, 2, r.second)
}

// The four below follow proto3: a zero field is not written. All tags are one byte.

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func varintSize(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

func appendString[T string | []byte](b []byte, field protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(v)))
	return append(b, v...)
}

func stringSize[T string | []byte](v T) int {
	if len(v) == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(len(v))
}

// violation is what a runtime must not send. It ends the process.
type violation struct{ text string }

func (v violation) Error() string { return "violated the runtime contract: " + v.text }

func violationf(format string, args ...any) error { return violation{fmt.Sprintf(format, args...)} }

// eachField calls f for every field of a message. value is the field's content
// for the bytes type; number is its value for the varint type. Types that the
// contract does not use are checked for form and left out.
func eachField(b []byte, f func(field protowire.Number, typ protowire.Type, value []byte, number uint64) error) error {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return violationf("a frame is not protobuf")
		}
		b = b[n:]
		var value []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(field, typ, b)
		}
		if n < 0 {
			return violationf("a frame is not protobuf")
		}
		b = b[n:]
		if err := f(field, typ, value, number); err != nil {
			return err
		}
	}
	return nil
}

// want names the type that a known field must have.
func want(name string, got, wanted protowire.Type) error {
	if got != wanted {
		return violationf("field %s has the wrong type", name)
	}
	return nil
}

func text(name string, b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", violationf("field %s is not UTF-8", name)
	}
	return string(b), nil
}

// result is a Result entry. payload is nil if the outcome is a failure or absent,
// and points into the frame.
type result struct {
	id      uint64
	payload []byte
	failure *runtime.Failure
	dropped uint32
}

func parseResult(b []byte) (r result, err error) {
	err = eachField(b, func(field protowire.Number, typ protowire.Type, value []byte, number uint64) (err error) {
		if (field == 2 || field == 3) && (r.payload != nil || r.failure != nil) {
			return violationf("a result has two outcomes")
		}
		switch field {
		case 1:
			r.id, err = number, want("result.call_id", typ, protowire.VarintType)
		case 2:
			if value == nil {
				value = []byte{}
			}
			r.payload, err = value, want("result.payload", typ, protowire.BytesType)
		case 3:
			if err = want("result.failure", typ, protowire.BytesType); err == nil {
				r.failure, err = parseFailure(value)
			}
		case 4:
			r.dropped, err = uint32(number), want("result.dropped_logs", typ, protowire.VarintType)
		}
		return err
	})
	return r, err
}

func parseFailure(b []byte) (*runtime.Failure, error) {
	f := &runtime.Failure{}
	err := eachField(b, func(field protowire.Number, typ protowire.Type, value []byte, number uint64) (err error) {
		switch field {
		case 1:
			if err = want("failure.kind", typ, protowire.VarintType); err == nil {
				f.Kind, err = failureKind(number)
			}
		case 2:
			if err = want("failure.message", typ, protowire.BytesType); err == nil {
				f.Message, err = text("failure.message", value)
			}
		case 3:
			if err = want("failure.stack", typ, protowire.BytesType); err == nil {
				f.Stack, err = text("failure.stack", value)
			}
		}
		return err
	})
	if err == nil && f.Kind == 0 {
		err = violationf("a failure has no kind")
	}
	return f, err
}

func failureKind(n uint64) (runtime.FailureKind, error) {
	switch runtimev1.FailureKind(n) {
	case runtimev1.FailureKind_FAILURE_KIND_CUSTOM:
		return runtime.CustomFailure, nil
	case runtimev1.FailureKind_FAILURE_KIND_RUNTIME_EXCEPTION:
		return runtime.RuntimeException, nil
	}
	return 0, violationf("failure kind %d is not known", n)
}

// record is a LogRecord entry.
type record struct {
	id       uint64
	sequence uint64 // 0: the runtime does not count
	runtime.LogRecord
}

func parseRecord(b []byte) (r record, err error) {
	err = eachField(b, func(field protowire.Number, typ protowire.Type, value []byte, number uint64) (err error) {
		switch field {
		case 1:
			r.id, err = number, want("log.call_id", typ, protowire.VarintType)
		case 2:
			if err = want("log.level", typ, protowire.VarintType); err == nil {
				r.Level, err = level(number)
			}
		case 3:
			if err = want("log.message", typ, protowire.BytesType); err == nil {
				r.Message, err = text("log.message", value)
			}
		case 4:
			r.Extras, err = append([]byte(nil), value...), want("log.extras", typ, protowire.BytesType)
		case 5:
			r.Time, err = time.UnixMilli(int64(number)), want("log.timestamp_ms", typ, protowire.VarintType)
		case 6:
			r.sequence, err = number, want("log.sequence", typ, protowire.VarintType)
		}
		return err
	})
	if err == nil && r.Level == 0 {
		err = violationf("a log record has no level")
	}
	return r, err
}

func level(n uint64) (runtime.Level, error) {
	switch runtimev1.Level(n) {
	case runtimev1.Level_LEVEL_DEBUG:
		return runtime.LevelDebug, nil
	case runtimev1.Level_LEVEL_INFO:
		return runtime.LevelInfo, nil
	case runtimev1.Level_LEVEL_WARN:
		return runtime.LevelWarn, nil
	case runtimev1.Level_LEVEL_ERROR:
		return runtime.LevelError, nil
	}
	return 0, violationf("log level %d is not known", n)
}

// request is a HostRequest entry. A value points into the frame.
type request struct {
	id, callID uint64
	update     bool // else it reads
	secret     runtime.Secret
}

func parseRequest(b []byte) (r request, err error) {
	asked := false
	err = eachField(b, func(field protowire.Number, typ protowire.Type, value []byte, number uint64) (err error) {
		switch field {
		case 1:
			r.id, err = number, want("request.id", typ, protowire.VarintType)
		case 2:
			r.callID, err = number, want("request.call_id", typ, protowire.VarintType)
		case 3, 4:
			if asked {
				return violationf("a request asks for two things")
			}
			asked, r.update = true, field == 4
			if err = want("request.request", typ, protowire.BytesType); err == nil {
				r.secret, err = parseSecret(value)
			}
		}
		return err
	})
	if err == nil && !asked {
		err = violationf("a request asks for nothing")
	}
	return r, err
}

// parseSecret reads a ReadSecret or an UpdateSecret. The former has no value, and
// one there is passed over.
func parseSecret(b []byte) (s runtime.Secret, err error) {
	err = eachField(b, func(field protowire.Number, typ protowire.Type, value []byte, _ uint64) (err error) {
		switch field {
		case 1:
			if err = want("request.key", typ, protowire.BytesType); err == nil {
				s.Key, err = text("request.key", value)
			}
		case 2:
			s.Value, err = value, want("request.value", typ, protowire.BytesType)
		}
		return err
	})
	return s, err
}

// ending is a Retire or Exit entry.
type ending struct {
	id     uint64 // Exit only
	reason string
}

// parseEnding reads a Retire (reason is field 1) or an Exit (reason is field 2).
func parseEnding(b []byte, reasonField protowire.Number) (e ending, err error) {
	err = eachField(b, func(field protowire.Number, typ protowire.Type, value []byte, number uint64) (err error) {
		switch field {
		case reasonField:
			if err = want("reason", typ, protowire.BytesType); err == nil {
				e.reason, err = text("reason", value)
			}
		case 1:
			e.id, err = number, want("exit.call_id", typ, protowire.VarintType)
		}
		return err
	})
	return e, err
}

// framePool keeps the buffers of frames. Large ones are left to the collector, so
// that one large call does not cost its memory for ever.
type framePool struct{ pool sync.Pool }

const (
	frameBuffer     = 8 << 10
	frameBufferKept = 256 << 10
)

var frames = &framePool{pool: sync.Pool{New: func() any {
	b := make([]byte, 0, frameBuffer)
	return &b
}}}

var _ mem.BufferPool = (*framePool)(nil)

// Get returns an empty buffer; length is a hint.
func (p *framePool) Get(length int) *[]byte {
	b := p.pool.Get().(*[]byte)
	if cap(*b) < length {
		*b = make([]byte, 0, length)
	}
	return b
}

// Put takes a buffer back once gRPC has written it.
func (p *framePool) Put(b *[]byte) {
	if cap(*b) <= frameBufferKept {
		*b = (*b)[:0]
		p.pool.Put(b)
	}
}

// rawCodec passes frames through gRPC as the bytes they are. On the wire it is
// the protobuf codec, and names itself so.
type rawCodec struct{}

// Marshal takes a *[]byte from frames, which goes back there after the write.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a session sends frames, not %T", v)
	}
	return mem.BufferSlice{mem.NewBuffer(b, frames)}, nil
}

// Unmarshal fills a *mem.Buffer, which the receiver frees.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*mem.Buffer)
	if !ok {
		return fmt.Errorf("a session receives frames, not %T", v)
	}
	*b = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}

func (rawCodec) Name() string { return "proto" }
