package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
)

// Secrets is what the API needs of the service of secrets, which says what each
// does and which errors it gives.
type Secrets interface {
	List(ctx context.Context, account string, hidden bool) ([]secret.Secret, error)
	Read(ctx context.Context, account, key string) (*secret.Secret, error)
	Create(ctx context.Context, s secret.Secret) (*secret.Secret, error)
	Update(ctx context.Context, account, key string, r secret.Replacement) (*secret.Secret, error)
	Delete(ctx context.Context, account, key string, may func(*secret.Secret) error) error
}

// secretView is a secret (contract/management.md §10). The value is the encrypted
// form everywhere but in the answer of readSecret: a list of plain values would
// show them all to whoever looks over an admin's shoulder, and leave no trace of
// which one was wanted.
type secretView struct {
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	Encrypted bool            `json:"encrypted"`
	Type      secret.Type     `json:"type"`
	Version   int             `json:"version"`
	CreatedAt string          `json:"createdAt"`
	CreatedBy string          `json:"createdBy"`
	UpdatedAt string          `json:"updatedAt"`
	UpdatedBy string          `json:"updatedBy"`
	Revision  string          `json:"revision"`
}

// secretRevision leaves the value out, of which a hash would tell who tries out
// likely ones.
func secretRevision(s *secret.Secret) string {
	shown := *s
	shown.Value, shown.Crypted = nil, ""
	return revisionOf(&shown)
}

// viewSecret shows a secret with its value, if it has one, or with the encrypted
// form.
func viewSecret(s *secret.Secret) (secretView, error) {
	v := secretView{
		Key: s.Key, Value: s.Value, Type: s.Type, Version: s.Version,
		CreatedAt: wireTime(s.CreatedAt), CreatedBy: s.CreatedBy, UpdatedAt: wireTime(s.UpdatedAt), UpdatedBy: s.UpdatedBy,
		Revision: secretRevision(s),
	}
	if v.Value != nil {
		return v, nil
	}
	v.Encrypted = true
	var err error
	v.Value, err = json.Marshal(s.Crypted)
	return v, err
}

func respondSecret(w http.ResponseWriter, status int, s *secret.Secret) error {
	v, err := viewSecret(s)
	if err != nil {
		return err
	}
	setRevision(w, v.Revision)
	return respond(w, status, v)
}

// listSecrets answers the secrets of the account, by key, with encrypted values;
// those of the platform to the operator only.
func (s *Server) listSecrets(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	all, err := s.secrets.List(q, q.account(), isOperator(q))
	if err != nil {
		return fmt.Errorf("list secrets: %w", err)
	}
	views := make([]secretView, len(all))
	for i := range all {
		if views[i], err = viewSecret(&all[i]); err != nil {
			return err
		}
	}
	return respond(w, http.StatusOK, views)
}

// readSecret answers one secret with its value, after it has noted that it was
// looked at. When that cannot be noted it does not: who can have the journal fail
// could else look unseen.
func (s *Server) readSecret(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	key, err := visible(q)
	if err != nil {
		return err
	}
	found, err := s.secrets.Read(q, q.account(), key)
	if err != nil {
		return fmt.Errorf("read secret: %w", err)
	}
	if err := s.keep(q, &journal.Activity{Action: journal.Reveal, Noun: journal.Secret, Name: key}); err != nil {
		return &lambda.Error{
			Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, RetryAfter: time.Second, Err: err,
			Message: "the secret is not shown, because it could not be recorded who looked at it: try again, or have an operator look at the journal",
		}
	}
	return respondSecret(w, http.StatusOK, found)
}

// createSecret makes a secret. Its answer, like every other but readSecret's, has
// the encrypted form.
func (s *Server) createSecret(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var body struct {
		Key   string          `json:"key"`
		Value json.RawMessage `json:"value"`
		Type  *string         `json:"type"`
	}
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	value, err := s.value(q, body.Value, body.Type)
	switch {
	case err != nil:
		return err
	case secret.IsHidden(body.Key) && !isOperator(q):
		return lambda.Invalid("key", "key %s is the platform's own: choose another", body.Key)
	}
	made, err := s.secrets.Create(q, secret.Secret{Account: q.account(), Key: body.Key, Value: value, CreatedBy: author(q.principal)})
	if err != nil {
		return fmt.Errorf("create secret: %w", err)
	}
	s.noteSecret(q, journal.Create, made.Key)
	return respondSecret(w, http.StatusCreated, made)
}

// updateSecret gives a secret another value of the same type.
func (s *Server) updateSecret(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var body struct {
		Value json.RawMessage `json:"value"`
		Type  *string         `json:"type"`
	}
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	key, err := visible(q)
	if err != nil {
		return err
	}
	value, err := s.value(q, body.Value, body.Type)
	if err != nil {
		return err
	}
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	changed, err := s.secrets.Update(q, q.account(), key, secret.Replacement{Value: value, By: author(q.principal), May: wanted.secret})
	if err != nil {
		return fmt.Errorf("update secret: %w", err)
	}
	s.noteSecret(q, journal.Update, key)
	return respondSecret(w, http.StatusOK, changed)
}

// deleteSecret removes a secret for good.
func (s *Server) deleteSecret(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	key, err := visible(q)
	if err != nil {
		return err
	}
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	if err := s.secrets.Delete(q, q.account(), key, wanted.secret); err != nil {
		return fmt.Errorf("delete secret: %w", err)
	}
	s.noteSecret(q, journal.Delete, key)
	return respond(w, http.StatusOK, message{"Successfully deleted secret"})
}

// value reads a value and what may be said of its type, and counts it against
// what the account may write.
func (s *Server) value(q *request, raw json.RawMessage, given *string) (json.RawMessage, error) {
	value, kind, err := secret.ParseValue(raw, s.limits.SecretValue)
	if err != nil {
		return nil, err
	}
	if given != nil {
		if err := secret.CheckType(*given, kind); err != nil {
			return nil, err
		}
	}
	return value, s.saves.take(q.account(), len(value), s.now())
}

// visible is the key in the path, if it is one that the caller may know of.
func visible(q *request) (string, error) {
	key := q.params.ByName("key")
	if secret.IsHidden(key) && !isOperator(q) {
		return "", lambda.MissingSecret(key)
	}
	return key, nil
}

func isOperator(q *request) bool { return q.principal.May(auth.Operate) }

// secret is met for secrets.
func (d demand) secret(s *secret.Secret) error {
	err := d.met("secret", secretRevision(s))
	if e := lambda.As(err); e != nil {
		e.Code = lambda.CodeSecretConflict
	}
	return err
}

// noteSecret keeps who did what with a secret: its key, and never its value.
func (s *Server) noteSecret(q *request, did journal.Action, key string) {
	var c changes
	if did == journal.Update {
		c.hidden("value")
	}
	s.note(q, journal.Activity{Action: did, Noun: journal.Secret, Name: key, Changes: c})
}
