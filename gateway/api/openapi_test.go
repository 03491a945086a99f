package api_test

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
)

// description is openapi.yaml, and a router over it. Every answer that a test of
// this package gets with gateway.do is checked against it.
var description = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

// checkAnswer holds that an answer is one of those that openapi.yaml describes.
// What has no route is not there either.
func checkAnswer(t *testing.T, req *http.Request, resp *http.Response, body []byte) {
	t.Helper()
	router, err := description()
	require.NoError(t, err)
	plain := req.Clone(req.Context())
	plain.URL.Path = strings.TrimSuffix(plain.URL.Path, "/") // a last slash is an alias
	route, params, err := router.FindRoute(plain)
	if err != nil {
		require.Contains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed}, resp.StatusCode, "openapi.yaml does not know %s %s", req.Method, req.URL.Path)
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), input), "%s %s: %s", req.Method, req.URL.Path, body)
}

var parameter = regexp.MustCompile(`:(\w+)`)

func TestTheDescriptionHasEveryRouteAndNoOther(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))

	described := map[string]string{}
	operations := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			described[method+" "+path], _ = operation.Extensions["x-sluice-permission"].(string)
			require.NotEmpty(t, operation.Summary, "%s %s", method, path)
			require.NotNil(t, operation.Responses.Default(), "%s %s says nothing of errors", method, path)
			require.False(t, operations[operation.OperationID], "operation id %q is there twice", operation.OperationID)
			operations[operation.OperationID] = true
			open := operation.Security != nil && len(*operation.Security) == 0
			require.Equal(t, described[method+" "+path] == "Anyone", open, "%s %s: security", method, path)
		}
	}
	served := map[string]string{}
	for _, row := range api.Routes() {
		path := parameter.ReplaceAllString(strings.TrimSuffix(row.Path, "/"), "{$1}") // a last slash is an alias
		served[row.Method+" "+path] = row.Permission.String()
	}
	require.Equal(t, served, described)
}

func TestTheDescriptionIsServed(t *testing.T) {
	g := newGateway(t)
	for path, mediaType := range map[string]string{"/openapi.json": "application/json", "/openapi.yaml": "application/yaml"} {
		resp, err := http.Get(g.url + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, mediaType, resp.Header.Get("Content-Type"))
		doc, err := openapi3.NewLoader().LoadFromData(body)
		require.NoError(t, err)
		require.True(t, slices.Contains(doc.Paths.InMatchingOrder(), "/api/account/{account}/lambdas"))
	}
}
