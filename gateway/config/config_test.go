package config_test

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/config"
)

// load reads a command line and an environment as `sluice dev` does.
func load(t *testing.T, args, environ []string) (config.Config, error) {
	t.Helper()
	fs := pflag.NewFlagSet("dev", pflag.ContinueOnError)
	fs.Bool("help", false, "")
	config.Flags(fs, config.Dev())
	require.NoError(t, fs.Parse(args))
	return config.Load(fs, config.Dev(), environ)
}

func TestTheDefaultsAreValidAndAbsolute(t *testing.T) {
	c, err := load(t, nil, nil)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8443", c.HTTPSAddr)
	require.Equal(t, "127.0.0.1:8080", c.HTTPAddr)
	require.Equal(t, "127.0.0.1:9090", c.AdminAddr)
	require.Equal(t, config.ManifestPrestart, c.Prestart)
	require.Equal(t, zerolog.InfoLevel, c.Level())
	require.Empty(t, c.Domain)
	require.Empty(t, c.EtcdEndpoints)
	require.False(t, c.NoSample)
	require.False(t, c.Pprof)
	require.True(t, filepath.IsAbs(c.DataDir), c.DataDir)
	require.True(t, filepath.IsAbs(c.RuntimesDir), c.RuntimesDir)
	require.Equal(t, "runtimes", filepath.Base(c.RuntimesDir))
}

func TestTheDataFolderFollowsTheUsersDirectories(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/x/share")
	require.Equal(t, "/x/share/sluice", config.Dev().DataDir)
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "/home/a")
	require.Equal(t, "/home/a/.local/share/sluice", config.Dev().DataDir)
	t.Setenv("HOME", "")
	require.Equal(t, "data", config.Dev().DataDir)
}

func TestEverySettingIsAFlagAndAVariable(t *testing.T) {
	for _, tc := range []struct {
		flag, variable string
		check          func(config.Config) any
		want           any
	}{
		{"--data-dir=/d", "SLUICE_DATA_DIR=/d", func(c config.Config) any { return c.DataDir }, "/d"},
		{"--https-addr=[::1]:0", "SLUICE_HTTPS_ADDR=[::1]:0", func(c config.Config) any { return c.HTTPSAddr }, "[::1]:0"},
		{"--http-addr=localhost:0", "SLUICE_HTTP_ADDR=localhost:0", func(c config.Config) any { return c.HTTPAddr }, "localhost:0"},
		{"--admin-addr=0.0.0.0:1", "SLUICE_ADMIN_ADDR=0.0.0.0:1", func(c config.Config) any { return c.AdminAddr }, "0.0.0.0:1"},
		{"--domain=faasGW=a,sentinel=b:1", "SLUICE_DOMAIN=faasGW=a,sentinel=b:1", func(c config.Config) any { return c.Domain }, []string{"faasGW=a", "sentinel=b:1"}},
		{"--etcd-endpoints=a:1,http://[::1]:2", "SLUICE_ETCD_ENDPOINTS=a:1,http://[::1]:2", func(c config.Config) any { return c.EtcdEndpoints }, []string{"a:1", "http://[::1]:2"}},
		{"--vault-mount=kv/team", "SLUICE_VAULT_MOUNT=kv/team", func(c config.Config) any { return c.VaultMount }, "kv/team"},
		{"--vault-prefix=a/b", "SLUICE_VAULT_PREFIX=a/b", func(c config.Config) any { return c.VaultPrefix }, "a/b"},
		{"--vault-transit-mount=t", "SLUICE_VAULT_TRANSIT_MOUNT=t", func(c config.Config) any { return c.VaultTransitMount }, "t"},
		{"--vault-transit-key=k", "SLUICE_VAULT_TRANSIT_KEY=k", func(c config.Config) any { return c.VaultTransitKey }, "k"},
		{"--vault-approle-mount=r", "SLUICE_VAULT_APPROLE_MOUNT=r", func(c config.Config) any { return c.VaultAppRoleMount }, "r"},
		{"--no-sample", "SLUICE_NO_SAMPLE=true", func(c config.Config) any { return c.NoSample }, true},
		{"--log-level=debug", "SLUICE_LOG_LEVEL=debug", func(c config.Config) any { return c.Level() }, zerolog.DebugLevel},
		{"--prestart=7", "SLUICE_PRESTART=7", func(c config.Config) any { return c.Prestart }, 7},
		{"--limit=run-time=4s", "SLUICE_LIMIT=run-time=4s", func(c config.Config) any { return c.Limits().RunTime }, 4 * time.Second},
		{"--limit=lambdas=0,code=500", "SLUICE_LIMIT=lambdas=0,code=500", func(c config.Config) any { return []int{c.Limits().Lambdas, c.Limits().Code} }, []int{0, 500}},
		{"--runtimes-dir=/r", "SLUICE_RUNTIMES_DIR=/r", func(c config.Config) any { return c.RuntimesDir }, "/r"},
		{"--sandbox=required", "SLUICE_SANDBOX=required", func(c config.Config) any { return c.Sandbox }, "required"},
		{"--egress-ca-file=/ca.pem", "SLUICE_EGRESS_CA_FILE=/ca.pem", func(c config.Config) any { return c.EgressCAFile }, "/ca.pem"},
		{"--private-networks=10.1.0.0/16", "SLUICE_PRIVATE_NETWORKS=10.1.0.0/16", func(c config.Config) any { return c.Networks() }, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
		{"--private-networks=none", "SLUICE_PRIVATE_NETWORKS=none", func(c config.Config) any { return c.Networks() }, []netip.Prefix{}},
		{"--pprof", "SLUICE_PPROF=1", func(c config.Config) any { return c.Pprof }, true},
	} {
		t.Run(tc.flag, func(t *testing.T) {
			byFlag, err := load(t, []string{tc.flag}, nil)
			require.NoError(t, err)
			require.Equal(t, tc.want, tc.check(byFlag))
			byVariable, err := load(t, nil, []string{tc.variable})
			require.NoError(t, err)
			require.Equal(t, tc.want, tc.check(byVariable))
		})
	}
}

func TestAnAppRoleIsARoleAndAFile(t *testing.T) {
	c, err := load(t, []string{"--vault-role-id=r"}, []string{"SLUICE_VAULT_SECRET_ID_FILE=id"})
	require.NoError(t, err)
	require.Equal(t, "r", c.VaultRoleID)
	require.True(t, filepath.IsAbs(c.VaultSecretIDFile))
}

func TestAFlagWinsOverTheEnvironment(t *testing.T) {
	c, err := load(t, []string{"--prestart", "3", "--domain", "faasUI=ui"},
		[]string{"SLUICE_PRESTART=5", "SLUICE_DOMAIN=faasGW=gw", "SLUICE_LOG_LEVEL=warn", "SLUICE_PPROF=", "HOME=/x"})
	require.NoError(t, err)
	require.Equal(t, 3, c.Prestart)
	require.Equal(t, []string{"faasUI=ui"}, c.Domain)
	require.Equal(t, zerolog.WarnLevel, c.Level())
	require.False(t, c.Pprof, "an empty variable counts as not set")
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		args, environ []string
		want          string
	}{
		"a mode of the sandbox that is none":  {[]string{"--sandbox=on"}, nil, `--sandbox: "on" is no mode of the sandbox: required, auto or off`},
		"an unknown variable":                 {nil, []string{"SLUICE_DATADIR=/x"}, "SLUICE_DATADIR is set in the environment, but there is no such setting"},
		"a variable of the wrong type":        {nil, []string{"SLUICE_PRESTART=many"}, `SLUICE_PRESTART="many": not a valid value for --prestart`},
		"a plain listener for the world":      {[]string{"--http-addr", "0.0.0.0:80"}, nil, "--http-addr: \"0.0.0.0:80\" is not a loopback address"},
		"a plain listener without host":       {[]string{"--http-addr", ":8080"}, nil, "is not a loopback address"},
		"a plain listener on a host name":     {[]string{"--http-addr", "example.org:80"}, nil, "is not a loopback address"},
		"an address without port":             {[]string{"--https-addr", "127.0.0.1"}, nil, "--https-addr: \"127.0.0.1\" is not host:port"},
		"a port out of range":                 {[]string{"--admin-addr", "127.0.0.1:70000"}, nil, "--admin-addr: \"127.0.0.1:70000\": the port is not a number"},
		"two listeners on one address":        {[]string{"--https-addr", "127.0.0.1:8080"}, nil, "is the same address as"},
		"an empty data folder":                {[]string{"--data-dir", ""}, nil, "--data-dir: is empty"},
		"an empty runtimes folder":            {[]string{"--runtimes-dir", ""}, nil, "--runtimes-dir: is empty"},
		"a log level that is none":            {[]string{"--log-level", "loud"}, nil, "--log-level: \"loud\" is none of"},
		"a log level that hides errors":       {[]string{"--log-level", "disabled"}, nil, "--log-level"},
		"too many processes":                  {[]string{"--prestart", "100000"}, nil, "--prestart: 100000 is not in"},
		"fewer processes than none":           {[]string{"--prestart", "-2"}, nil, "--prestart: -2 is not in"},
		"a run time longer than clients wait": {[]string{"--limit", "run-time=31s"}, nil, "--limit: run-time=31s: give whole seconds from 1s to 30s"},
		"no time to run":                      {[]string{"--limit", "run-time=0"}, nil, "--limit: run-time=0: give whole seconds from 1s to 30s"},
		"fewer lambdas than none":             {[]string{"--limit", "lambdas=-1"}, nil, "--limit: lambdas=-1: give a number from 0 to 1000000 (0: no limit)"},
		"a limit that is none":                {[]string{"--limit", "lambda=1"}, nil, `--limit: "lambda=1" names no limit: write name=value with one of lambdas, `},
		"an etcd without port":                {[]string{"--etcd-endpoints", "etcd-1:2379,etcd-2"}, nil, "--etcd-endpoints: \"etcd-2\" is not host:port, http://host:port or https://host:port"},
		"an etcd that is no host":             {[]string{"--etcd-endpoints", "a b:2379"}, nil, "--etcd-endpoints: \"a b:2379\" is not"},
		"an etcd with a path":                 {[]string{"--etcd-endpoints", "http://etcd:2379/v3"}, nil, "is not host:port"},
		"an etcd on a socket":                 {[]string{"--etcd-endpoints", "unix://etcd:2379"}, nil, "is not host:port"},
		"an etcd of port 0":                   {[]string{"--etcd-endpoints", "etcd:0"}, nil, "is not host:port"},
		"an etcd without host":                {[]string{"--etcd-endpoints", ":2379"}, nil, "is not host:port"},
		"etcds with and without TLS":          {[]string{"--etcd-endpoints", "https://a:1,b:1"}, nil, "use https:// for all members or for none"},
		"an etcd with a user":                 {nil, []string{"SLUICE_ETCD_ENDPOINTS=http://root:hunter2@etcd:2379"}, "an endpoint has a user name"},
		"a mount that leads out of Vault":     {[]string{"--vault-mount", "secret/../sys"}, nil, "--vault-mount: \"secret/../sys\" is no name in Vault"},
		"a mount with a slash too many":       {[]string{"--vault-mount", "secret/"}, nil, "--vault-mount"},
		"no folder in Vault":                  {[]string{"--vault-prefix", ""}, nil, "--vault-prefix"},
		"a transit key with parts":            {[]string{"--vault-transit-key", "a/b"}, nil, "--vault-transit-key"},
		"a role without its secret id":        {[]string{"--vault-role-id", "r"}, nil, "an AppRole needs both"},
		"a secret id without its role":        {nil, []string{"SLUICE_VAULT_SECRET_ID_FILE=/x"}, "an AppRole needs both"},
		"a domain that is no pair":            {[]string{"--domain", "x"}, nil, "--domain: domain \"x\": write service=host"},
		"a domain with a scheme":              {[]string{"--domain", "faasGW=https://x"}, nil, "without a scheme"},
		"a domain in the environment":         {nil, []string{"SLUICE_DOMAIN=faasGW=a,faasUI="}, "the host is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.args, tc.environ)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestAllProblemsAreNamedAtOnce(t *testing.T) {
	_, err := load(t, []string{"--prestart", "-9", "--log-level", "x", "--domain", "y"}, nil)
	require.ErrorContains(t, err, "--prestart")
	require.ErrorContains(t, err, "--log-level")
	require.ErrorContains(t, err, "--domain")
	_, err = load(t, nil, []string{"SLUICE_B=1", "SLUICE_A=1"})
	require.ErrorContains(t, err, "SLUICE_A")
	require.ErrorContains(t, err, "SLUICE_B")
}

func TestDomainsAreReadForTheDirectoryAndForTheCertificate(t *testing.T) {
	c, err := load(t, []string{"--domain", "faasGW=GW.example", "--domain", "faasUI=ui.example:8443",
		"--domain", "sentinel=[::1]:1", "--domain", "agentVep=gw.example", "--domain", "csds=10.0.0.1", "--domain", "pusher=[::2]"}, nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"faasGW": "GW.example", "faasUI": "ui.example:8443", "sentinel": "[::1]:1", "agentVep": "gw.example", "csds": "10.0.0.1", "pusher": "[::2]",
	}, c.Domains())
	require.Equal(t, []string{"gw.example", "ui.example", "::1", "10.0.0.1", "::2"}, c.DomainHosts())
}

func TestTheOperatorsCommandsFindTheFolderAsDevDoes(t *testing.T) {
	require.Equal(t, config.Dev().DataDir, config.DataDir(nil))
	require.Equal(t, config.Dev().DataDir, config.DataDir([]string{"SLUICE_DATA_DIR=", "DATA_DIR=/x"}), "empty means not set")
	require.Equal(t, "/srv/sluice", config.DataDir([]string{"PATH=/bin", "SLUICE_DATA_DIR=/srv/sluice", "SLUICE_DATA_DIRS=/x"}))
}
