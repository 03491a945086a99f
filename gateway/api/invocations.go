package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// invokeLambda runs a lambda by its UUID (contract/invocation.md §2). A login
// session without externalSystem is a developer's test and gets {result, logs};
// a brand's call gets the bare result; the host never matters (§5).
func (s *Server) invokeLambda(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	q.lambdaID = q.params.ByName("id")
	noteCaller(q, r)
	if _, ok := s.live.Live(q.account(), q.lambdaID); ok { // others cost no run, and their ids are anybody's
		if err := s.lambdaCalls.take(w, lambdaKey{q.account(), q.lambdaID}, q.start); err != nil {
			return err
		}
	}
	inv := lambda.Invocation{
		Account: q.account(), LambdaID: q.lambdaID, RequestID: q.id, Caller: q.principal.Caller(),
		Manual: q.principal.Kind == auth.Login && q.system == "", Trigger: lambda.TriggerCall,
	}
	if inv.Manual {
		inv.Trigger = lambda.TriggerManual
	}
	body, release, err := s.readInvocation(w, r, &inv)
	if err != nil {
		return err
	}
	defer release()
	result, err := s.dispatch(q, inv, body, func(ctx context.Context) (lambda.Result, error) {
		return s.invoker.Invoke(ctx, inv)
	})
	if err != nil {
		return err
	}
	q.version, q.cold = result.Version, result.Cold
	if inv.Manual {
		return respond(w, http.StatusOK, manualResult{Result: result.Payload, Logs: orEmpty(result.Logs)})
	}
	respondRaw(w, http.StatusOK, result.Payload)
	return nil
}

// readInvocation reads the body of a call, and its headers and payload into inv.
// release gives back the room that the body has.
func (s *Server) readInvocation(w http.ResponseWriter, r *http.Request, inv *lambda.Invocation) (body []byte, release func(), err error) {
	if release, err = s.holdBody(r, int64(s.limits.Payload)); err != nil {
		return nil, nil, err
	}
	if body, err = readBody(w, r, int64(s.limits.Payload)); err == nil {
		inv.Headers, inv.Payload, err = parseInvocation(body, s.limits.Headers)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return body, release, nil
}

// dispatch runs the call, through the de-duplication when the caller named it.
func (s *Server) dispatch(q *request, inv lambda.Invocation, body []byte, run func(context.Context) (lambda.Result, error)) (lambda.Result, error) {
	if !q.given {
		return run(q.Context)
	}
	return s.replays.Do(q.Context, invoke.ReplayKey(inv, body), run)
}

// noteCaller takes over what the query says of the caller. An empty parameter is
// an absent one.
func noteCaller(q *request, r *http.Request) {
	if r.URL.RawQuery == "" {
		return
	}
	query := r.URL.Query()
	q.system = query.Get("externalSystem")
	if user := query.Get("userId"); user != q.principal.UserID {
		q.claimedUser = user
	}
}

type manualResult struct {
	Result json.RawMessage    `json:"result"`
	Logs   []lambda.LogRecord `json:"logs"`
}

func orEmpty(logs []lambda.LogRecord) []lambda.LogRecord {
	if logs == nil {
		return []lambda.LogRecord{}
	}
	return logs
}

var (
	emptyObject = json.RawMessage("{}")
	jsonNull    = []byte("null")
)

// parseInvocation reads the body of an invocation: an object with an optional
// number `timestamp`, optional `headers`, a list of pairs, and an optional
// `payload` of any JSON type (contract/invocation.md §2, Request body). An empty
// body is an empty object; an absent or null payload is {}. Key names are exact,
// unknown ones are ignored, of a key given twice the last counts. More than
// maxHeaders pairs are Invalid.
func parseInvocation(body []byte, maxHeaders int) ([]lambda.Pair, json.RawMessage, error) {
	if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
		return nil, emptyObject, nil
	}
	if !utf8.Valid(body) {
		return nil, nil, lambda.Invalid("body", "the body is not valid UTF-8")
	}
	if err := checkObject(body); err != nil {
		return nil, nil, err
	}
	var headers, payload, timestamp json.RawMessage
	for key, value := range members(body) {
		switch key {
		case "headers":
			headers = value
		case "payload":
			payload = value
		case "timestamp":
			timestamp = value
		}
	}
	if len(timestamp) > 0 && !isNull(timestamp) && !isNumber(timestamp) {
		return nil, nil, lambda.Invalid("timestamp", "timestamp must be a number, milliseconds since 1970")
	}
	pairs, err := parseHeaders(headers, maxHeaders)
	if err != nil {
		return nil, nil, err
	}
	if len(payload) == 0 || isNull(payload) {
		payload = emptyObject
	}
	return pairs, payload, nil
}

// checkObject reports the first fault of a body that must be one JSON object.
func checkObject(body []byte) error {
	switch {
	case !json.Valid(body):
		return jsonFault(json.Unmarshal(body, new(json.RawMessage)))
	case bytes.TrimLeft(body, " \t\r\n")[0] != '{':
		return lambda.Invalid("body", "the body must be a JSON object")
	}
	return nil
}

// parseHeaders reads the list of pairs from raw, which is valid JSON. It walks
// the list instead of unmarshalling it, so that a list of a million entries costs
// no more than its first thousand.
func parseHeaders(raw json.RawMessage, maxHeaders int) ([]lambda.Pair, error) {
	if len(raw) == 0 || isNull(raw) {
		return nil, nil
	}
	const shape = `headers must be a list of {"key": string, "value": string}`
	if raw[0] != '[' {
		return nil, lambda.Invalid("headers", shape)
	}
	var pairs []lambda.Pair
	for item := range elements(raw) {
		if len(pairs) == maxHeaders {
			return nil, lambda.Invalid("headers", "headers has more than %d entries: that is the limit, send fewer", maxHeaders)
		}
		pair, ok := parseHeader(item)
		if !ok {
			return nil, lambda.Invalid("headers", shape+"; entry %d is not", len(pairs))
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

func parseHeader(item json.RawMessage) (pair lambda.Pair, ok bool) {
	if item[0] != '{' {
		return pair, false
	}
	var key, value json.RawMessage
	for name, field := range members(item) {
		switch name {
		case "key":
			key = field
		case "value":
			value = field
		}
	}
	if !isString(key) || !isString(value) {
		return pair, false
	}
	return lambda.Pair{Key: unquote(key), Value: unquote(value)}, true
}

func isString(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '"' }

func isNull(raw json.RawMessage) bool { return bytes.Equal(raw, jsonNull) }

func isNumber(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}
