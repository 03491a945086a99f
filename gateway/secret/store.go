package secret

import "context"

// Store keeps secrets. Every method is safe for concurrent use, returns soon
// after its context ends, then with the context's error, and otherwise gives a
// *lambda.Error of one of the kinds that it names. When the store does not answer
// or refuses the gateway, every method gives one of lambda.KindUnavailable.
type Store interface {
	// List gives the secrets of an account by key, in that order, with Crypted and
	// without Value.
	List(ctx context.Context, account string) ([]Secret, error)
	// Read gives a secret with its value. What is not there is
	// lambda.MissingSecret, and what is stored there but is no secret
	// lambda.SecretUnreadable.
	Read(ctx context.Context, account, key string) (*Secret, error)
	// Create writes a new secret and gives it as List would. A key that exists is
	// lambda.SecretExists, and more secrets than limit (0: no limit) is
	// lambda.SecretsFull; those that IsHidden do not count.
	Create(ctx context.Context, s Secret, limit int) (*Secret, error)
	// Update writes s over the version that s.Version names and gives the next one
	// as List would. It is lambda.SecretChanged when another version is stored,
	// lambda.MissingSecret when none is. Of several updates of one version one is
	// made.
	Update(ctx context.Context, s Secret) (*Secret, error)
	// Delete removes that version of a secret, or any for 0. It is
	// lambda.MissingSecret when there is none and lambda.SecretChanged when another
	// version is stored. The value is gone for good.
	Delete(ctx context.Context, account, key string, version int) error
	// Check says what is wrong with the store, or soon will be, for readiness.
	Check(ctx context.Context) error
}
