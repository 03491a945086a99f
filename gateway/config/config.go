// Package config holds the settings of the gateway: one struct with a comment
// on each field, their defaults, and Load, which lays the environment and then
// the command line over those defaults.
//
// Every setting has one key. The key is the flag (--data-dir), and in capitals
// with SLUICE_ before it the environment variable (SLUICE_DATA_DIR). A flag wins
// over the environment. A SLUICE_ variable that is no key is an error, so that a
// misspelt one is not silently without effect.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/directory"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/sandbox"
)

// Config is what an operator can set. Dev gives the defaults of `sluice dev`.
type Config struct {
	// DataDir is the folder that keeps everything: etcd's files, unless
	// EtcdEndpoints names others that do, the local CA, the demo credentials. One
	// gateway uses it at a time. Default: $XDG_DATA_HOME/sluice, or
	// ~/.local/share/sluice, or ./data where there is no home folder. Load makes it
	// absolute.
	DataDir string `koanf:"data-dir"`
	// HTTPSAddr is where all services answer over TLS. Default 127.0.0.1:8443;
	// port 0 takes any free one.
	HTTPSAddr string `koanf:"https-addr"`
	// HTTPAddr is the plain listener. In dev it serves every service, so it must
	// be a loopback address. Default 127.0.0.1:8080.
	HTTPAddr string `koanf:"http-addr"`
	// AdminAddr serves health, readiness and metrics. Default 127.0.0.1:9090.
	AdminAddr string `koanf:"admin-addr"`
	// Domain sets what the Domain API answers, as service=host or
	// service=host:port. Services that are not named answer with HTTPSAddr.
	// Default: none.
	Domain []string `koanf:"domain"`
	// NoSample leaves out the sample lambda on the first start. Default false.
	NoSample bool `koanf:"no-sample"`
	// EtcdEndpoints are the members of an etcd cluster that several gateways
	// share, each host:port, http://host:port or https://host:port. Default: none,
	// which is an etcd of the gateway's own, in DataDir.
	EtcdEndpoints []string `koanf:"etcd-endpoints"`
	// VaultMount is the KV secrets engine (version 2) that keeps secrets when
	// VAULT_ADDR is set, VaultPrefix the folder in it. Default secret, sluice.
	VaultMount  string `koanf:"vault-mount"`
	VaultPrefix string `koanf:"vault-prefix"`
	// VaultTransitMount and VaultTransitKey make the encrypted form of secrets.
	// Default transit, sluice.
	VaultTransitMount string `koanf:"vault-transit-mount"`
	VaultTransitKey   string `koanf:"vault-transit-key"`
	// VaultRoleID and VaultSecretIDFile log in at Vault by AppRole, which is at
	// VaultAppRoleMount. Default: none, which is the token in VAULT_TOKEN; approle.
	VaultRoleID       string `koanf:"vault-role-id"`
	VaultSecretIDFile string `koanf:"vault-secret-id-file"`
	VaultAppRoleMount string `koanf:"vault-approle-mount"`
	// LogLevel is the least level that is logged: trace, debug, info, warn,
	// error. Default info.
	LogLevel string `koanf:"log-level"`
	// Prestart is the number of blank processes kept ready for each runtime;
	// -1 takes the number in the runtime's manifest, 0 keeps none. Default -1.
	Prestart int `koanf:"prestart"`
	// RuntimesDir holds one folder with a runtime.yaml for each language.
	// Default: the folder `runtimes` beside the executable.
	RuntimesDir string `koanf:"runtimes-dir"`
	// Sandbox says what must hold between lambdas and this machine: required (all of
	// it, or the gateway does not start), auto (what the machine offers) or off.
	// Default auto.
	Sandbox string `koanf:"sandbox"`
	// EgressCAFile has certificates (PEM) that lambdas trust when they connect to other
	// hosts, beside those that their language brings. Default: none.
	EgressCAFile string `koanf:"egress-ca-file"`
	// PrivateNetworks are the networks, as CIDR, of whose private addresses an entry
	// of a whitelist can permit lambdas to reach hosts; none permits no address.
	// Default: none given, which is every private network, and loopback.
	PrivateNetworks []string `koanf:"private-networks"`
	// Limit changes limits, as name=value; lambda.LimitTable has the names, their
	// defaults and bounds. Of a name that is given twice the last value counts.
	// Default: none.
	Limit []string `koanf:"limit"`
	// Pprof adds Go's profiles to the admin listener. Default false.
	Pprof bool `koanf:"pprof"`
}

// ManifestPrestart as Config.Prestart leaves the number of pre-started processes
// to each runtime's manifest.
const ManifestPrestart = -1

// maxPrestart is more than any one machine can use.
const maxPrestart = 256

// Dev gives the defaults of `sluice dev`.
func Dev() Config {
	return Config{
		DataDir:       defaultDataDir(),
		HTTPSAddr:     "127.0.0.1:8443",
		HTTPAddr:      "127.0.0.1:8080",
		AdminAddr:     "127.0.0.1:9090",
		Domain:        []string{},
		EtcdEndpoints: []string{},
		VaultMount:    "secret", VaultPrefix: "sluice",
		VaultTransitMount: "transit", VaultTransitKey: "sluice",
		VaultAppRoleMount: "approle",
		LogLevel:          zerolog.InfoLevel.String(),
		Prestart:          ManifestPrestart,
		RuntimesDir:       defaultRuntimesDir(),
		Sandbox:           string(sandbox.Auto),
		PrivateNetworks:   []string{},
		Limit:             []string{},
	}
}

// DataDir gives the data folder of `sluice dev` without flags: that of environ, as
// os.Environ gives it, else the default.
func DataDir(environ []string) string {
	dir := defaultDataDir()
	for _, line := range environ {
		if value, ok := strings.CutPrefix(line, envName("data-dir")+"="); ok && value != "" {
			dir = value
		}
	}
	return dir
}

func defaultDataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sluice")
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "sluice")
	}
	return "data"
}

// defaultRuntimesDir follows links, so that a link to the executable in some
// folder of $PATH finds the runtimes too.
func defaultRuntimesDir() string {
	exe, err := os.Executable()
	if err != nil {
		return "runtimes"
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return filepath.Join(filepath.Dir(exe), "runtimes")
}

// Level is LogLevel as the logger wants it. Validate has checked it.
func (c Config) Level() zerolog.Level {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		return zerolog.InfoLevel
	}
	return level
}

// Domains gives Domain as a map from service to host or host:port. Validate has
// checked the entries; the last one of a service counts.
func (c Config) Domains() map[string]string {
	domains, err := directory.ParseDomains(c.Domain)
	if err != nil {
		return nil
	}
	return domains
}

// Limits gives the limits with what Limit changes. Validate has checked it.
func (c Config) Limits() lambda.Limits {
	limits, err := lambda.ParseLimits(c.Limit)
	if err != nil {
		return lambda.DefaultLimits()
	}
	return limits
}

// Networks gives PrivateNetworks: nil is every private network. Validate has checked
// them.
func (c Config) Networks() []netip.Prefix {
	if len(c.PrivateNetworks) == 0 {
		return nil
	}
	networks := []netip.Prefix{}
	for _, text := range c.PrivateNetworks {
		if n, err := netip.ParsePrefix(text); err == nil {
			networks = append(networks, n.Masked())
		}
	}
	return networks
}

// Validate names every setting that is wrong, all at once, and how to mend it.
func (c Config) Validate() error {
	var problems []error
	problem := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("--%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.DataDir == "" {
		problem("data-dir", "is empty: name a folder")
	}
	if c.RuntimesDir == "" {
		problem("runtimes-dir", "is empty: name the folder with the language runtimes")
	}
	for _, addr := range []struct{ key, value string }{
		{"https-addr", c.HTTPSAddr}, {"http-addr", c.HTTPAddr}, {"admin-addr", c.AdminAddr},
	} {
		if err := checkAddr(addr.value); err != nil {
			problem(addr.key, "%v", err)
		}
	}
	if err := checkLoopback(c.HTTPAddr); err != nil {
		problem("http-addr", "%v", err)
	}
	if a, b, ok := sameAddr(c); ok {
		problem(a, "is the same address as --%s: give each listener its own", b)
	}
	if level, err := zerolog.ParseLevel(c.LogLevel); err != nil || level < zerolog.TraceLevel || level > zerolog.ErrorLevel || c.LogLevel == "" {
		problem("log-level", "%q is none of trace, debug, info, warn, error", c.LogLevel)
	}
	if c.Prestart < ManifestPrestart || c.Prestart > maxPrestart {
		problem("prestart", "%d is not in 0…%d (or -1 for the manifests' own numbers)", c.Prestart, maxPrestart)
	}
	if _, err := sandbox.ParseMode(c.Sandbox); err != nil {
		problem("sandbox", "%v", err)
	}
	if _, err := lambda.ParseLimits(c.Limit); err != nil {
		problem("limit", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, text := range c.PrivateNetworks {
		if _, err := netip.ParsePrefix(text); err != nil && (text != "none" || len(c.PrivateNetworks) > 1) {
			problem("private-networks", "%.100q is no network: write one such as 10.1.0.0/16, or none alone", text)
		}
	}
	for _, entry := range c.Domain {
		if _, err := directory.ParseDomains([]string{entry}); err != nil {
			problem("domain", "%v", err)
		}
	}
	if err := checkEndpoints(c.EtcdEndpoints); err != nil {
		problem("etcd-endpoints", "%v", err)
	}
	c.validateVault(problem)
	return errors.Join(problems...)
}

// validateVault checks the names in Vault: no part of a path may lead out of it,
// or need escapes.
func (c Config) validateVault(problem func(key, format string, args ...any)) {
	for _, path := range []struct {
		key, value string
		parts      int // at most
	}{
		{"vault-mount", c.VaultMount, maxVaultParts}, {"vault-prefix", c.VaultPrefix, maxVaultParts},
		{"vault-transit-mount", c.VaultTransitMount, maxVaultParts}, {"vault-transit-key", c.VaultTransitKey, 1},
		{"vault-approle-mount", c.VaultAppRoleMount, maxVaultParts},
	} {
		parts := strings.Split(path.value, "/")
		if len(parts) > path.parts || slices.ContainsFunc(parts, func(p string) bool { return !isVaultName(p) }) {
			problem(path.key, "%.100q is no name in Vault: give letters, digits, - and _, in up to %d parts with / between them", path.value, path.parts)
		}
	}
	if (c.VaultRoleID == "") != (c.VaultSecretIDFile == "") {
		problem("vault-role-id", "an AppRole needs both --vault-role-id and --vault-secret-id-file: set the other one, too, or none")
	}
}

// maxVaultParts bounds the depth of a path in Vault.
const maxVaultParts = 10

func isVaultName(part string) bool {
	return part != "" && !strings.ContainsFunc(part, func(r rune) bool {
		letter := r|0x20 >= 'a' && r|0x20 <= 'z'
		return !letter && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port", addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port is not a number from 0 to 65535", addr)
	}
	return nil
}

// checkEndpoints wants one scheme for all: with TLS, a member without it would
// be one that an attacker put there.
func checkEndpoints(endpoints []string) error {
	for _, e := range endpoints {
		if err := checkEndpoint(e); err != nil {
			return err
		}
		if isHTTPS(e) != isHTTPS(endpoints[0]) {
			return fmt.Errorf("%q and %q: use https:// for all members or for none", endpoints[0], e)
		}
	}
	return nil
}

func isHTTPS(endpoint string) bool { return strings.HasPrefix(endpoint, "https://") }

func checkEndpoint(endpoint string) error {
	if strings.Contains(endpoint, "@") { // not shown: it may hold a password
		return errors.New("an endpoint has a user name: Sluice does not log in to etcd, write host:port")
	}
	scheme, address, ok := strings.Cut(endpoint, "://")
	if !ok {
		scheme, address = "http", endpoint
	}
	host, port, err := net.SplitHostPort(address)
	number, nerr := strconv.ParseUint(port, 10, 16)
	if scheme != "http" && scheme != "https" || err != nil || nerr != nil || number == 0 || !isHost(host) {
		return fmt.Errorf("%q is not host:port, http://host:port or https://host:port", endpoint)
	}
	return nil
}

// isHost tells whether host is an IP address, or has the form of a name.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		letter := r|0x20 >= 'a' && r|0x20 <= 'z'
		return !letter && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
}

// checkLoopback refuses a plain listener that other machines could reach:
// passwords and tokens would cross the network in clear.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil // checkAddr has said it
	}
	if host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address: the plain listener carries passwords in clear, use 127.0.0.1 or [::1]", addr)
}

func sameAddr(c Config) (string, string, bool) {
	seen := map[string]string{}
	for _, addr := range []struct{ key, value string }{
		{"https-addr", c.HTTPSAddr}, {"http-addr", c.HTTPAddr}, {"admin-addr", c.AdminAddr},
	} {
		if _, port, err := net.SplitHostPort(addr.value); err != nil || port == "0" {
			continue
		}
		if other, ok := seen[addr.value]; ok {
			return addr.key, other, true
		}
		seen[addr.value] = addr.key
	}
	return "", "", false
}

// DomainHosts gives the host names and addresses in Domain without ports, each
// once, for the certificate.
func (c Config) DomainHosts() []string {
	var hosts []string
	seen := map[string]bool{}
	for _, entry := range c.Domain {
		_, host, _ := strings.Cut(entry, "=")
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if host = strings.ToLower(host); host != "" && !seen[host] {
			seen[host] = true
			hosts = append(hosts, host)
		}
	}
	return hosts
}
