package runtime

import "context"

// Secrets is what user code may do with the secrets of its account. Both methods
// return a *SecretError when the secret is the reason, and may be called at once.
type Secrets interface {
	// ReadSecret gives the secret of that key.
	ReadSecret(ctx context.Context, key string) (Secret, error)
	// UpdateSecret gives a secret that exists another value of the same type, and
	// returns it.
	UpdateSecret(ctx context.Context, s Secret) (Secret, error)
}

// Secret is a value that the account keeps under a name.
type Secret struct {
	Key   string
	Value []byte // one JSON value
}

// The codes of a SecretError.
const (
	SecretInvalid    = "com.liveperson.faas.secret.invalid-format"
	SecretFailed     = "com.liveperson.faas.secret.op-failed"
	SecretNotFound   = "com.liveperson.faas.secret.not-found"
	SecretAuthFailed = "com.liveperson.faas.secret.auth-failed"
)

// SecretError says why a secret was not read or changed, with a code and a text of
// contract/javascript-runtime.md §6.3.
type SecretError struct {
	Code    string
	Message string
}

func (e *SecretError) Error() string { return e.Message }
