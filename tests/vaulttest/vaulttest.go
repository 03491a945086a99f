// Package vaulttest runs the Vault server of tests/vaultserver for tests and the
// benchmark, and sets it up as deploy/vault/README.md says.
package vaulttest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sluice-faas/sluice/tests/dev"
)

// Server is a Vault of one test.
type Server struct {
	Address string
	Root    string // root token
	Dir     string // its storage
	Client  *api.Client

	unseal  string
	process *exec.Cmd
	stdin   io.Closer
	stderr  strings.Builder
}

// Start runs a server that is unsealed and set up, until the test ends. Its
// storage is in a folder, so that it can be killed and started again.
func Start(t testing.TB) *Server {
	t.Helper()
	if testing.Short() && os.Getenv("CI") == "" {
		if _, err := Binary(); err != nil {
			t.Skip(err)
		}
	}
	s, err := Launch(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Binary finds bin/vaultserver.
func Binary() (string, error) {
	root, err := dev.ModuleRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "vaultserver")
	if _, err := os.Stat(path); err != nil {
		return "", errors.New("bin/vaultserver is missing: run make bin/vaultserver (some minutes, once)")
	}
	return path, nil
}

// Policy reads the policy of deploy/vault.
func Policy() (string, error) {
	root, err := dev.ModuleRoot()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy", "vault", "sluice.hcl"))
	return string(text), err
}

// Launch is Start without a test: the caller must Kill the server. dir keeps its
// storage.
func Launch(ctx context.Context, dir string) (*Server, error) {
	s := &Server{Dir: dir}
	if err := s.run(ctx, "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if err := s.setUp(ctx); err != nil {
		s.Kill()
		return nil, fmt.Errorf("set Vault up: %w", err)
	}
	return s, nil
}

// run starts the process and waits until it has said where it answers.
func (s *Server) run(ctx context.Context, addr string) error {
	binary, err := Binary()
	if err != nil {
		return err
	}
	s.process = exec.Command(binary, "-dir", s.Dir, "-addr", addr) //nolint:noctx // it lives longer than the call
	s.process.Stderr = &s.stderr
	s.process.Env = []string{"PATH=" + os.Getenv("PATH")}
	stdout, err := s.process.StdoutPipe()
	if err != nil {
		return err
	}
	if s.stdin, err = s.process.StdinPipe(); err != nil { // when it closes, the server ends
		return err
	}
	if err := s.process.Start(); err != nil {
		return err
	}
	var said struct{ Address string }
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		s.Kill()
		return fmt.Errorf("vaultserver does not start: %w: %s", err, s.stderr.String())
	}
	s.Address = said.Address
	if s.Client == nil {
		c := api.DefaultConfig()
		c.Address, c.MaxRetries = s.Address, 0
		if s.Client, err = api.NewClient(c); err != nil {
			s.Kill()
			return err
		}
		s.Client.ClearNamespace()
		s.Client.ClearToken()
	}
	return ctx.Err()
}

// Kill ends the process as kill -9 does.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	_ = s.stdin.Close()
	s.process = nil
}

// Restart starts a server that was killed, with its storage, at its address, and
// unseals it.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.run(ctx, strings.TrimPrefix(s.Address, "http://")); err != nil {
		return err
	}
	return s.Unseal(ctx)
}

// Seal seals the server.
func (s *Server) Seal(ctx context.Context) error { return s.Client.Sys().SealWithContext(ctx) }

// Unseal unseals it and waits until it answers requests.
func (s *Server) Unseal(ctx context.Context) error {
	if _, err := s.Client.Sys().UnsealWithContext(ctx, s.unseal); err != nil {
		return err
	}
	return s.until(ctx, func() error {
		_, err := s.Client.Auth().Token().LookupSelfWithContext(ctx)
		return err
	})
}

// until tries for some seconds.
func (s *Server) until(ctx context.Context, try func() error) error {
	for end := time.Now().Add(20 * time.Second); ; {
		err := try()
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// setUp initialises the server and does what the README of deploy/vault does.
func (s *Server) setUp(ctx context.Context) error {
	init, err := s.Client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return err
	}
	s.unseal, s.Root = init.KeysB64[0], init.RootToken
	s.Client.SetToken(s.Root)
	if err := s.Unseal(ctx); err != nil {
		return err
	}
	sys := s.Client.Sys()
	policy, err := Policy()
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error {
			return sys.MountWithContext(ctx, "secret", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}})
		},
		func() error { return sys.MountWithContext(ctx, "transit", &api.MountInput{Type: "transit"}) },
		func() error { return s.Write(ctx, "transit/keys/sluice", map[string]any{"derived": true}) },
		func() error { return sys.PutPolicyWithContext(ctx, "sluice", policy) },
		func() error {
			return sys.EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"})
		},
		func() error {
			return s.Write(ctx, "auth/approle/role/sluice", map[string]any{
				"token_policies": "sluice", "token_no_default_policy": true, "token_ttl": "1h", "token_max_ttl": "24h",
			})
		},
		// KV takes about a second to make itself ready after it was mounted.
		func() error {
			return s.until(ctx, func() error {
				_, err := s.Client.Logical().ReadWithContext(ctx, "secret/data/sluice/none")
				return err
			})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Write writes as root.
func (s *Server) Write(ctx context.Context, path string, data map[string]any) error {
	_, err := s.Client.Logical().WriteWithContext(ctx, path, data)
	return err
}

// Token makes a token with the policy of deploy/vault and nothing else. With a
// TTL of 0 it has Vault's default.
func (s *Server) Token(ctx context.Context, ttl time.Duration, renewable bool) (string, error) {
	r := &api.TokenCreateRequest{Policies: []string{"sluice"}, NoDefaultPolicy: true, NoParent: true, Renewable: &renewable}
	if ttl > 0 {
		r.TTL = ttl.String()
	}
	made, err := s.Client.Auth().Token().CreateWithContext(ctx, r)
	if err != nil {
		return "", err
	}
	return made.Auth.ClientToken, nil
}

// AppRole gives the role id and a new secret id of the role sluice.
func (s *Server) AppRole(ctx context.Context) (roleID, secretID string, err error) {
	role, err := s.Client.Logical().ReadWithContext(ctx, "auth/approle/role/sluice/role-id")
	if err != nil {
		return "", "", err
	}
	made, err := s.Client.Logical().WriteWithContext(ctx, "auth/approle/role/sluice/secret-id", nil)
	if err != nil {
		return "", "", err
	}
	roleID, _ = role.Data["role_id"].(string)
	secretID, _ = made.Data["secret_id"].(string)
	return roleID, secretID, nil
}

// Revoke ends a token at once.
func (s *Server) Revoke(ctx context.Context, token string) error {
	return s.Client.Auth().Token().RevokeTreeWithContext(ctx, token)
}

// As asks the server for something with a token, and gives the status.
func (s *Server) As(ctx context.Context, token, method, path string, body string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.Address+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("X-Vault-Token", token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}
