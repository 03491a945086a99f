package secret

import (
	"strings"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// The texts that lambdas meet (contract/javascript-runtime.md §6.3).
const (
	textNotFound = "There is no Secret %s for this account"
	textFailed   = "Updating Secret %s failed"
	textTooLong  = "Provided Secret Value exceeds allowed length of %d"
)

// NotFound says that the account has no secret of that key.
func NotFound(key string) *lambda.Error {
	return lambda.NotFound(lambda.CodeSecretNotFound, textNotFound, clip(key))
}

// Exists says that the key is taken.
func Exists(key string) *lambda.Error {
	e := lambda.Conflict(lambda.CodeSecretExists, "there is a secret %s already: update it, or choose another key", clip(key))
	e.Field = "key"
	return e
}

// Full says that the account has as many secrets as it may have.
func Full(n, limit int) *lambda.Error {
	return lambda.Conflict(lambda.CodeSecretLimit, "the account has %d secrets: the limit is %d, delete one first", n, limit)
}

// Changed says that another version is stored than the one that was read.
func Changed(key string) *lambda.Error {
	return lambda.Conflict(lambda.CodeSecretConflict, "the secret %s was changed in between: read it again", clip(key))
}

// Unavailable says that the store did not do its work. The cause must hold no
// value; it is for the log only.
func Unavailable(cause error) *lambda.Error {
	return unavailable(lambda.CodeUnavailable, "the store of secrets does not answer: try again", cause)
}

// Refused says that the store does not accept this gateway.
func Refused(cause error) *lambda.Error {
	return unavailable(lambda.CodeSecretAuth, "the store of secrets refuses the gateway: an operator has to look at it", cause)
}

func unavailable(code, message string, cause error) *lambda.Error {
	return &lambda.Error{Kind: lambda.KindUnavailable, Code: code, Message: message, RetryAfter: time.Second, Err: cause}
}

// clip shortens a key from outside for a message.
func clip(key string) string {
	if len(key) > MaxKey {
		return strings.ToValidUTF8(key[:MaxKey], "") + "…"
	}
	return key
}
