package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// statusLambdaFailed is the contract's own status for an error inside a lambda:
// no client repeats it (contract/README.md, trap 7).
const statusLambdaFailed = 901

// statusClientGone is never sent; it stands in the log for a caller who left.
const statusClientGone = 499

// statuses is the one mapping from what an error means to what the wire says.
var statuses = map[lambda.Kind]int{
	lambda.KindInternal:     http.StatusInternalServerError,
	lambda.KindInvalid:      http.StatusBadRequest,
	lambda.KindUnauthorized: http.StatusUnauthorized,
	lambda.KindForbidden:    http.StatusForbidden,
	lambda.KindNotFound:     http.StatusNotFound,
	lambda.KindMethod:       http.StatusMethodNotAllowed,
	lambda.KindTimeout:      http.StatusRequestTimeout,
	lambda.KindConflict:     http.StatusConflict,
	lambda.KindPrecondition: http.StatusPreconditionFailed,
	lambda.KindTooLarge:     http.StatusRequestEntityTooLarge,
	lambda.KindRateLimited:  http.StatusTooManyRequests,
	lambda.KindCrashed:      http.StatusInternalServerError,
	lambda.KindUnavailable:  http.StatusServiceUnavailable,
	lambda.KindFunction:     statusLambdaFailed,
}

// errorBody is every error answer: these keys and no others
// (contract/invocation.md §6).
type errorBody struct {
	Code    string             `json:"errorCode"`
	Message string             `json:"errorMsg"`
	Logs    []lambda.LogRecord `json:"errorLogs,omitempty"`
}

// Header values that are the same on every answer, shared so that setting them
// costs no allocation.
var (
	jsonType  = []string{"application/json"}
	noStore   = []string{"no-store"}
	noSniff   = []string{"nosniff"}
	hstsValue = []string{"max-age=31536000; includeSubDomains"}
)

// respond writes v as JSON.
func respond(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	respondRaw(w, status, body)
	return nil
}

// respondRaw writes body, which is JSON already.
func respondRaw(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller who left is seen by the context
}

// fail turns err into the answer. What is no lambda.Error is a defect of ours:
// the caller learns the request id, the log learns the rest.
func fail(w http.ResponseWriter, q *request, err error) {
	q.err = err
	e := classify(err, q.id)
	q.phase = e.Phase
	h := w.Header()
	if e.Phase != "" {
		h.Set("X-Sluice-Phase", string(e.Phase))
	}
	if e.RetryAfter > 0 {
		seconds := int64((e.RetryAfter + 999_999_999).Seconds())
		h.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if e.Kind == lambda.KindUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	body, merr := json.Marshal(errorBody{Code: e.Code, Message: e.Message, Logs: e.Logs})
	if merr != nil { // only logs can fail: leave them out
		body, _ = json.Marshal(errorBody{Code: e.Code, Message: e.Message})
	}
	respondRaw(w, statuses[e.Kind], body)
}

func classify(err error, requestID string) *lambda.Error {
	e := lambda.As(err)
	switch {
	case e != nil && e.Kind != lambda.KindInternal:
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Message: "the platform took too long to answer", Phase: phaseOf(e)}
	default:
		code := lambda.CodeGeneral
		if e != nil && e.Code != "" {
			code = e.Code
		}
		return &lambda.Error{Kind: lambda.KindInternal, Code: code, Message: "internal error; quote request id " + requestID, Phase: phaseOf(e)}
	}
}

func phaseOf(e *lambda.Error) lambda.Phase {
	if e == nil {
		return ""
	}
	return e.Phase
}
