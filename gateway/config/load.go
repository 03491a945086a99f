package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// envPrefix starts the name of every environment variable that is a setting.
const envPrefix = "SLUICE_"

// foreign are SLUICE_ variables that are not settings of the gateway: the first
// is the cookie by which a language runtime knows its host.
var foreign = map[string]bool{"SLUICE_RUNTIME": true}

// Flags adds a flag for every setting to fs, with the defaults of d.
func Flags(fs *pflag.FlagSet, d Config) {
	fs.String("data-dir", d.DataDir, "folder that keeps all state; one gateway uses it at a time")
	fs.String("https-addr", d.HTTPSAddr, "address of the HTTPS listener, all services (port 0: any free one)")
	fs.String("http-addr", d.HTTPAddr, "address of the plain HTTP listener, all services, loopback only")
	fs.String("admin-addr", d.AdminAddr, "address of the listener for /healthz, /readyz and /metrics")
	fs.StringSlice("domain", d.Domain, "what the Domain API answers, as service=host[:port]; may be repeated")
	fs.StringSlice("etcd-endpoints", d.EtcdEndpoints, "etcd cluster that several gateways share, as [https://]host:port; may be repeated (default: an own etcd in the data folder)")
	fs.String("vault-mount", d.VaultMount, "KV secrets engine (version 2) that keeps secrets, when VAULT_ADDR is set")
	fs.String("vault-prefix", d.VaultPrefix, "folder in it")
	fs.String("vault-transit-mount", d.VaultTransitMount, "Transit secrets engine that makes the encrypted form of secrets")
	fs.String("vault-transit-key", d.VaultTransitKey, "its key, which must be derived")
	fs.String("vault-role-id", d.VaultRoleID, "role id to log in at Vault by AppRole (default: the token in VAULT_TOKEN)")
	fs.String("vault-secret-id-file", d.VaultSecretIDFile, "file with the secret id of that role")
	fs.String("vault-approle-mount", d.VaultAppRoleMount, "where AppRole is mounted in Vault")
	fs.Bool("no-sample", d.NoSample, "do not create the sample lambda")
	fs.String("log-level", d.LogLevel, "least level that is logged: trace, debug, info, warn, error")
	fs.Int("prestart", d.Prestart, "blank processes kept ready for each runtime (-1: as its manifest says)")
	fs.String("runtimes-dir", d.RuntimesDir, "folder with the language runtimes")
	fs.String("sandbox", d.Sandbox, "what shuts lambdas in: required, auto or off; sluice sandbox check tells what this machine offers")
	fs.String("egress-ca-file", d.EgressCAFile, "certificates (PEM) that lambdas trust beside those of their language")
	fs.StringSlice("private-networks", d.PrivateNetworks, "networks (CIDR) to whose addresses a whitelist entry may open the way, or none; may be repeated (default: all private ones, and loopback)")
	fs.StringSlice("limit", d.Limit, "changes a limit, as name=value; may be repeated; /limits shows all")
	fs.Bool("pprof", d.Pprof, "serve Go profiles on the admin listener")
	fs.VisitAll(func(f *pflag.Flag) { f.Usage += " [" + envName(f.Name) + "]" })
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// Load lays environ (as os.Environ gives it) over the defaults d, and the flags
// that were given in fs over both. The result is validated; the error names
// everything that is wrong.
func Load(fs *pflag.FlagSet, d Config, environ []string) (Config, error) {
	env, err := environment(d, environ)
	if err != nil {
		return Config{}, err
	}
	defaults := pflag.NewFlagSet("", pflag.ContinueOnError)
	Flags(defaults, d)

	k := koanf.New("/") // no key holds one: keys stay flat
	for _, source := range []values{all(defaults), given(env), given(fs)} {
		if err := k.Load(source, nil); err != nil {
			return Config{}, fmt.Errorf("read settings: %w", err)
		}
	}
	var c Config
	if err := k.Unmarshal("", &c); err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return absolute(c)
}

// environment reads the SLUICE_ variables the way flags are read, so both take
// and refuse the same values.
func environment(d Config, environ []string) (*pflag.FlagSet, error) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	Flags(fs, d)
	keys := map[string]string{}
	fs.VisitAll(func(f *pflag.Flag) { keys[envName(f.Name)] = f.Name })

	var problems []error
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, envPrefix) || foreign[name] || value == "" {
			continue // empty means not set, as compose files pass variables on
		}
		key, ok := keys[name]
		if !ok {
			problems = append(problems, fmt.Errorf("%s is set in the environment, but there is no such setting (`sluice dev --help` lists them)", name))
			continue
		}
		if err := fs.Set(key, value); err != nil {
			problems = append(problems, fmt.Errorf("%s=%q: not a valid value for --%s", name, value, key))
		}
	}
	sort.Slice(problems, func(i, j int) bool { return problems[i].Error() < problems[j].Error() })
	return fs, errors.Join(problems...)
}

func absolute(c Config) (Config, error) {
	for _, dir := range []*string{&c.DataDir, &c.RuntimesDir, &c.VaultSecretIDFile, &c.EgressCAFile} {
		if *dir == "" {
			continue // Validate has let it pass
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return Config{}, fmt.Errorf("%s: %w", *dir, err)
		}
		*dir = abs
	}
	return c, nil
}

// values is a koanf source that is already parsed.
type values map[string]any

// Read gives the values.
func (v values) Read() (map[string]any, error) { return v, nil }

// ReadBytes is there for koanf's interface; values are never bytes.
func (v values) ReadBytes() ([]byte, error) {
	return nil, errors.New("values are parsed already")
}

func all(fs *pflag.FlagSet) values {
	v := values{}
	fs.VisitAll(func(f *pflag.Flag) { v[f.Name] = value(f) })
	return v
}

func given(fs *pflag.FlagSet) values {
	known := pflag.NewFlagSet("", pflag.ContinueOnError)
	Flags(known, Config{})
	v := values{}
	fs.Visit(func(f *pflag.Flag) {
		if known.Lookup(f.Name) != nil { // --help is a flag too, but no setting
			v[f.Name] = value(f)
		}
	})
	return v
}

func value(f *pflag.Flag) any {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return f.Value.String() // koanf's decoder reads numbers and booleans
}
