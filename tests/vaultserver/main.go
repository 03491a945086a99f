// Command vaultserver runs a real Vault server on a loopback port, for tests: the
// secrets engines KV and Transit, login by token and AppRole, storage in memory or
// in a folder. It knows nothing of Sluice and begins as a new Vault does, neither
// initialised nor unsealed; a test does both over HTTP.
//
// It is a module of its own, so that nothing of the server, which has some 300
// dependencies and another licence than ours, is part of the product.
//
// It prints one line when it answers, {"address":"http://127.0.0.1:…"}, and ends
// when its standard input does, so that it outlives no test that dies.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	dir := flag.String("dir", "", "folder that keeps the storage (default: memory)")
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on")
	flag.Parse()
	if err := run(*dir, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "vaultserver:", err)
		os.Exit(1)
	}
}

func run(dir, addr string) error {
	log := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.Warn, Output: os.Stderr})
	storage, err := open(dir, log)
	if err != nil {
		return fmt.Errorf("open the storage: %w", err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage, Logger: log, DisableMlock: true, BuiltinRegistry: builtins,
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory, "transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
	})
	if err != nil {
		return fmt.Errorf("make the core: %w", err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core: core, ListenerConfig: &configutil.Listener{Type: "tcp", Address: listener.Addr().String()},
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"address": "http://" + listener.Addr().String()}); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return errors.Join(core.Shutdown(), server.Close())
	}
}

func open(dir string, log hclog.Logger) (physical.Backend, error) {
	if dir == "" {
		return inmem.NewInmem(nil, log)
	}
	return file.NewFileBackend(map[string]string{"path": dir}, log)
}
