package api

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// maxIdempotencyKey is the largest Idempotency-Key, in bytes.
const maxIdempotencyKey = 255

// once reads the Idempotency-Key of a POST that creates something: repetitions
// with the same key, by the same caller, create it once and get the same thing
// back, marked with Idempotent-Replay: true. nil means that there is no key.
func (s *Server) once(q *request, r *http.Request) (*store.Once, error) {
	given := r.Header.Values("Idempotency-Key")
	if len(given) == 0 {
		return nil, nil
	}
	k := strings.TrimSpace(given[0])
	switch {
	case len(given) > 1:
		return nil, lambda.Invalid("Idempotency-Key", "Idempotency-Key is given %d times: give one", len(given))
	case k == "":
		return nil, lambda.Invalid("Idempotency-Key", "Idempotency-Key is empty: give a random string, or leave it out")
	case len(k) > maxIdempotencyKey:
		return nil, lambda.Invalid("Idempotency-Key", "Idempotency-Key has %d bytes: the limit is %d", len(k), maxIdempotencyKey)
	}
	return &store.Once{
		Account: q.account(), Key: digest(q.principal.Caller(), k),
		Fingerprint: digest(r.Method, r.URL.Path, r.URL.RawQuery, string(q.body)),
	}, nil
}

// digest is a SHA-256 over texts, with their boundaries.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		sum := sha256.Sum256([]byte(t))
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// writeOnce makes a write that returns the id of what it wrote, unless its
// receipt is there; then it gives the id of the receipt and true.
func (s *Server) writeOnce(q *request, o *store.Once, write func() (string, error)) (id string, replayed bool, err error) {
	if o == nil {
		id, err = write()
		return id, false, err
	}
	// Before the write, and once more after it met a conflict: with the same
	// request, it may be, that came at the same time.
	for range 2 {
		receipt, rerr := s.receipts.Receipt(q, o)
		if rerr != nil {
			return "", false, rerr
		}
		if receipt != nil {
			return receipt.ID, true, nil
		}
		if err != nil {
			break
		}
		if id, err = write(); !lambda.Is(err, lambda.KindConflict) {
			return id, false, err
		}
	}
	return "", false, err
}

func markReplay(w http.ResponseWriter, replayed bool) {
	if replayed {
		w.Header().Set("Idempotent-Replay", "true")
	}
}
