package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-faas/sluice/gateway/secret"
	"github.com/sluice-faas/sluice/gateway/secret/sealed"
	"github.com/sluice-faas/sluice/gateway/secret/vault"
)

// vaultAddr is the variable of Vault's own that says that secrets are there.
const vaultAddr = "VAULT_ADDR"

// openSecrets opens the store of secrets: Vault, if its address is set, else the
// gateway's own etcd. Without it lambdas go on but for those that need a secret,
// so that its failure takes no gateway out of service.
func (a *App) openSecrets(ctx context.Context) error {
	kept, marks, err := a.openSecretStore(ctx)
	if err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	a.secrets = secret.New(secret.Config{
		Store: kept, Marks: marks, Limits: a.limits, Notes: a.journal, Metrics: a.metrics, Log: a.log,
	})
	a.closers.push("the reads of secrets", func(context.Context) error { a.secrets.Close(); return nil })
	a.views.OnSecret(a.secrets.Forget)
	a.ready.checks = append(a.ready.checks, check{name: "secrets", probe: a.secrets.Check, degrades: true})
	return nil
}

func (a *App) openSecretStore(ctx context.Context) (secret.Store, secret.Marks, error) {
	if os.Getenv(vaultAddr) != "" {
		v, err := a.openVault(ctx)
		return v, a.store, err
	}
	if a.config.VaultRoleID != "" {
		return nil, nil, errors.New("--vault-role-id is set, and " + vaultAddr + " is not: set it to the address of Vault, or leave --vault-role-id out")
	}
	s, err := sealed.Open(ctx, sealed.Config{Records: a.store, KeyFile: a.data.file(sealed.KeyFile), Shared: a.sharesEtcd()})
	if lacks := (*sealed.KeyError)(nil); a.sharesEtcd() && errors.As(err, &lacks) {
		// Another gateway has the key. This one has all the rest.
		a.log.Warn().Err(lacks).Msg("this gateway cannot read secrets")
		a.warnings = append(a.warnings, "This gateway cannot read secrets, until it is started again with the key: "+lacks.Error())
		return secret.Away{Reason: lacks}, nil, nil
	}
	return s, nil, err // it marks what it writes in the same transaction
}

func (a *App) openVault(ctx context.Context) (*vault.Store, error) {
	c := a.config
	v, away, err := vault.Open(ctx, vault.Config{
		Mount: c.VaultMount, Prefix: c.VaultPrefix, TransitMount: c.VaultTransitMount, TransitKey: c.VaultTransitKey,
		AppRoleMount: c.VaultAppRoleMount, RoleID: c.VaultRoleID, SecretIDFile: c.VaultSecretIDFile, Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	a.closers.push("the login at Vault", v.Close)
	if away != nil {
		a.log.Warn().Err(away).Msg("Vault is away: secrets are there when it is")
		a.warnings = append(a.warnings, "Vault is away, and secrets are there when it is: "+away.Error())
	}
	a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_vault_token_seconds", Help: "How long the token of Vault is good for without being renewed; +Inf for one that never ends, 0 without one.",
	}, func() float64 {
		switch left, known := v.TokenTTL(); {
		case !known:
			return 0
		case left == vault.Forever:
			return math.Inf(1)
		default:
			return left.Seconds()
		}
	}))
	return v, nil
}
