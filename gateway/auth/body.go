package auth

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// maxBody is the largest body of a request to Sentinel or the login service.
const maxBody = 64 << 10

// readBody reads a whole body. Its errors are *lambda.Error of kind TooLarge or
// Invalid.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		e := lambda.Invalid("body", "the body is larger than the limit of %d bytes", maxBody)
		e.Kind = lambda.KindTooLarge
		return nil, e
	case err != nil:
		e := lambda.Invalid("body", "the body could not be read to its end")
		e.Err = err
		return nil, e
	}
	return body, nil
}

// respond writes v as JSON that nobody may keep.
func respond(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller who left needs no answer
	return nil
}

func setRetryAfter(w http.ResponseWriter, d time.Duration) {
	if d > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10))
	}
}
