package e2e_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/secret/secrettest"
	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
	"github.com/sluice-faas/sluice/tests/vaulttest"
)

// secretGateway is a gateway with its secrets sealed or in a Vault, whose whole
// log is kept.
type secretGateway struct {
	*dev.Gateway
	options dev.Options
	vault   *vaulttest.Server // nil: sealed
}

func newSecretGateway(t *testing.T, vault *vaulttest.Server) *secretGateway {
	t.Helper()
	dir := t.TempDir()
	g := &secretGateway{vault: vault, options: dev.Options{
		DataDir: filepath.Join(dir, "data"), LogFile: filepath.Join(dir, "gateway.log"), Args: []string{"--log-level", "trace"},
		Env: []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")},
	}}
	if vault != nil {
		role, id, err := vault.AppRole(t.Context())
		require.NoError(t, err)
		file := filepath.Join(dir, "secret-id")
		require.NoError(t, os.WriteFile(file, []byte(id), 0o600))
		g.options.Args = append(g.options.Args, "--vault-role-id", role, "--vault-secret-id-file", file)
		g.options.Env = append(g.options.Env, "VAULT_ADDR="+vault.Address)
	}
	g.start(t)
	return g
}

func (g *secretGateway) start(t *testing.T) {
	t.Helper()
	var err error
	g.Gateway, err = dev.Start(t.Context(), g.options)
	require.NoError(t, err)
	owned(t, g.Gateway)
}

// told is what a gateway tells of itself.
func (g *secretGateway) told(t *testing.T) map[string][]byte {
	t.Helper()
	told := map[string][]byte{}
	for _, path := range []string{"/metrics", "/readyz?verbose"} {
		resp, err := http.Get(g.Info.URLs["admin"] + path)
		require.NoError(t, err)
		told[path], err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NotEmpty(t, told[path])
	}
	return told
}

// requireNowhere looks for values in everything that was written in the run: what
// the gateway told, its log, its data folder with etcd and the journal, and Vault's
// storage.
func (g *secretGateway) requireNowhere(t *testing.T, told map[string][]byte, values ...string) {
	t.Helper()
	written := maps.Clone(told)
	written["output"] = []byte(g.Output())
	folders := []string{filepath.Dir(g.options.DataDir)}
	if g.vault != nil {
		folders = append(folders, g.vault.Dir)
	}
	for _, folder := range folders {
		require.NoError(t, filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				written[path], err = os.ReadFile(path)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil // renamed or removed just now
			}
			return err
		}))
	}
	keys := 0
	for where, text := range written {
		keys += strings.Count(string(text), "api-key") // what is no value is found
		for _, value := range values {
			for _, form := range secrettest.Forms(value) {
				require.False(t, strings.Contains(string(text), form), "%s holds a secret's value, as %s", where, form)
			}
		}
	}
	require.Greater(t, keys, 5)
}

func TestSecretsFromCreationToDeletion(t *testing.T) {
	t.Run("sealed", func(t *testing.T) { testSecrets(t, newSecretGateway(t, nil)) })
	t.Run("in Vault", func(t *testing.T) { testSecrets(t, newSecretGateway(t, vaulttest.Start(t))) })
}

func testSecrets(t *testing.T, g *secretGateway) {
	const first, second, nested = "Tr0ub4dor-and-3-staples", "correct/horse+battery=staple", "inside-of-an-object-7731"
	ctx := t.Context()
	admin, developer := as(t, g.Gateway, "FaaS-Admin"), developer(t, g.Gateway)
	made, err := admin.CreateSecret(ctx, "api-key", first)
	require.NoError(t, err)
	require.True(t, made.Encrypted)
	_, err = admin.CreateSecret(ctx, "app", map[string]any{"consumerKey": nested, "n": json.RawMessage("12345678901234567890")})
	require.NoError(t, err)

	for name, c := range map[string]*client.Client{"an Admin": admin, "a Developer": developer} {
		all, err := c.Secrets(ctx)
		require.NoError(t, err)
		require.Len(t, all, 2, name)
		require.Equal(t, made.Value, all[0].Value, "%s sees the encrypted form", name)
	}
	found, err := admin.Secret(ctx, "app")
	require.NoError(t, err)
	require.JSONEq(t, `{"consumerKey":"`+nested+`","n":12345678901234567890}`, string(found.Value))
	for what, try := range map[string]func() error{
		"read":   func() error { _, err := developer.Secret(ctx, "api-key"); return err },
		"create": func() error { _, err := developer.CreateSecret(ctx, "another", first); return err },
		"update": func() error { _, err := developer.UpdateSecret(ctx, "api-key", second, ""); return err },
		"delete": func() error { return developer.DeleteSecret(ctx, "api-key", "") },
	} {
		requireStatus(t, try(), http.StatusForbidden, what)
	}

	changed, err := admin.UpdateSecret(ctx, "api-key", second, made.Revision)
	require.NoError(t, err)
	require.Equal(t, 2, changed.Version)
	_, err = admin.UpdateSecret(ctx, "api-key", first, made.Revision)
	requireStatus(t, err, http.StatusPreconditionFailed, "an update of what has changed since")
	_, err = admin.CreateSecret(ctx, "api-key", first)
	requireStatus(t, err, http.StatusConflict, "a key that is taken")

	require.NoError(t, g.Stop(ctx))
	g.start(t)
	admin = as(t, g.Gateway, "FaaS-Admin")
	found, err = admin.Secret(ctx, "api-key")
	require.NoError(t, err)
	require.JSONEq(t, `"`+second+`"`, string(found.Value), "it is there after a restart")
	t.Run("who did what is among the activities", func(t *testing.T) {
		now := time.Now()
		list, _, err := admin.Activities(ctx, client.Query{From: now.Add(-time.Hour), To: now.Add(time.Hour)})
		require.NoError(t, err)
		did := map[string]int{}
		for _, a := range list {
			if a.Noun == "secret" {
				did[a.Action]++
			}
		}
		require.Equal(t, map[string]int{"create": 2, "reveal": 2, "update": 1}, did)
	})
	require.NoError(t, admin.DeleteSecret(ctx, "api-key", changed.Revision))
	_, err = admin.Secret(ctx, "api-key")
	requireStatus(t, err, http.StatusNotFound, "a secret that was deleted")
	told := g.told(t)
	g.requireNowhere(t, told, first, second, nested)
	require.NoError(t, g.Stop(ctx))
	g.requireNowhere(t, told, first, second, nested)
}

func requireStatus(t *testing.T, err error, status int, what string) {
	t.Helper()
	var e *client.Error
	require.ErrorAs(t, err, &e, what)
	require.Equal(t, status, e.Status, "%s: %v", what, err)
}
