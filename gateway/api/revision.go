package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

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
