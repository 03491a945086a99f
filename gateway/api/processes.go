package api

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/plugins/pool"
)

// processesView is how the processes of what is live of a lambda are, on the
// gateway that answers, and how many of them each gateway keeps ready.
type processesView struct {
	LambdaUUID string         `json:"lambdaUUID"`
	MinWarm    int            `json:"minWarm"`
	State      pool.State     `json:"state"`
	Processes  int            `json:"processes"`
	OpenCalls  int            `json:"openCalls"`
	Waiting    int            `json:"waitingCalls"`
	Failures   int            `json:"failures"`
	RetryAt    string         `json:"retryAt,omitempty"`
	LastError  *processFailed `json:"lastError,omitempty"`
}

// processFailed is what went wrong last.
type processFailed struct {
	Message string `json:"message"`
	Printed string `json:"printed,omitempty"`
	At      string `json:"at"`
}

func (s *Server) viewProcesses(account, id string, minWarm int) processesView {
	st := pool.Status{State: pool.Idle}
	if live, ok := s.live.Live(account, id); ok {
		st = s.condition(live)
	}
	v := processesView{
		LambdaUUID: id, MinWarm: minWarm, State: st.State, Processes: st.Processes, OpenCalls: st.OpenCalls,
		Waiting: st.Waiting, Failures: st.Failures,
	}
	if !st.RetryAt.IsZero() {
		v.RetryAt = wireTime(st.RetryAt)
	}
	if st.LastError != "" {
		v.LastError = &processFailed{st.LastError, st.LastPrinted, wireTime(st.LastErrorAt)}
	}
	return v
}

// readProcesses answers how the processes of a lambda are.
func (s *Server) readProcesses(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	account, id := q.account(), q.params.ByName("id")
	if _, live := s.live.Live(account, id); !live { // of what is live we know that it exists
		if _, err := s.lambdas.Record(q, account, id); err != nil {
			return fmt.Errorf("read processes: %w", err)
		}
	}
	return respond(w, http.StatusOK, s.viewProcesses(account, id, s.live.MinWarm(account, id)))
}

// processesBody is what clients send to change how many processes are kept ready.
type processesBody struct {
	MinWarm *int `json:"minWarm"`
}

// updateProcesses sets how many processes of a lambda are kept ready on each
// gateway though nobody calls. It holds at once, without a deployment, and for
// every later one.
func (s *Server) updateProcesses(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	q.lambdaID = q.params.ByName("id")
	var body processesBody
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	switch most := s.limits.Processes; {
	case body.MinWarm == nil:
		return lambda.Invalid("minWarm", "minWarm is missing: say how many processes are to be kept ready, 0 for none")
	case *body.MinWarm < 0 || *body.MinWarm > most:
		return lambda.Invalid("minWarm", "minWarm must be a number from 0 to %d, the limit of processes of a lambda", most)
	}
	before, rec, err := s.setMinWarm(q, *body.MinWarm)
	if err != nil {
		return fmt.Errorf("update processes: %w", err)
	}
	if before != *body.MinWarm {
		var c changes
		c.value("minWarm", strconv.Itoa(before), strconv.Itoa(*body.MinWarm))
		s.note(q, journal.Activity{Action: journal.Update, Noun: journal.Lambda, ID: rec.Lambda.ID, Name: rec.Lambda.Name, Changes: c})
		s.settle(q)
	}
	return respond(w, http.StatusOK, s.viewProcesses(q.account(), q.lambdaID, *body.MinWarm))
}

func (s *Server) setMinWarm(q *request, n int) (before int, rec store.Record, err error) {
	if rec, err = s.lambdas.Record(q, q.account(), q.lambdaID); err != nil {
		return 0, rec, err
	}
	if err = s.spend(q, processesBody{&n}); err != nil {
		return 0, rec, err
	}
	before, err = s.lambdas.SetMinWarm(q, q.account(), q.lambdaID, n)
	return before, rec, err
}
