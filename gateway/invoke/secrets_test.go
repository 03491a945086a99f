package invoke_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// vault keeps secrets by account and key, or fails with err.
type vault struct {
	values map[[2]string]string
	by     string
	err    error
}

func (v *vault) ReadForLambda(_ context.Context, account, key string) (*secret.Secret, error) {
	value, ok := v.values[[2]string{account, key}]
	switch {
	case v.err != nil:
		return nil, v.err
	case !ok:
		return nil, lambda.NotFound(lambda.CodeSecretNotFound, "There is no Secret %s for this account", key)
	}
	return &secret.Secret{Account: account, Key: key, Value: json.RawMessage(value)}, nil
}

func (v *vault) UpdateFromLambda(ctx context.Context, account, lambdaID, key string, value json.RawMessage) (*secret.Secret, error) {
	if _, err := v.ReadForLambda(ctx, account, key); err != nil {
		return nil, err
	}
	v.by, v.values[[2]string{account, key}] = lambdaID, string(value)
	return v.ReadForLambda(ctx, account, key)
}

// given loads the spec of the live lambda and returns its secrets.
func given(t *testing.T, s invoke.Secrets) runtime.Secrets {
	t.Helper()
	w := newWorld()
	specs := invoke.NewSpecs(w, nil, host.Limits{}, s, nil)
	request, err := specs.SpecFor(*w.golive(2)).Load(bg)
	require.NoError(t, err)
	return request.Secrets
}

func TestALambdaHasTheSecretsOfItsAccountOnly(t *testing.T) {
	v := &vault{values: map[[2]string]string{{account, "mine"}: `"old"`, {"87654321", "theirs"}: `"x"`}}
	secrets := given(t, v)
	got, err := secrets.ReadSecret(bg, "mine")
	require.NoError(t, err)
	require.Equal(t, runtime.Secret{Key: "mine", Value: []byte(`"old"`)}, got)
	got, err = secrets.UpdateSecret(bg, runtime.Secret{Key: "mine", Value: []byte(`"new"`)})
	require.NoError(t, err)
	require.Equal(t, runtime.Secret{Key: "mine", Value: []byte(`"new"`)}, got)
	require.Equal(t, uuid, v.by)
	for _, key := range []string{"theirs", "87654321/theirs", "../87654321/theirs", "/87654321/theirs"} {
		_, err = secrets.ReadSecret(bg, key)
		require.Equal(t, &runtime.SecretError{Code: runtime.SecretNotFound, Message: "There is no Secret " + key + " for this account"}, err)
	}
}

func TestALambdaIsToldWhoSetsTheSecretsOfThePlatform(t *testing.T) {
	const key = "lp-faas-orchestrator-app-key"
	_, err := given(t, &vault{}).ReadSecret(bg, key)
	require.Equal(t, &runtime.SecretError{
		Code:    runtime.SecretNotFound,
		Message: "There is no Secret " + key + " for this account: the operator of the gateway sets it with `sluice secret set " + key + " --account " + account + "`",
	}, err)
}

func TestAGatewayWithoutSecretsGivesNone(t *testing.T) {
	require.Nil(t, given(t, nil))
}

func TestALambdaIsToldWhatItMayKnow(t *testing.T) {
	broken := errors.New("dial tcp 10.0.0.1:8200: refused")
	told := map[string]struct{ err, want error }{
		"a refusal in its own words": {
			&lambda.Error{Kind: lambda.KindInvalid, Code: lambda.CodeSecretFormat, Message: "Provided Secret Value exceeds allowed length of 10000"},
			&runtime.SecretError{Code: runtime.SecretInvalid, Message: "Provided Secret Value exceeds allowed length of 10000"},
		},
		"that the store cannot be reached, and nothing of why": {
			fmt.Errorf("read: %w", &lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Message: "vault.internal", Err: broken}),
			&runtime.SecretError{Code: runtime.SecretFailed, Message: "Reading Secret k failed: the secret store cannot be reached, try again"},
		},
		"that the store refuses the gateway": {
			&lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeSecretAuth, Message: "Reading Secret k failed", Err: broken},
			&runtime.SecretError{Code: runtime.SecretAuthFailed, Message: "Reading Secret k failed"},
		},
		"nothing of a defect":           {broken, broken},
		"nothing of a defect with code": {&lambda.Error{Message: "inner", Err: broken}, &lambda.Error{Message: "inner", Err: broken}},
	}
	for name, test := range told {
		t.Run(name, func(t *testing.T) {
			_, err := given(t, &vault{err: test.err}).ReadSecret(bg, "k")
			require.Equal(t, test.want, err)
		})
	}
	_, err := given(t, &vault{err: &lambda.Error{Kind: lambda.KindUnavailable}}).UpdateSecret(bg, runtime.Secret{Key: "k"})
	require.EqualError(t, err, "Updating Secret k failed: the secret store cannot be reached, try again")
}

func TestTheLastWordsOfAProcessShowNoSecretThatItRead(t *testing.T) {
	v := &vault{values: map[[2]string]string{{account, "mine"}: `"a-long-password"`}}
	secrets := given(t, v)
	_, err := secrets.ReadSecret(bg, "mine")
	require.NoError(t, err)
	st := invoke.MaskStatus(pool.Status{
		State: pool.CrashLooping, LastError: "the process ended: it said a-long-password", LastPrinted: "FATAL a-long-password\nmore", Secrets: secrets,
	})
	require.Equal(t, "the process ended: it said [secret mine]", st.LastError)
	require.Equal(t, "FATAL [secret mine]\nmore", st.LastPrinted)
	require.Equal(t, pool.CrashLooping, st.State)
	require.Equal(t, "a-long-password", invoke.MaskStatus(pool.Status{LastPrinted: "a-long-password"}).LastPrinted, "that process had read none")
}
