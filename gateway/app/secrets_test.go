package app_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/secret/secrettest"
	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/vaulttest"
)

// withVault sets Vault's variables, and clears those that the machine may have.
func withVault(t *testing.T, variables ...string) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "VAULT_") {
			t.Setenv(name, "")
		}
	}
	for i := 0; i < len(variables); i += 2 {
		t.Setenv(variables[i], variables[i+1])
	}
}

const (
	keyName     = "a-key-of-this-test"
	distinctive = "Tr0ub4dor-and-3-staples"
)

func TestSealedSecretsOutliveARestart(t *testing.T) {
	withVault(t)
	dir := t.TempDir()
	g := start(t, dir, "--no-sample")
	_, err := g.as(t, "FaaS-Admin").CreateSecret(t.Context(), keyName, distinctive)
	require.NoError(t, err)
	g.stop(t)
	g = start(t, dir, "--no-sample")
	found, err := g.as(t, "FaaS-Admin").Secret(t.Context(), keyName)
	require.NoError(t, err)
	require.JSONEq(t, `"`+distinctive+`"`, string(found.Value))
	requireNowhere(t, g)
	g.stop(t)

	require.NoError(t, os.Rename(filepath.Join(dir, "secrets.key"), filepath.Join(dir, "elsewhere")))
	_, err = open(t, dir, "--no-sample")
	require.ErrorContains(t, err, filepath.Join(dir, "secrets.key")+" is missing")
	require.NoFileExists(t, filepath.Join(dir, "secrets.key"))
}

// requireNowhere looks for the distinctive value in all that a gateway wrote: its
// log, its metrics, and every file of its data folder, etcd's and the journal's
// among them.
func requireNowhere(t *testing.T, g *gateway) {
	t.Helper()
	_, metrics := g.admin(t, "/metrics")
	require.Contains(t, metrics, "sluice_secret_cache_entries")
	_, ready := g.admin(t, "/readyz?verbose")
	written := map[string]string{"log": g.log.String(), "banner": g.people.String(), "metrics": metrics, "readiness": ready}
	require.NoError(t, filepath.WalkDir(g.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var text []byte
			text, err = os.ReadFile(path)
			written[path] = string(text)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // renamed or removed just now
		}
		return err
	}))
	keys := 0
	for where, text := range written {
		keys += strings.Count(text, keyName) // what is no value is found
		for _, form := range secrettest.Forms(distinctive) {
			require.False(t, strings.Contains(text, form), "%s holds the value, as %s", where, form)
		}
	}
	require.Greater(t, keys, 2)
}

func TestSecretsInVault(t *testing.T) {
	server := vaulttest.Start(t)
	role, id, err := server.AppRole(t.Context())
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "id")
	require.NoError(t, os.WriteFile(file, []byte(id), 0o600))
	withVault(t, "VAULT_ADDR", server.Address)
	g := start(t, t.TempDir(), "--vault-role-id", role, "--vault-secret-id-file", file)
	admin := g.as(t, "FaaS-Admin")
	made, err := admin.CreateSecret(t.Context(), keyName, distinctive)
	require.NoError(t, err)
	require.Contains(t, string(made.Value), "vault:v1:")
	require.NoFileExists(t, filepath.Join(g.dir, "secrets.key"))
	_, metrics := g.admin(t, "/metrics")
	require.Regexp(t, `sluice_vault_token_seconds 3[5-6]\d\d`, metrics)

	server.Kill()
	t.Run("without Vault everything goes on but secrets, and it is said", func(t *testing.T) {
		_, err := admin.Secret(t.Context(), keyName)
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, http.StatusServiceUnavailable, e.Status)
		status, body := g.admin(t, "/readyz?verbose")
		require.Equal(t, http.StatusOK, status)
		var v struct {
			Degraded []string
			Checks   map[string]string
		}
		require.NoError(t, json.Unmarshal([]byte(body), &v))
		require.Equal(t, []string{"secrets"}, v.Degraded)
		require.Contains(t, v.Checks["secrets"], "vault cannot be reached")
		_, err = g.brand(t).Invoke(t.Context(), g.Info().Lambda.UUID, nil)
		require.NoError(t, err)
	})
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool {
		_, err := admin.UpdateSecret(t.Context(), keyName, distinctive+" again", made.Revision)
		return err == nil
	}, 30*time.Second, 100*time.Millisecond)
	requireNowhere(t, g)
}

func TestWhatIsWrongWithVaultIsNamedAtTheStart(t *testing.T) {
	server := vaulttest.Start(t)
	withVault(t)
	_, err := open(t, t.TempDir(), "--vault-role-id", "r", "--vault-secret-id-file", "/x")
	require.ErrorContains(t, err, "VAULT_ADDR is not")
	withVault(t, "VAULT_ADDR", server.Address)
	_, err = open(t, t.TempDir())
	require.ErrorContains(t, err, "set VAULT_TOKEN, or --vault-role-id")
	withVault(t, "VAULT_ADDR", server.Address, "VAULT_TOKEN", "hvs.wrong")
	_, err = open(t, t.TempDir())
	require.ErrorContains(t, err, "VAULT_TOKEN was revoked, has ended")
	require.NotContains(t, err.Error(), "hvs.wrong")
	withVault(t, "VAULT_ADDR", server.Address, "VAULT_TOKEN", server.Root)
	_, err = open(t, t.TempDir(), "--vault-mount", "nothing")
	require.ErrorContains(t, err, "--vault-mount nothing")
}
