package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// maxIdentityBody is more than any installation, user or profile needs.
const maxIdentityBody = 64 << 10

// fields are the keys that a body may have, each with the place for its value: a
// pointer, or a function that reads it. A key with neither is one that answers
// have and nobody can write: it is let pass, so that what was read can be sent
// back.
type fields map[string]any

// field reads a value that a pointer cannot take as it is.
type field func(raw json.RawMessage) error

// readFields reads a body that a person wrote, and is therefore strict where
// decode is not: a key that is misspelt, or given twice, is an error that names
// it. null means absent. An empty body is one without keys.
func readFields(w http.ResponseWriter, r *http.Request, known fields) error {
	body, err := readBody(w, r, maxIdentityBody)
	if err != nil {
		return err
	}
	of(r).body = body
	return parseFields(body, known)
}

func parseFields(body []byte, known fields) error {
	body = bytes.Trim(body, " \t\r\n")
	switch {
	case len(body) == 0:
		return nil
	case !utf8.Valid(body):
		return lambda.Invalid("body", "the body is not valid UTF-8")
	case body[0] != '{':
		return lambda.Invalid("body", "the body must be a JSON object")
	case !json.Valid(body):
		return jsonFault(json.Unmarshal(body, new(json.RawMessage)))
	}
	seen := map[string]bool{}
	for key, raw := range members(body) {
		target, ok := known[key]
		switch {
		case !ok:
			return lambda.Invalid(clip(key, 50), "%.50q is no field here: %s", key, known.use())
		case seen[key]:
			return lambda.Invalid(key, "%s is given twice: remove one", key)
		}
		seen[key] = true
		if err := readField(key, raw, target); err != nil {
			return err
		}
	}
	return nil
}

func readField(key string, raw json.RawMessage, target any) error {
	if target == nil || string(raw) == "null" {
		return nil
	}
	if read, ok := target.(field); ok {
		return read(raw)
	}
	if json.Unmarshal(raw, target) != nil {
		return lambda.Invalid(key, "%s must be %s", key, wanted(target))
	}
	return nil
}

// wanted is what JSON calls the value that a pointer takes.
func wanted(target any) string {
	switch target.(type) {
	case *string:
		return "a string"
	case *bool:
		return "true or false"
	}
	return "an array of strings"
}

// use says what may be written.
func (f fields) use() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if f[name] != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "send no body"
	}
	return "use " + strings.Join(names, ", ")
}
