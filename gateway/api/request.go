package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/julienschmidt/httprouter"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Limits of what a request may carry.
const (
	maxRequestID      = 256     // characters of X-Request-ID
	maxManagementBody = 2 << 20 // bytes; 100 000 characters of code, every one escaped
)

// request is everything the gateway knows of one request while it is served. It
// is the request's context as well, so that handlers anywhere reach it without
// a second allocation, and it becomes the one log line at the end.
type request struct {
	context.Context
	params    httprouter.Params
	route     *route
	origin    origin
	id        string // X-Request-ID, the caller's or ours
	given     bool   // the caller sent the id
	principal *auth.Principal
	body      []byte // of a management request, once it is decoded
	release   func() // gives back the room that body has, when the request ends
	start     time.Time
	caller    context.Context // ends when the caller leaves, as Context does but for changes

	// Filled by handlers for the log line.
	lambdaID string
	// What the caller says of itself (contract/invocation.md §2): logged, and
	// otherwise without effect. claimedUser is set only where it differs from the
	// token's user; system is no label of a metric, because any caller may make
	// up as many as it likes.
	claimedUser, system string
	version             int
	cold                bool
	phase               lambda.Phase
	err                 error
}

type requestKey struct{}

// Value makes the request findable, and its path parameters by httprouter's own
// key, so that handlers of other packages need not know this type.
func (q *request) Value(key any) any {
	switch key.(type) {
	case requestKey:
		return q
	}
	if key == httprouter.ParamsKey {
		return q.params
	}
	return q.Context.Value(key)
}

// of gives the request that r belongs to. Every handler runs under one.
func of(r *http.Request) *request {
	return r.Context().Value(requestKey{}).(*request)
}

func (q *request) account() string { return q.params.ByName("account") }

// changeLimit bounds a request that changes something.
const changeLimit = time.Minute

// persist has the request go on when its caller leaves. Otherwise who leaves at the
// right moment could make a change that is not among the activities. The caller of
// persist ends what it returns.
func (q *request) persist() context.CancelFunc {
	var cancel context.CancelFunc
	q.Context, cancel = context.WithTimeout(context.WithoutCancel(q.Context), changeLimit)
	return cancel
}

// end gives back what the request held.
func (q *request) end() {
	if q.release != nil {
		q.release()
	}
}

// requestID takes the caller's X-Request-ID or makes one. Any string is an id
// (contract/README.md, trap 18) up to a length that logs can bear.
func requestID(r *http.Request) (id string, given bool, err error) {
	id = r.Header.Get("X-Request-ID")
	switch {
	case id == "":
		return uuid.NewString(), false, nil
	case len(id) > maxRequestID:
		return uuid.NewString(), false, lambda.Invalid("X-Request-ID", "X-Request-ID has %d bytes: the limit is %d", len(id), maxRequestID)
	}
	return id, true, nil
}

// readBody reads a whole body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLarge := func() error {
		return &lambda.Error{
			Kind: lambda.KindTooLarge, Code: lambda.CodeBadInput, Phase: lambda.PhaseRequest,
			Message: fmt.Sprintf("the body is larger than the limit of %d bytes: send less, or in parts", limit),
		}
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // the rest is not worth reading
		return nil, tooLarge()
	}
	if r.ContentLength == 0 || r.Body == nil {
		return nil, nil
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength)
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge()
	case err != nil && r.Context().Err() != nil:
		return nil, r.Context().Err()
	case err != nil:
		return nil, &lambda.Error{Kind: lambda.KindInvalid, Code: lambda.CodeBadInput, Phase: lambda.PhaseRequest, Message: "the body could not be read to its end", Err: err}
	}
	return body, nil
}

// readAhead is how much of an announced body is made room for before it has
// come; more grows with what comes, so that slow callers cost what they sent.
const readAhead = 64 << 10

func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 || length > readAhead {
		return io.ReadAll(r)
	}
	body := make([]byte, length)
	n, err := io.ReadFull(r, body)
	return body[:n], err
}

// decode reads a JSON object of the management API into v. Unknown keys are
// ignored, as clients send more than we know; a value of the wrong type is
// answered with the name of its field. Call it once.
func (s *Server) decode(w http.ResponseWriter, r *http.Request, v any) error {
	var err error
	if of(r).release, err = s.holdBody(r, maxManagementBody); err != nil {
		return err
	}
	body, err := readBody(w, r, maxManagementBody)
	if err != nil {
		return err
	}
	if !utf8.Valid(body) {
		return lambda.Invalid("body", "the body is not valid UTF-8")
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return lambda.Invalid("body", "the body must be a JSON object")
	}
	of(r).body = body
	return jsonFault(json.Unmarshal(body, v))
}

// jsonFault words an error of encoding/json for the caller.
func jsonFault(err error) error {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return lambda.Invalid(wrongType.Field, "%s must be %s, not %s", wrongType.Field, jsonName(wrongType.Type.Kind().String()), wrongType.Value)
	case errors.As(err, &wrongType):
		return lambda.Invalid("body", "the body must be a JSON object, not %s", wrongType.Value)
	case errors.As(err, &syntax):
		return lambda.Invalid("body", "the body is not valid JSON: %s at byte %d", syntax.Error(), syntax.Offset)
	}
	if e := lambda.As(err); e != nil {
		return e
	}
	return lambda.Invalid("body", "the body is not valid JSON: %s", err)
}

// jsonName is what JSON calls a Go kind.
func jsonName(kind string) string {
	switch {
	case kind == "string":
		return "a string"
	case kind == "slice":
		return "an array"
	case kind == "bool":
		return "true or false"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "float"):
		return "a number"
	}
	return "an object"
}

// number is an integer that some clients send as a string.
type number struct {
	value int
	set   bool
}

func (n *number) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		return nil
	}
	v, err := strconv.Atoi(text)
	if err != nil {
		return lambda.Invalid("version", "version must be a whole number, not %.40s", b)
	}
	n.value, n.set = v, true
	return nil
}
