package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// message is the success answer of a deployment. It must have no uuid: the
// public CLI takes one for a refusal (contract/README.md, trap 10).
type message struct {
	Message string `json:"message"`
}

// deploy asks for a deployment of the saved version, or with version=N of one
// that was deployed before: a rollback. The answer comes as soon as the request
// is stored; a controller does the work.
func (s *Server) deploy(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	version, err := wantedVersion(r)
	if err != nil {
		return err
	}
	size, err := s.deploymentSize(q, version)
	if err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	if err := s.saves.take(q.account(), size, s.now()); err != nil {
		return err
	}
	return s.startDeployment(w, r, store.Start{Kind: lambda.Deploy, Version: version}, "Successfully started deployment")
}

// wantedVersion reads the version of a rollback; 0 stands for the saved one.
func wantedVersion(r *http.Request) (int, error) {
	given := r.URL.Query()["version"]
	if len(given) > 1 {
		return 0, lambda.Invalid("version", "version is given %d times: give one", len(given))
	}
	text := strings.Join(given, "")
	if text == "" {
		return 0, nil
	}
	version, err := strconv.Atoi(text)
	if err != nil || version <= 0 {
		return 0, lambda.Invalid("version", "version must be the number of a version in the deployment history, not %.40q", text)
	}
	return version, nil
}

// deploymentSize is about what a deployment writes: the version, and what the
// builder makes of it.
func (s *Server) deploymentSize(q *request, version int) (int, error) {
	id := q.params.ByName("id")
	if version == 0 {
		rec, err := s.lambdas.Record(q, q.account(), id)
		if err != nil {
			return 0, err
		}
		return 2 * rec.Lambda.Size(), nil
	}
	v, err := s.lambdas.Version(q, q.account(), id, version)
	if err != nil {
		return 0, err
	}
	return 2 * len(v.Code), nil
}

// undeploy asks for the live version to be taken away.
func (s *Server) undeploy(w http.ResponseWriter, r *http.Request) error {
	return s.startDeployment(w, r, store.Start{Kind: lambda.Undeploy}, "Successfully started undeployment")
}

func (s *Server) startDeployment(w http.ResponseWriter, r *http.Request, want store.Start, text string) error {
	q := of(r)
	q.lambdaID = q.params.ByName("id")
	want.Account, want.LambdaID, want.By = q.account(), q.lambdaID, author(q.principal)
	var err error
	var before store.Record
	if want.Once, err = s.once(q, r); err != nil {
		return err
	}
	_, replayed, err := s.writeOnce(q, want.Once, func() (string, error) {
		if before, err = s.lambdas.Record(q, want.Account, want.LambdaID); err != nil {
			return "", err
		}
		d, err := s.lambdas.StartDeployment(q, want)
		if err != nil {
			return "", err
		}
		q.version = d.Version
		return d.ID, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", want.Kind, err)
	}
	markReplay(w, replayed)
	if !replayed {
		s.note(q, deploymentActivity(before, want, q.version))
	}
	return respond(w, http.StatusAccepted, message{text})
}

// deploymentActivity says which version was to take the place of which.
func deploymentActivity(before store.Record, want store.Start, version int) journal.Activity {
	a := journal.Activity{Action: journal.Deploy, Noun: journal.Lambda, ID: before.Lambda.ID, Name: before.Lambda.Name}
	var live, next string
	if before.Live != nil {
		live = strconv.Itoa(before.Live.Version)
	}
	switch {
	case want.Kind == lambda.Undeploy:
		a.Action = journal.Undeploy
	case want.Version != 0 && want.Version != before.Lambda.Version:
		a.Action = journal.Rollback
		fallthrough
	default:
		next = strconv.Itoa(version)
	}
	var c changes
	c.value("version", live, next)
	a.Changes = c
	return a
}

// deploymentEntry is a deployment with the lambda that it is of.
type deploymentEntry struct {
	deploymentView
	LambdaName  string       `json:"lambdaName"`
	LambdaState lambda.State `json:"lambdaState"`
}

// listDeployments answers the last deployment of each lambda that has one.
func (s *Server) listDeployments(w http.ResponseWriter, r *http.Request) error {
	records, err := s.lambdas.Records(r.Context(), of(r).account())
	if err != nil {
		return fmt.Errorf("list deployments: %w", err)
	}
	entries := make([]deploymentEntry, 0, len(records))
	for _, rec := range records {
		if rec.Last != nil {
			entries = append(entries, deploymentEntry{viewDeployment(rec.Last), rec.Lambda.Name, rec.State()})
		}
	}
	return respond(w, http.StatusOK, entries)
}

// historyEntry is a deployment that has ended, with what it deployed.
type historyEntry struct {
	deploymentView
	Digest         string         `json:"digest"`
	Live           bool           `json:"live"` // this very deployment answers calls now
	Runtime        runtimeRef     `json:"runtime"`
	Implementation implementation `json:"implementation"`
}

// deploymentHistory answers the last deployments of a lambda, newest first, with
// their code: an editor can show and take over an old one, and deploy it again
// with POST …?version=N.
func (s *Server) deploymentHistory(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	id := q.params.ByName("id")
	rec, err := s.lambdas.Record(q, q.account(), id)
	if err != nil {
		return fmt.Errorf("deployment history: %w", err)
	}
	history, err := s.lambdas.History(q, q.account(), id)
	if err != nil {
		return fmt.Errorf("deployment history: %w", err)
	}
	entries := make([]historyEntry, 0, len(history))
	for i := range history {
		e, err := s.historyEntry(q, &history[i], rec.Live)
		if lambda.Is(err, lambda.KindNotFound) {
			continue // another deployment has ended meanwhile and pushed it out
		}
		if err != nil {
			return fmt.Errorf("deployment history: %w", err)
		}
		entries = append(entries, e)
	}
	return respond(w, http.StatusOK, entries)
}

func (s *Server) historyEntry(q *request, d *lambda.Deployment, live *lambda.Live) (historyEntry, error) {
	v, err := s.lambdas.Version(q, d.Account, d.LambdaID, d.Version)
	if err != nil {
		return historyEntry{}, err
	}
	if v.Digest != d.Digest {
		return historyEntry{}, errors.New("version " + strconv.Itoa(v.Version) + " of lambda " + d.LambdaID + " is not the one that was deployed")
	}
	ref, err := s.runtimeRef(q, v.Runtime)
	if err != nil {
		return historyEntry{}, err
	}
	return historyEntry{
		deploymentView: viewDeployment(d), Digest: v.Digest, Live: live != nil && live.DeploymentID == d.ID, Runtime: ref,
		Implementation: implementation{Code: v.Code, Dependencies: orNone(v.Dependencies), Environment: orNone(v.Environment)},
	}, nil
}
