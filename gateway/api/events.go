package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

type eventView struct {
	ID          string `json:"eventId"`
	Name        string `json:"eventName"`
	Description string `json:"description"`
	Limit       int    `json:"lambdaLimit"`
}

// listEvents answers every event that a lambda can be bound to.
func (s *Server) listEvents(w http.ResponseWriter, _ *http.Request) error {
	events := lambda.Events()
	views := make([]eventView, len(events))
	for i, e := range events {
		views[i] = eventView{e.ID, e.Name, e.Description, e.Limit}
	}
	return respond(w, http.StatusOK, views)
}

// noEventInput is the example input of a lambda without an event.
var noEventInput = json.RawMessage(`{"headers":[],"payload":{}}`)

// sampleInput is an example of what a lambda of an event gets. Of one that is no
// event, as lambdas from before there was a table may have, nothing is known.
func sampleInput(eventID string) json.RawMessage {
	if e, ok := lambda.EventByID(eventID); ok {
		return e.Input()
	}
	return noEventInput
}

type templateView struct {
	UUID        string          `json:"uuid"`
	Name        string          `json:"name"`
	EventID     string          `json:"eventId,omitempty"`
	Description string          `json:"description"`
	Code        string          `json:"code"`
	Environment []lambda.Pair   `json:"environmentVariables"`
	Payload     json.RawMessage `json:"payload"`
	Runtime     *runtimeRef     `json:"runtime,omitempty"` // absent for the default one
}

// listTemplates answers every lambda to start from, those of the default runtime
// first.
func (s *Server) listTemplates(w http.ResponseWriter, r *http.Request) error {
	views := make([]templateView, 0, len(s.templates))
	for _, t := range s.templates {
		v := templateView{
			UUID: t.ID, Name: t.Name, EventID: t.EventID, Description: t.Description, Code: t.Code,
			Environment: orNone(t.Environment), Payload: t.Input,
		}
		if t.Runtime != s.runtimeNames[0] {
			ref, err := s.runtimeRef(r.Context(), t.Runtime)
			if err != nil {
				return err
			}
			v.Runtime = &ref
		}
		views = append(views, v)
	}
	return respond(w, http.StatusOK, views)
}

// isImplemented tells a caller whether an event would run anything
// (contract/invocation.md §3).
func (s *Server) isImplemented(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	return respond(w, http.StatusOK, map[string]bool{
		"implemented": s.live.Implemented(q.account(), q.params.ByName("event"), skillID(r)),
	})
}

// skillID is the skill that a caller named; an empty one is absent.
func skillID(r *http.Request) string { return r.URL.Query().Get("skillId") }

// invokeEvent runs every deployed lambda of an event that answers for the skill,
// all at once with the same call (contract/invocation.md §2). It is never a
// developer's test. Where none is deployed the answer is an empty list, also of
// what is no event.
//
// Callers repeat what was answered 408, 429 or 503, and a repetition runs every
// lambda. So the answer is such an error only if no lambda has seen the call; as
// soon as one may have, the answer is the list, and whatever became of the
// others, a refusal too, is in their entries. Of a single lambda the error is
// the answer, as if it had been called by its UUID.
func (s *Server) invokeEvent(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	noteCaller(q, r)
	inv := lambda.Invocation{
		Account: q.account(), RequestID: q.id, Caller: q.principal.Caller(),
		Trigger: lambda.TriggerEvent, EventID: q.params.ByName("event"), SkillID: skillID(r),
	}
	bound := s.live.Bound(inv.Account, inv.EventID, inv.SkillID)
	if err := s.takeRuns(w, q, bound); err != nil {
		return err
	}
	body, release, err := s.readInvocation(w, r, &inv)
	if err != nil {
		return err
	}
	defer release()
	if len(bound) == 0 {
		respondRaw(w, http.StatusOK, noEntries)
		return nil
	}
	result, err := s.dispatch(q, inv, body, func(ctx context.Context) (lambda.Result, error) {
		fan := invoke.FanOut{Invoker: s.invoker, Timeout: s.limits.RunTime, ResultBytes: s.limits.Result}
		return eventResult(q, fan.Invoke(ctx, inv, bound))
	})
	if err != nil {
		return err
	}
	respondRaw(w, http.StatusOK, result.Payload)
	return nil
}

var noEntries = []byte("[]")

// takeRuns counts a run of each lambda, or refuses all of them: one that is left
// out of a call would never hear of it, because callers do not repeat an answer
// that succeeded.
func (s *Server) takeRuns(w http.ResponseWriter, q *request, lambdas []*lambda.Live) error {
	if err := s.accountCalls.takeMore(w, q.account(), len(lambdas)-1, q.start); err != nil { // admit has taken one
		return err
	}
	for _, l := range lambdas {
		if err := s.lambdaCalls.take(w, lambdaKey{l.Account, l.LambdaID}, q.start); err != nil {
			return err
		}
	}
	return nil
}

// eventEntry is what one lambda answered to an event.
type eventEntry struct {
	UUID      string          `json:"uuid"`
	Timestamp string          `json:"timestamp"`
	Result    json.RawMessage `json:"result"`
}

// eventResult makes the answer of what came of an event's lambdas.
func eventResult(q *request, runs []invoke.Run) (lambda.Result, error) {
	if len(runs) == 1 && runs[0].Err != nil {
		return lambda.Result{}, runs[0].Err
	}
	if err := invoke.Refusal(runs); err != nil {
		return lambda.Result{}, err
	}
	entries := make([]eventEntry, len(runs))
	for i, r := range runs {
		result, err := entryResult(q, r)
		if err != nil {
			return lambda.Result{}, err
		}
		entries[i] = eventEntry{r.LambdaID, wireTime(r.At), result}
	}
	payload, err := json.Marshal(entries)
	return lambda.Result{Payload: payload}, err
}

// entryResult is a lambda's result, or what its error says. The log is told of
// an error that is not the lambda's own.
func entryResult(q *request, r invoke.Run) (json.RawMessage, error) {
	if r.Err == nil {
		return r.Result.Payload, nil
	}
	e := classify(r.Err, q.id)
	if e.Kind != lambda.KindFunction {
		q.err = r.Err
	}
	return json.Marshal(errorBody{Code: e.Code, Message: e.Message})
}
