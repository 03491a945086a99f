package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/plugins/host"
)

// lambdaBody is what clients send to create or update a lambda
// (contract/management.md §4). What the server decides itself, such as state
// and times, is not even read.
type lambdaBody struct {
	Version        number          `json:"version"`
	Name           *string         `json:"name"`
	Description    *string         `json:"description"`
	EventID        *string         `json:"eventId"`
	Skills         *[]string       `json:"skills"`
	Runtime        *runtimeRef     `json:"runtime"`
	Implementation *implementation `json:"implementation"`
}

// implementation is the code of a lambda with its surroundings, on the wire.
type implementation struct {
	Code         string        `json:"code"`
	Dependencies []lambda.Pair `json:"dependencies"`
	Environment  []lambda.Pair `json:"environmentVariables"`
}

// lambdaView is ILambda (contract/management.md §3). Nested objects carry these
// keys and no others: the Java client refuses more.
type lambdaView struct {
	UUID           string          `json:"uuid"`
	Version        int             `json:"version"`
	Name           string          `json:"name"`
	Description    string          `json:"description"`
	EventID        string          `json:"eventId,omitempty"`
	Skills         []string        `json:"skills,omitempty"`
	SamplePayload  json.RawMessage `json:"samplePayload"`
	State          lambda.State    `json:"state"`
	Runtime        runtimeRef      `json:"runtime"`
	CreatedAt      string          `json:"createdAt"`
	CreatedBy      string          `json:"createdBy"`
	UpdatedAt      string          `json:"updatedAt"`
	UpdatedBy      string          `json:"updatedBy"`
	LastDeployment any             `json:"lastDeployment"`
	Implementation implementation  `json:"implementation"`
}

type deploymentView struct {
	UUID       string                 `json:"uuid"`
	Name       string                 `json:"name"`
	LambdaUUID string                 `json:"lambdaUUID"`
	Version    int                    `json:"lambdaVersion"`
	ImageName  string                 `json:"imageName"`
	State      lambda.DeploymentState `json:"deploymentState"`
	Error      *errorBody             `json:"deploymentError,omitempty"`
	CreatedAt  string                 `json:"createdAt"`
	UpdatedAt  string                 `json:"updatedAt"`
	DeployedAt string                 `json:"deployedAt,omitempty"`
	CreatedBy  string                 `json:"createdBy"`
	UpdatedBy  string                 `json:"updatedBy"`
}

// wireTime is ISO 8601 in UTC with milliseconds.
func wireTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *Server) view(ctx context.Context, rec store.Record) (lambdaView, error) {
	l := rec.Lambda
	ref, err := s.runtimeRef(ctx, l.Runtime)
	if err != nil {
		return lambdaView{}, err
	}
	v := lambdaView{
		UUID: l.ID, Version: l.Version, Name: l.Name, Description: l.Description, EventID: l.EventID, Skills: l.Skills,
		SamplePayload: sampleInput(l.EventID), State: rec.State(), Runtime: ref,
		CreatedAt: wireTime(l.CreatedAt), CreatedBy: l.CreatedBy, UpdatedAt: wireTime(l.UpdatedAt), UpdatedBy: l.UpdatedBy,
		LastDeployment: struct{}{}, // an object when there is none, never null
		Implementation: implementation{Code: l.Code, Dependencies: orNone(l.Dependencies), Environment: orNone(l.Environment)},
	}
	if rec.Last != nil {
		v.LastDeployment = viewDeployment(rec.Last)
	}
	return v, nil
}

func viewDeployment(d *lambda.Deployment) deploymentView {
	v := deploymentView{
		UUID: d.ID, Name: d.Name, LambdaUUID: d.LambdaID, Version: d.Version,
		ImageName: fmt.Sprintf("%s:%d", d.LambdaID, d.Version), State: d.State,
		CreatedAt: wireTime(d.CreatedAt), CreatedBy: d.CreatedBy, UpdatedAt: wireTime(d.UpdatedAt), UpdatedBy: d.UpdatedBy,
	}
	if !d.DeployedAt.IsZero() {
		v.DeployedAt = wireTime(d.DeployedAt)
	}
	if f := d.Failure; f != nil {
		v.Error = &errorBody{Code: f.Code, Message: f.Message, Logs: f.Logs}
	}
	return v
}

// orNone makes of no list an empty one: clients take no null.
func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// listLambdas answers every lambda of the account that fits the filters name
// (substring), eventId and state (repeatable). An empty filter is no filter.
func (s *Server) listLambdas(w http.ResponseWriter, r *http.Request) error {
	records, err := s.lambdas.Records(r.Context(), of(r).account())
	if err != nil {
		return fmt.Errorf("list lambdas: %w", err)
	}
	query := r.URL.Query()
	name, event := query.Get("name"), query.Get("eventId")
	states := slices.DeleteFunc(query["state"], func(s string) bool { return s == "" })
	views := make([]lambdaView, 0, len(records))
	for _, rec := range records {
		fits := strings.Contains(rec.Lambda.Name, name) && (event == "" || rec.Lambda.EventID == event) &&
			(len(states) == 0 || slices.Contains(states, string(rec.State())))
		if !fits {
			continue
		}
		v, err := s.view(r.Context(), rec)
		if err != nil {
			return err
		}
		views = append(views, v)
	}
	return respond(w, http.StatusOK, views)
}

// readLambda answers one lambda in an array, as the public CLI reads it.
func (s *Server) readLambda(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	rec, err := s.lambdas.Record(r.Context(), q.account(), q.params.ByName("id"))
	if err != nil {
		return fmt.Errorf("read lambda: %w", err)
	}
	v, err := s.view(r.Context(), rec)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(v.Version))
	return respond(w, http.StatusOK, []lambdaView{v})
}

// createLambda stores a new lambda after its language has accepted the code.
// With draft=true it is stored unchecked: an author may keep unfinished text,
// and a deployment of it ends in Build Error.
func (s *Server) createLambda(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var body lambdaBody
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	now := s.now().UTC()
	l := &lambda.Lambda{
		Account: q.account(), ID: uuid.NewString(), Version: 1,
		CreatedAt: now, CreatedBy: author(q.principal), UpdatedAt: now, UpdatedBy: author(q.principal),
	}
	if body.Name != nil {
		l.Name = *body.Name
	}
	if body.EventID != nil {
		l.EventID = *body.EventID
	}
	if _, err := s.apply(q, l, body); err != nil {
		return err
	}
	if err := l.Validate(s.limits); err != nil {
		return err
	}
	if err := lambda.CheckEvent(l.EventID); err != nil {
		return err
	}
	if err := s.saves.take(l.Account, l.Size(), now); err != nil {
		return err
	}
	once, err := s.once(q, r)
	if err != nil {
		return err
	}
	id, replayed, err := s.writeOnce(q, once, func() (string, error) {
		if err := s.checkCode(r, l); err != nil {
			return "", err
		}
		_, err := s.lambdas.CreateLambda(q, l, once)
		return l.ID, err
	})
	if err != nil {
		return fmt.Errorf("create lambda: %w", err)
	}
	markReplay(w, replayed)
	if len(l.Skills) > 0 {
		s.settle(q)
	}
	rec := store.Record{Lambda: l}
	if !replayed {
		s.note(q, journal.Activity{Action: journal.Create, Noun: journal.Lambda, ID: l.ID, Name: l.Name, Changes: lambdaChanges(&lambda.Lambda{}, l)})
	} else if rec, err = s.lambdas.Record(q, l.Account, id); err != nil {
		return fmt.Errorf("read lambda: %w", err)
	}
	return s.respondLambda(w, r, http.StatusCreated, rec)
}

// updateLambda stores a change of a lambda if the caller has seen its last
// version; without a difference it answers 304 and stores nothing. Other skills
// are a change like any other, and raise the version: it is what keeps two
// authors from undoing each other's work. They hold for calls at once all the
// same, without a deployment.
func (s *Server) updateLambda(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var body lambdaBody
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	if !body.Version.set {
		return lambda.Invalid("version", "version is missing: send the version that you last read")
	}
	match, err := ifMatch(r)
	if err != nil {
		return err
	}
	var before lambda.Lambda
	skills := false // differ
	change := func(l *lambda.Lambda) (bool, error) {
		before = *l
		if match != 0 && match != l.Version {
			return false, lambda.Stale(l.Version, match)
		}
		if err := unchangeable(l, body); err != nil {
			return false, err
		}
		code, bound := l.Code, l.Skills
		changed, err := s.apply(r.Context(), l, body)
		skills = !slices.Equal(bound, l.Skills)
		if err != nil || !changed {
			return false, err
		}
		if err := l.Validate(s.limits); err != nil {
			return false, err
		}
		if err := s.saves.take(l.Account, l.Size(), s.now()); err != nil {
			return false, err
		}
		if l.Code != code {
			if err := s.checkCode(r, l); err != nil {
				return false, err
			}
		}
		l.UpdatedAt, l.UpdatedBy = s.now().UTC(), author(q.principal)
		return true, nil
	}
	rec, changed, err := s.lambdas.UpdateLambda(r.Context(), q.account(), q.params.ByName("id"), body.Version.value, change)
	switch {
	case err != nil:
		return fmt.Errorf("update lambda: %w", err)
	case !changed:
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	l := rec.Lambda
	s.note(q, journal.Activity{Action: journal.Update, Noun: journal.Lambda, ID: l.ID, Name: l.Name, Changes: lambdaChanges(&before, l)})
	if skills {
		s.settle(q)
	}
	return s.respondLambda(w, r, http.StatusAccepted, rec)
}

// deleteLambda removes a lambda that is not deployed.
func (s *Server) deleteLambda(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	match, err := ifMatch(r)
	if err != nil {
		return err
	}
	rec, err := s.lambdas.Record(q, q.account(), q.params.ByName("id"))
	if err != nil {
		return fmt.Errorf("delete lambda: %w", err)
	}
	l := rec.Lambda
	if err := s.lambdas.DeleteLambda(q, l.Account, l.ID, match); err != nil {
		return fmt.Errorf("delete lambda: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Delete, Noun: journal.Lambda, ID: l.ID, Name: l.Name, Changes: lambdaChanges(l, &lambda.Lambda{})})
	return respond(w, http.StatusOK, message{"Successfully deleted lambda"})
}

// A lambda's entity tag is its version in quotes.
func etag(version int) string { return `"` + strconv.Itoa(version) + `"` }

// ifMatch reads the version that a write demands; 0 stands for any.
func ifMatch(r *http.Request) (int, error) {
	text := r.Header.Get("If-Match")
	if text == "" || text == "*" {
		return 0, nil
	}
	inner, quoted := strings.CutPrefix(text, `"`)
	version, err := strconv.Atoi(strings.TrimSuffix(inner, `"`))
	if !quoted || err != nil || version <= 0 || etag(version) != text {
		return 0, lambda.Invalid("If-Match", `If-Match must be the ETag that was last read, such as "3", not %.40q`, text)
	}
	return version, nil
}

func (s *Server) respondLambda(w http.ResponseWriter, r *http.Request, status int, rec store.Record) error {
	v, err := s.view(r.Context(), rec)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(v.Version))
	return respond(w, status, v)
}

// unchangeable refuses what cannot change after creation. A field that is
// absent or empty is no wish to change it.
func unchangeable(l *lambda.Lambda, body lambdaBody) error {
	if body.Name != nil && *body.Name != "" && *body.Name != l.Name {
		return lambda.Invalid("name", "name cannot change after creation: it is %q", l.Name)
	}
	if body.EventID != nil && *body.EventID != "" && *body.EventID != l.EventID {
		return lambda.Invalid("eventId", "eventId cannot change after creation: it is %q", l.EventID)
	}
	return nil
}

// apply copies what an author may change into l and says whether anything did.
func (s *Server) apply(ctx context.Context, l *lambda.Lambda, body lambdaBody) (changed bool, err error) {
	if body.Description != nil && *body.Description != l.Description {
		l.Description, changed = *body.Description, true
	}
	if body.Skills != nil && !slices.Equal(*body.Skills, l.Skills) {
		l.Skills, changed = *body.Skills, true
	}
	if impl := body.Implementation; impl != nil {
		env := slices.DeleteFunc(slices.Clone(impl.Environment), func(p lambda.Pair) bool { return p == lambda.Pair{} })
		if impl.Code != l.Code || !slices.Equal(env, l.Environment) || !slices.Equal(impl.Dependencies, l.Dependencies) {
			l.Code, l.Environment, l.Dependencies, changed = impl.Code, env, impl.Dependencies, true
		}
	}
	runtime, err := s.runtimeName(ctx, body.Runtime, l.Runtime)
	if err != nil {
		return false, err
	}
	if runtime != l.Runtime {
		l.Runtime, changed = runtime, true
	}
	return changed, nil
}

// checkCode lets the lambda's language judge its code.
func (s *Server) checkCode(r *http.Request, l *lambda.Lambda) error {
	if r.URL.Query().Get("draft") == "true" {
		return nil
	}
	deps := make([]host.Dependency, len(l.Dependencies))
	for i, d := range l.Dependencies {
		deps[i] = host.Dependency{Name: d.Key, Version: d.Value}
	}
	built, err := s.runtimes.Build(of(r).caller, l.Runtime, l.Code, deps)
	if err != nil {
		return &lambda.Error{
			Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, RetryAfter: time.Second,
			Message: "the code could not be checked because no builder could run: try again", Err: err,
		}
	}
	if faults := built.Fault(); faults != "" {
		return &lambda.Error{
			Kind: lambda.KindInvalid, Code: lambda.CodeLambdaContract, Phase: lambda.PhaseRequest,
			Field: "implementation.code", Message: faults,
		}
	}
	return nil
}

// author names a principal in createdBy and updatedBy.
func author(p *auth.Principal) string {
	if p.LoginName != "" {
		return p.LoginName
	}
	return p.Caller()
}
