package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
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
	case *string, **string:
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

// revisionLength is that of a revision, in hex digits.
const revisionLength = 16

// revisionOf names the state of a noun by its content, so that whoever read it
// can demand with If-Match that it be still so. Another state has another name.
func revisionOf(noun any) string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(noun) // nouns hold nothing that JSON cannot say
	return hex.EncodeToString(h.Sum(nil))[:revisionLength]
}

func setRevision(w http.ResponseWriter, revision string) {
	w.Header().Set("ETag", `"`+revision+`"`)
}

// demand is what a write wants the state to be that it meets.
type demand struct {
	exists   bool   // it must be there
	revision string // it must be this one; empty for any
}

// demanded reads If-Match.
func demanded(r *http.Request) (demand, error) {
	switch text := r.Header.Get("If-Match"); {
	case text == "":
		return demand{}, nil
	case text == "*":
		return demand{exists: true}, nil
	case len(text) == revisionLength+2 && text[0] == '"' && text[len(text)-1] == '"':
		return demand{exists: true, revision: text[1 : len(text)-1]}, nil
	default:
		return demand{}, lambda.Invalid("If-Match", `If-Match must be the ETag that was last read, a revision in quotes, not %.40q`, text)
	}
}

// met says whether the noun is as the write wants it.
func (d demand) met(noun string, revision string) error {
	if d.revision == "" || d.revision == revision {
		return nil
	}
	return notMet("the " + noun + " has changed since it was read: read it again")
}

func notMet(message string) error {
	return &lambda.Error{Kind: lambda.KindPrecondition, Code: lambda.CodeIdentityConflict, Field: "If-Match", Phase: lambda.PhaseRequest, Message: message}
}

// settleLimit bounds the wait for the own views, should their watch be cut.
const settleLimit = 2 * time.Second

// settle lets this gateway act on what it has just written before it answers.
// Others learn it from their watch.
func (s *Server) settle(q *request) {
	ctx, cancel := context.WithTimeout(q, settleLimit)
	defer cancel()
	if err := s.views.WaitFor(ctx, s.identity.Written()); err != nil {
		s.log.Warn().Err(err).Str("requestId", q.id).Msg("the views lag behind a change of who may do what")
	}
}

// spend counts what a write will take of the store against the account.
func (s *Server) spend(q *request, noun any) error {
	if q.origin == operator {
		return nil
	}
	text, err := json.Marshal(noun)
	if err != nil {
		return fmt.Errorf("size of %T: %w", noun, err)
	}
	return s.saves.take(q.account(), len(text), s.now())
}
