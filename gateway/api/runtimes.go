package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// runtimeRef is a runtime on the wire (contract/management.md §2, /runtimes).
type runtimeRef struct {
	UUID          string `json:"uuid"`
	Name          string `json:"name"`
	BaseImageName string `json:"baseImageName"`
}

// runtimeSpace makes a runtime's UUID from its name, the same on every gateway.
var runtimeSpace = uuid.MustParse("7b2f6c1e-3c5a-5e0b-9f47-1d2a7c9e4b10")

func runtimeUUID(name string) string { return uuid.NewSHA1(runtimeSpace, []byte(name)).String() }

// runtimeRef describes an installed runtime. A runtime that has been removed is
// still named, so that its lambdas can be listed.
func (s *Server) runtimeRef(ctx context.Context, name string) (runtimeRef, error) {
	ref := runtimeRef{UUID: runtimeUUID(name), Name: name, BaseImageName: "sluice/" + name}
	if !slices.Contains(s.runtimeNames, name) {
		return ref, nil
	}
	d, err := s.runtimes.Describe(ctx, name)
	if err != nil {
		return ref, &lambda.Error{
			Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, RetryAfter: time.Second,
			Message: fmt.Sprintf("the runtime %s could not be started: try again", name), Err: err,
		}
	}
	ref.Name = d.DisplayName
	return ref, nil
}

// listRuntimes answers every installed runtime, the default first: the public
// CLI takes the first for a new lambda.
func (s *Server) listRuntimes(w http.ResponseWriter, r *http.Request) error {
	refs := make([]runtimeRef, 0, len(s.runtimeNames))
	for _, name := range s.runtimeNames {
		ref, err := s.runtimeRef(r.Context(), name)
		if err != nil {
			return err
		}
		refs = append(refs, ref)
	}
	return respond(w, http.StatusOK, refs)
}

// runtimeName finds the runtime that a client means: by uuid, else by name,
// else the current one, else the default.
func (s *Server) runtimeName(ctx context.Context, ref *runtimeRef, current string) (string, error) {
	if ref == nil || *ref == (runtimeRef{}) || ref.UUID == "" && ref.Name == "" {
		if current == "" {
			return s.runtimeNames[0], nil
		}
		return current, nil
	}
	var known []string
	for _, name := range s.runtimeNames {
		installed, err := s.runtimeRef(ctx, name)
		if err != nil {
			return "", err
		}
		if ref.UUID == installed.UUID || ref.UUID == "" && (ref.Name == installed.Name || ref.Name == name) {
			return name, nil
		}
		known = append(known, fmt.Sprintf("%s (%s)", installed.UUID, installed.Name))
	}
	if current != "" && ref.UUID == runtimeUUID(current) {
		return current, nil
	}
	return "", lambda.Invalid("runtime", "runtime %.60q is not installed here: use one of %s", ref.UUID+ref.Name, strings.Join(known, ", "))
}
