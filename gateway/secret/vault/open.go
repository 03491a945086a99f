package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// maxSecretID is more than any secret id has, in bytes.
const maxSecretID = 4_096

// Config is what a Store is made of. The rest is Vault's own: VAULT_ADDR,
// VAULT_TOKEN, VAULT_CACERT, VAULT_NAMESPACE and the other variables of its client
// are read from the environment.
type Config struct {
	Mount        string // of a KV secrets engine of version 2
	Prefix       string // folder in it
	TransitMount string
	TransitKey   string
	// RoleID and SecretIDFile log in by AppRole, at AppRoleMount. Without RoleID
	// the token in VAULT_TOKEN is used. The file is read at each login.
	RoleID       string
	SecretIDFile string
	AppRoleMount string
	Log          zerolog.Logger
}

// Open connects to Vault, logs in and looks whether all that the gateway needs is
// there. What an operator has to mend is an error that names the setting. A Vault
// that does not answer, or is sealed, is none: it is given as away, and the Store
// serves as soon as it is back. The caller must Close what Open returned.
func Open(ctx context.Context, c Config) (s *Store, away error, err error) {
	client, err := newClient(c)
	if err != nil {
		return nil, nil, err
	}
	s = &Store{
		client: client, log: c.Log, mount: c.Mount, prefix: c.Prefix, graveTime: graveTime,
		transit: c.TransitMount + "/encrypt/" + c.TransitKey,
	}
	client.session.start()
	if err = s.probe(ctx, c); err == nil {
		return s, nil, nil
	}
	if isAway(err) && ctx.Err() == nil {
		return s, err, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	return nil, nil, errors.Join(err, s.Close(ctx))
}

// isAway tells whether Vault did not answer, rather than say no.
func isAway(err error) bool {
	e := lambda.As(err)
	return e != nil && e.Kind == lambda.KindUnavailable && e.Code != lambda.CodeSecretAuth
}

func newClient(c Config) (*client, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, fmt.Errorf("the settings of Vault in the environment (VAULT_ADDR, VAULT_CACERT and others): %w", config.Error)
	}
	config.MaxRetries, config.Timeout = 0, requestTimeout // who may be asked again, we know better
	config.ReadYourWrites = true                          // also where reads go to another server than writes
	v, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("the settings of Vault in the environment (VAULT_ADDR, VAULT_TOKEN and others): %w", err)
	}
	config.HttpClient.Transport = bounded{config.HttpClient.Transport}
	login, owned := tokenLogin(v, v.Token()), false
	if c.RoleID != "" {
		if _, err := readSecretID(c.SecretIDFile); err != nil {
			return nil, err
		}
		v.ClearToken()
		login, owned = appRoleLogin(v, c), true
	} else if err := checkToken(v.Token()); err != nil {
		return nil, err
	}
	return &client{api: v, slots: make(chan struct{}, requests), session: newSession(v, c.Log, owned, login)}, nil
}

func checkToken(token string) error {
	switch {
	case token == "":
		return errors.New("VAULT_ADDR is set, but no login: set VAULT_TOKEN, or --vault-role-id and --vault-secret-id-file")
	case strings.ContainsFunc(token, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("VAULT_TOKEN holds a character that no token has, such as a line break: set it anew")
	}
	return nil
}

// tokenLogin looks at the token that there is.
func tokenLogin(v *api.Client, token string) func(context.Context) (grant, error) {
	return func(ctx context.Context) (grant, error) {
		found, err := within(ctx, v.Auth().Token().LookupSelfWithContext)
		switch {
		case isStatus(err, http.StatusForbidden):
			return grant{}, fmt.Errorf("%w: VAULT_TOKEN was revoked, has ended, or may not look at itself", errLogin)
		case err != nil:
			return grant{}, err
		}
		g := grant{token: token}
		g.renewable, _ = found.TokenIsRenewable()
		if ttl := number(found.Data["ttl"]); ttl > 0 {
			g.life = max(number(found.Data["creation_ttl"]), ttl)
			g.ends = time.Now().Add(ttl)
		}
		return g, nil
	}
}

// appRoleLogin gets a new token each time.
func appRoleLogin(v *api.Client, c Config) func(context.Context) (grant, error) {
	return func(ctx context.Context) (grant, error) {
		id, err := readSecretID(c.SecretIDFile)
		if err != nil {
			return grant{}, &faultError{err.Error(), true}
		}
		made, err := within(ctx, func(ctx context.Context) (*api.Secret, error) {
			return v.Logical().WriteWithContext(ctx, "auth/"+c.AppRoleMount+"/login", map[string]any{"role_id": c.RoleID, "secret_id": id})
		})
		switch {
		case isStatus(err, http.StatusBadRequest), isStatus(err, http.StatusForbidden), isStatus(err, http.StatusNotFound):
			return grant{}, fmt.Errorf("%w: it knows no such --vault-role-id at --vault-approle-mount %s, or not the secret id in --vault-secret-id-file", errLogin, c.AppRoleMount)
		case err != nil:
			return grant{}, err
		case made == nil || made.Auth == nil || made.Auth.ClientToken == "":
			return grant{}, errUnreadable
		}
		g := grant{token: made.Auth.ClientToken, renewable: made.Auth.Renewable, life: time.Duration(made.Auth.LeaseDuration) * time.Second}
		if g.life > 0 {
			g.ends = time.Now().Add(g.life)
		}
		return g, nil
	}
}

func readSecretID(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxSecretID {
		err = fmt.Errorf("it has %d bytes, and a secret id has some 36", info.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	id := strings.TrimSpace(string(text))
	if err == nil && id == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("--vault-secret-id-file %s: %w", path, err)
	}
	return id, nil
}

// number reads a number of seconds.
func number(v any) time.Duration {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	i, _ := n.Int64()
	return time.Duration(i) * time.Second
}

// probe looks whether all that the gateway needs is there, each with an error
// that names the settings that it hangs on.
func (s *Store) probe(ctx context.Context, c Config) error {
	for _, step := range []struct {
		settings string
		run      func(context.Context) error
	}{
		{"VAULT_ADDR and the login", s.probeLogin},
		{"--vault-mount " + c.Mount, s.probeMount},
		{"--vault-mount " + c.Mount + " and --vault-prefix " + c.Prefix, s.probeFolder},
		{"--vault-transit-mount " + c.TransitMount + " and --vault-transit-key " + c.TransitKey, s.probeTransit},
	} {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.settings, err)
		}
	}
	return nil
}

func (s *Store) probeLogin(ctx context.Context) error {
	_, err := s.client.session.current(ctx)
	return s.client.fault(ctx, "log in", err)
}

// probeMount asks what is mounted. Whoever may use a mount may ask that.
func (s *Store) probeMount(ctx context.Context) error {
	answer, err := s.client.get(ctx, "sys/internal/ui/mounts/"+s.mount)
	if err != nil {
		return err
	}
	if answer != nil {
		options, _ := answer.Data["options"].(map[string]any)
		if text(answer.Data["type"]) == "kv" && text(options["version"]) == "2" {
			return nil
		}
	}
	return errors.New("it is no KV secrets engine of version 2")
}

// probeFolder lists an account that there is not, as the policy must allow.
func (s *Store) probeFolder(ctx context.Context) error {
	_, err := s.keys(ctx, "0")
	return err
}

// probeTransit encrypts something. A key that is not derived takes no notice of the
// account, and works without one.
func (s *Store) probeTransit(ctx context.Context) error {
	if _, err := s.encrypt(ctx, "0", []byte("probe")); err != nil {
		return err
	}
	if _, err := s.encrypt(ctx, "", []byte("probe")); err == nil {
		return errors.New("the key is not derived: all accounts would share it; make another with derived=true")
	}
	return nil
}
