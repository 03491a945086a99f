package directory

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/julienschmidt/httprouter"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// codeNotFound is the contract's code for a service that is not in the directory.
const codeNotFound = "com.liveperson.faas.csds.domain.not-found"

// HandleService answers both forms of the Domain API: …/service/baseURI.json
// lists all, …/service/{service}/baseURI.json gives one; .json may be left out.
// The router allows no fixed word beside a parameter, so this one handler looks
// at its parameters account, service and file.
func (d *Directory) HandleService(w http.ResponseWriter, r *http.Request) error {
	params := httprouter.ParamsFromContext(r.Context())
	account, service, file := params.ByName("account"), params.ByName("service"), params.ByName("file")
	if !lambda.ValidAccount(account) {
		return lambda.Invalid("account", "the account in the path must be 1 to %d digits", lambda.MaxAccountLength)
	}
	switch {
	case file == "" && isBaseURI(service):
		return respond(w, struct {
			BaseURIs []Entry `json:"baseURIs"`
		}{d.List(account)})
	case isBaseURI(file):
		entry, err := d.Lookup(account, service)
		if err != nil {
			return err
		}
		return respond(w, entry)
	}
	return lambda.NotFound(codeNotFound, "there is nothing here: ask for service/baseURI.json or service/{service}/baseURI.json")
}

func isBaseURI(file string) bool { return strings.TrimSuffix(file, ".json") == "baseURI" }

func respond(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // a caller who left needs no answer
	return nil
}
