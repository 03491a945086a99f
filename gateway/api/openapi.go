package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"go.yaml.in/yaml/v3"
)

// openapiYAML describes every route, for programs and people.
//
//go:embed openapi.yaml
var openapiYAML []byte

// openapiJSON is the same in JSON, made when it is first asked for.
var openapiJSON = sync.OnceValues(func() ([]byte, error) {
	var v any
	if err := yaml.Unmarshal(openapiYAML, &v); err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	return json.Marshal(v)
})

func (s *Server) openapiJSON(w http.ResponseWriter, _ *http.Request) error {
	body, err := openapiJSON()
	if err != nil {
		return err
	}
	respondRaw(w, http.StatusOK, body)
	return nil
}

func (s *Server) openapiYAML(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openapiYAML) // a caller who left is seen by the context
	return nil
}
