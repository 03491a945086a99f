package api

import (
	"fmt"
	"net/http"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// message is the success answer of a deployment. It must have no uuid: the
// public CLI takes one for a refusal (contract/README.md, trap 10).
type message struct {
	Message string `json:"message"`
}

// deploy asks for a deployment of the saved version. The answer comes as soon as
// the request is stored; a controller does the work.
func (s *Server) deploy(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	rec, err := s.lambdas.Record(r.Context(), q.account(), q.params.ByName("id"))
	if err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	// A deployment writes the version and what the builder makes of it.
	if err := s.saves.take(q.account(), 2*rec.Lambda.Size(), s.now()); err != nil {
		return err
	}
	return s.startDeployment(w, r, lambda.Deploy, "Successfully started deployment")
}

// undeploy asks for the live version to be taken away.
func (s *Server) undeploy(w http.ResponseWriter, r *http.Request) error {
	return s.startDeployment(w, r, lambda.Undeploy, "Successfully started undeployment")
}

func (s *Server) startDeployment(w http.ResponseWriter, r *http.Request, kind lambda.DeploymentKind, text string) error {
	q := of(r)
	q.lambdaID = q.params.ByName("id")
	d, err := s.lambdas.StartDeployment(r.Context(), q.account(), q.lambdaID, kind, author(q.principal))
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	q.version = d.Version
	return respond(w, http.StatusAccepted, message{text})
}
