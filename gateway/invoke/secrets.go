package invoke

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// Secrets is what lambdas do with the secrets of their account. A lambda.Error has
// the code and the text that user code meets (contract/javascript-runtime.md §6.3).
type Secrets interface {
	ReadForLambda(ctx context.Context, account, key string) (*secret.Secret, error)
	UpdateFromLambda(ctx context.Context, account, lambdaID, key string, value json.RawMessage) (*secret.Secret, error)
}

// accountSecrets are the Secrets that one lambda may use: those of its account,
// whatever it asks for.
type accountSecrets struct {
	secrets           Secrets
	account, lambdaID string
	known             known // by the one process that has these
}

var _ runtime.Secrets = (*accountSecrets)(nil)

// secretsOf is nil when the gateway has none.
func (s *Specs) secretsOf(live *lambda.Live) runtime.Secrets {
	if s.secrets == nil {
		return nil
	}
	return &accountSecrets{secrets: s.secrets, account: live.Account, lambdaID: live.LambdaID}
}

// ReadSecret reads for the lambda.
func (a *accountSecrets) ReadSecret(ctx context.Context, key string) (runtime.Secret, error) {
	found, err := a.secrets.ReadForLambda(ctx, a.account, key)
	s, err := a.note(given(found, "Reading", key, err))
	var e *runtime.SecretError
	if secret.IsHidden(key) && errors.As(err, &e) && e.Code == runtime.SecretNotFound {
		e.Message += ": the operator of the gateway sets it with `sluice secret set " + key + " --account " + a.account + "`"
	}
	return s, err
}

// UpdateSecret writes for the lambda.
func (a *accountSecrets) UpdateSecret(ctx context.Context, s runtime.Secret) (runtime.Secret, error) {
	changed, err := a.secrets.UpdateFromLambda(ctx, a.account, a.lambdaID, s.Key, s.Value)
	return a.note(given(changed, "Updating", s.Key, err))
}

// note remembers what user code is given.
func (a *accountSecrets) note(s runtime.Secret, err error) (runtime.Secret, error) {
	if err == nil {
		a.known.add(s.Key, s.Value)
	}
	return s, err
}

// maskOf is the masker of what a process has read that was given these secrets.
func maskOf(given runtime.Secrets) *masker {
	if a, ok := given.(*accountSecrets); ok {
		return a.known.mask()
	}
	return nil
}

// MaskStatus hides what a process has read of its account's secrets in what is told
// of its end.
func MaskStatus(s pool.Status) pool.Status {
	m := maskOf(s.Secrets)
	s.LastError, s.LastPrinted = m.text(s.LastError), m.text(s.LastPrinted)
	return s
}

// given puts an outcome into the runtime contract's terms. An error that the
// gateway has no words for is the host's to log.
func given(s *secret.Secret, doing, key string, err error) (runtime.Secret, error) {
	e := lambda.As(err)
	switch {
	case err == nil:
		return runtime.Secret{Key: s.Key, Value: s.Value}, nil
	case e == nil || e.Kind == lambda.KindInternal:
		return runtime.Secret{}, err
	case e.Kind == lambda.KindUnavailable && e.Code != lambda.CodeSecretAuth:
		return runtime.Secret{}, &runtime.SecretError{
			Code: lambda.CodeSecretFailed, Message: doing + " Secret " + key + " failed: the secret store cannot be reached, try again",
		}
	}
	return runtime.Secret{}, &runtime.SecretError{Code: e.Code, Message: e.Message}
}
