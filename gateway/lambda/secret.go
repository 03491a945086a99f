package lambda

import (
	"strings"
	"time"
)

// MaxSecretKey is the largest length of a secret's key (contract/management.md
// §10).
const MaxSecretKey = 100

// SealedSecret is a secret as etcd keeps it where the gateway keeps secrets
// itself: everything but the value is in clear, and the value is sealed with a
// key that is not in etcd.
type SealedSecret struct {
	Account   string    `json:"account"`
	Key       string    `json:"key"`
	Type      string    `json:"type"`
	Version   int       `json:"version"` // from 1, rises with each write
	Sealer    string    `json:"sealer"`  // id of the key that it is sealed with
	Sealed    []byte    `json:"sealed"`  // nonce, then ciphertext
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy"`
	// Revision is that of the last write in etcd: a later write demands it.
	Revision int64 `json:"-"`
}

// MissingSecret says that the account has no secret of that key
// (contract/limits-and-errors.md §4).
func MissingSecret(key string) *Error {
	return NotFound(CodeSecretNotFound, "There is no Secret %s for this account", ClipSecretKey(key))
}

// SecretExists says that the key is taken.
func SecretExists(key string) *Error {
	e := Conflict(CodeSecretExists, "there is a secret %s already: update it, or choose another key", ClipSecretKey(key))
	e.Field = "key"
	return e
}

// SecretsFull says that the account has as many secrets as it may have.
func SecretsFull(n, limit int) *Error {
	return Conflict(CodeSecretLimit, "the account has %d secrets: the limit is %d, delete one first", n, limit)
}

// SecretChanged says that another version is stored than the one that was read.
func SecretChanged(key string) *Error {
	return Conflict(CodeSecretConflict, "the secret %s was changed in between: read it again", ClipSecretKey(key))
}

// SecretsUnavailable says that the store of secrets did not do its work. The
// cause is for the log, and must hold no value.
func SecretsUnavailable(cause error) *Error {
	return &Error{
		Kind: KindUnavailable, Code: CodeUnavailable, RetryAfter: time.Second, Err: cause,
		Message: "the store of secrets does not answer: try again",
	}
}

// SecretsRefused says that the store of secrets does not accept the gateway, or
// the gateway not what it finds there. The cause is as for SecretsUnavailable.
func SecretsRefused(cause error) *Error {
	return &Error{
		Kind: KindUnavailable, Code: CodeSecretAuth, RetryAfter: time.Second, Err: cause,
		Message: "the store of secrets cannot be used by this gateway: an operator has to look at it",
	}
}

// SecretUnreadable says that what is stored as one secret is none, or does not
// open. Others can be read. The cause is as for SecretsUnavailable.
func SecretUnreadable(cause error) *Error {
	return &Error{
		Kind: KindUnavailable, Code: CodeSecretFailed, RetryAfter: time.Second, Err: cause,
		Message: "what is stored as this secret cannot be read: an operator has to look at it",
	}
}

// ClipSecretKey shortens what a caller gives as a key for a message.
func ClipSecretKey(key string) string {
	if len(key) > MaxSecretKey {
		return strings.ToValidUTF8(key[:MaxSecretKey], "") + "…"
	}
	return key
}
