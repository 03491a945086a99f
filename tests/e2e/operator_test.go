package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// operator runs commands on a data folder as whoever runs the gateway.
type operator struct {
	binary string
	dir    string
	uid    uint32 // 0: this process's
	cwd    string // default /
}

func newOperator(t *testing.T, dir string) *operator {
	t.Helper()
	binary, err := dev.Binary()
	require.NoError(t, err)
	return &operator{binary: binary, dir: dir, cwd: "/"}
}

// ran is how a command ended.
type ran struct {
	code           int
	stdout, stderr string
}

func (o *operator) run(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), o.binary, args...)
	cmd.Dir, cmd.Stdin = o.cwd, strings.NewReader(stdin)
	cmd.Env = []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}
	if o.dir != "" {
		cmd.Env = append(cmd.Env, "SLUICE_DATA_DIR="+o.dir)
	}
	if o.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.uid, Gid: o.uid}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ok runs a command that must do what it is told, and gives its output.
func (o *operator) ok(t *testing.T, args ...string) string {
	t.Helper()
	r := o.run(t, "", args...)
	require.Zero(t, r.code, "sluice %q: %s", args, r.stderr)
	return r.stdout
}

// object does so and reads the output as a JSON object.
func (o *operator) object(t *testing.T, stdin string, args ...string) map[string]any {
	t.Helper()
	r := o.run(t, stdin, append(args, "-o", "json")...)
	require.Zero(t, r.code, "sluice %q: %s", args, r.stderr)
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &v), r.stdout)
	return v
}

// fails runs a command that must not succeed, and gives what it says.
func (o *operator) fails(t *testing.T, code int, stdin string, args ...string) string {
	t.Helper()
	r := o.run(t, stdin, args...)
	require.Equal(t, code, r.code, "sluice %q: %s%s", args, r.stdout, r.stderr)
	require.Empty(t, r.stdout, "what failed has no output")
	require.True(t, strings.HasPrefix(r.stderr, "sluice: "), r.stderr)
	return r.stderr
}

// visitor is a client of an account without a token.
func visitor(t *testing.T, g *dev.Gateway, account string) *client.Client {
	t.Helper()
	c, err := g.ClientOf(account)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

const brandAccount = "5550001"

// The examples of contract/oauth2.md §1.5.
const (
	callerApp = `{ "client_name": "my-faas-caller", "description": "…", "grant_types": ["client_credentials"],
  "response_types": ["token"], "scope": "faas.lambda.invoke" }`
	websiteApp = `{ "client_name": "my-user-caller", "grant_types": ["authorization_code","refresh_token"],
  "redirect_uris": ["http://localhost:3000/callback"], "response_types": ["code"], "scope": "faas.lambda.invoke" }`
)

func TestTheOperatorSetsUpABrand(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample")
	o := newOperator(t, g.DataDir())
	require.Contains(t, o.ok(t, "user", "list"), "developer@example.com", "the only account needs no name")

	require.Equal(t, brandAccount, o.object(t, "", "account", "create", brandAccount, "--name", "The Brand")["id"])
	require.Contains(t, o.fails(t, 1, "", "account", "create", brandAccount, "--name", "Again"), "exists already")
	table := o.ok(t, "account", "list")
	require.Regexp(t, `(?m)^ID +NAME +CREATED$`, table)
	require.Regexp(t, `(?m)^5550001 +The Brand +20\d\d-\d\d-\d\d$`, table)
	message := o.fails(t, 2, "", "user", "list")
	require.Contains(t, message, "there are 2 accounts: name one with --account")
	require.Contains(t, message, "12345678 Demo")
	require.Contains(t, message, brandAccount+" The Brand")
	in := []string{"--account", brandAccount}
	with := func(args ...string) []string { return append(args, in...) }

	there := visitor(t, g, brandAccount)
	login := func(name, password string) (*client.Client, error) {
		s, err := there.Login(t.Context(), name, password)
		if err != nil {
			return nil, err
		}
		return there.With(s), nil
	}
	may := func(c *client.Client) (read, write bool) {
		t.Helper()
		_, err := c.Lambdas(t.Context())
		read = err == nil
		require.True(t, read || client.IsStatus(err, http.StatusForbidden), "%v", err)
		_, err = c.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("may"), Description: "d", Code: versioned("1")})
		write = err == nil
		require.True(t, write || client.IsStatus(err, http.StatusForbidden), "%v", err)
		return read, write
	}
	sessions := map[string]*client.Client{}
	t.Run("a user of every role may what its role may", func(t *testing.T) {
		for role, want := range map[string]struct{ read, write bool }{
			"LPA": {true, true}, "FaaS-Admin": {true, false}, "FaaS-Developer": {true, true}, "FaaS-Invocation": {false, false},
		} {
			u := o.object(t, "", with("user", "add", role+"@brand.example", "--role", role)...)
			require.Equal(t, []any{role}, u["effectiveRoles"])
			c, err := login(role+"@brand.example", u["password"].(string))
			require.NoError(t, err)
			read, write := may(c)
			require.Equal(t, want, struct{ read, write bool }{read, write}, role)
			require.NotContains(t, g.Output(), u["password"])
			sessions[role] = c
		}
		require.Contains(t, o.fails(t, 1, "", with("user", "add", "LPA@brand.example", "--role", "LPA")...), "is taken")
	})
	t.Run("another role counts at once under the token that is out", func(t *testing.T) {
		caller := sessions["FaaS-Invocation"]
		out := o.ok(t, with("user", "set-role", "FaaS-Invocation@brand.example", "FaaS-Admin", "FaaS-Developer")...)
		require.Regexp(t, `(?m)^FaaS-Invocation@brand.example +\S+ +- +FaaS-Admin,FaaS-Developer `, out)
		read, write := may(caller)
		require.True(t, read && write)

		require.Equal(t, 0.0, o.object(t, "", with("profile", "put", "Agent Manager", "--role", "FaaS-Admin")...)["users"])
		o.ok(t, with("user", "set-profile", "FaaS-Invocation@brand.example", "Agent Manager")...)
		read, write = may(caller)
		require.True(t, read && !write)
		require.Contains(t, o.fails(t, 1, "", with("profile", "remove", "Agent Manager")...), "in use by 1 user:")
		o.ok(t, with("profile", "put", "Agent Manager", "--role", "FaaS-Invocation")...)
		read, write = may(caller)
		require.False(t, read || write)
		require.Regexp(t, `(?m)^Agent Manager +FaaS-Invocation +1 `, o.ok(t, with("profile", "list")...))
		require.Contains(t, o.fails(t, 1, "", with("user", "set-profile", "FaaS-Invocation@brand.example", "Nobody")...), `profile "Nobody" does not exist`)
	})
	t.Run("a new password ends the sessions, and the old one is worth nothing", func(t *testing.T) {
		const name = "FaaS-Admin@brand.example"
		r := o.run(t, "a password of my own\n", with("user", "reset-password", name, "--password-file", "-")...)
		require.Zero(t, r.code, r.stderr)
		require.NotContains(t, r.stdout+r.stderr+g.Output(), "a password of my own")
		_, err := sessions["FaaS-Admin"].Lambdas(t.Context())
		require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)
		c, err := login(name, "a password of my own")
		require.NoError(t, err)
		next := o.run(t, "", with("user", "reset-password", name)...)
		require.Contains(t, next.stderr, "The password is shown this once")
		_, err = c.Lambdas(t.Context())
		require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)
		_, err = login(name, "a password of my own")
		require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)
		row := strings.Fields(strings.Split(strings.TrimSpace(next.stdout), "\n")[1])
		_, err = login(name, row[len(row)-1])
		require.NoError(t, err, next.stdout)
	})
	t.Run("a user who is removed is nobody", func(t *testing.T) {
		const name = "FaaS-Invocation@brand.example"
		r := o.run(t, "", with("user", "remove", name)...)
		require.Equal(t, ran{0, "", "User " + name + " is removed.\n"}, r)
		_, err := sessions["FaaS-Invocation"].Lambdas(t.Context())
		require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)
		require.Contains(t, o.fails(t, 1, "", with("user", "remove", name)...), "there is no user")
		require.Equal(t, ran{}, o.run(t, "", with("profile", "remove", "Agent Manager", "-q")...))
	})
	t.Run("an app with client credentials invokes", func(t *testing.T) {
		l := deployed(t, sessions["FaaS-Developer"], "brand", versioned("1"))
		file := filepath.Join(t.TempDir(), "caller.json")
		require.NoError(t, os.WriteFile(file, []byte(callerApp), 0o600))
		a := o.object(t, "", with("app", "install", file)...)
		id, secret := a["client_id"].(string), a["client_secret"].(string)
		require.NotContains(t, g.Output(), secret)
		answer, err := there.With(client.AppCredentials(there, id, secret)).Invoke(t.Context(), l.ID, nil)
		require.NoError(t, err)
		require.Contains(t, string(answer), `"version":"1"`)
		require.Contains(t, o.fails(t, 1, callerApp, with("app", "install", "-")...), "client_name my-faas-caller is taken")

		next := o.object(t, "", with("app", "rotate-secret", "my-faas-caller")...)["client_secret"].(string)
		_, err = there.AppToken(t.Context(), id, secret)
		require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)
		token, err := there.AppToken(t.Context(), id, next)
		require.NoError(t, err)
		require.Regexp(t, `(?m)^my-faas-caller +`+id+` +client_credentials +faas.lambda.invoke `, o.ok(t, with("app", "list")...))
		o.ok(t, with("app", "uninstall", id)...)
		_, err = there.With(client.StaticToken(token)).Invoke(t.Context(), l.ID, nil)
		require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)
	})
	t.Run("an app for users sends them to the login page", func(t *testing.T) {
		a := o.object(t, websiteApp, with("app", "install", "-")...)
		query := url.Values{"v": {"1.0"}, "response_type": {"code"}, "client_id": {a["client_id"].(string)}, "redirect_uri": {"http://localhost:3000/callback"}}
		call := newCaller(t, g, "")
		call.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		r := call.send(t, http.MethodGet, "/sentinel/api/account/"+brandAccount+"/authorize?"+query.Encode(), nil)
		require.Equal(t, http.StatusFound, r.status, r.body)
		require.Contains(t, r.header.Get("Location"), "/sentinel/account/"+brandAccount+"/login")
		o.ok(t, with("app", "uninstall", "my-user-caller")...)
	})
	for name, c := range map[string]struct{ text, says string }{
		"no JSON":                    {`client_name: x`, "must be a JSON object"},
		"half of it":                 {callerApp[:40], "not valid JSON"},
		"an unknown field":           {strings.Replace(callerApp, "scope", "scopes", 1), `"scopes" is no field here: use `},
		"no name":                    {`{"grant_types":["client_credentials"]}`, "client_name is missing"},
		"a name too long":            {strings.Replace(callerApp, "my-faas-caller", strings.Repeat("n", 129), 1), "client_name has 129 characters: the limit is 128"},
		"a grant that is none":       {strings.Replace(callerApp, "client_credentials", "password", 1), "grant_types holds"},
		"a redirect in clear":        {strings.Replace(websiteApp, "localhost", "brand.example", 1), "redirect_uris: "},
		"codes without a redirect":   {strings.Replace(websiteApp, `"redirect_uris": ["http://localhost:3000/callback"],`, "", 1), "redirect_uris is missing"},
		"a field of the wrong type":  {strings.Replace(callerApp, `["token"]`, `"token"`, 1), "response_types must be an array of strings"},
		"more than any installation": {strings.Repeat(" ", 70_000) + callerApp, "larger than 65536 bytes"},
	} {
		t.Run("an installation that is refused: "+name, func(t *testing.T) {
			code := 1
			if strings.Contains(c.says, "larger") {
				code = 2
			}
			require.Contains(t, o.fails(t, code, c.text, with("app", "install", "-")...), c.says)
		})
	}
	require.Equal(t, "[]\n", o.ok(t, with("app", "list", "-o", "json")...), "what was refused is not there")
	require.Contains(t, o.fails(t, 1, "", "user", "list", "--account", "999"), "There is no account 999")
	require.NoError(t, g.Stop(t.Context()))
	require.NoFileExists(t, filepath.Join(g.DataDir(), "control.sock"))
}

func TestTheOperatorIsToldWhereNoGatewayRuns(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	data := filepath.Join(root, "data")
	g := ownGateway(t, data, "--no-sample")
	elsewhere := newOperator(t, filepath.Join(root, "other"))
	message := elsewhere.fails(t, 1, "", "account", "list")
	require.Contains(t, message, "no gateway runs on the data folder "+elsewhere.dir+", which does not exist: start one with `sluice dev --data-dir "+elsewhere.dir+"`")
	require.NotContains(t, message, "one runs on")
	elsewhere.cwd = root
	require.Contains(t, elsewhere.fails(t, 1, "", "account", "list"), "one runs on "+data+": add --data-dir data")
	require.Contains(t, elsewhere.ok(t, "account", "list", "--data-dir", "data"), "Demo", "a flag wins, and may be relative")

	here := newOperator(t, data)
	require.Contains(t, here.ok(t, "account", "list"), "Demo")
	g.Kill()
	require.FileExists(t, filepath.Join(data, "control.sock"), "kill -9 leaves it")
	require.Contains(t, here.fails(t, 1, "", "account", "list"), "no gateway runs on the data folder "+data+": start one")
	again, err := g.Restart(t.Context())
	require.NoError(t, err)
	owned(t, again)
	require.Contains(t, here.ok(t, "account", "list"), "Demo")
	require.NoError(t, again.Stop(t.Context()))
	require.Contains(t, here.fails(t, 1, "", "account", "list"), "no gateway runs")

	file := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Contains(t, here.fails(t, 1, "", "account", "list", "--data-dir", file), "not a directory")
}

// TestTheOperatorSetsSecrets is of those of an account and those of the platform, which
// nobody else may set.
func TestTheOperatorSetsSecrets(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample")
	o, admin, caller := newOperator(t, g.DataDir()), adminOf(t, g), brand(t, g)
	l := deployed(t, developer(t, g), "secrets", keeper)
	const hush, appKey = "n0-one-sees-th1s", "lp-faas-default-app-key"
	set := func(stdin string, args ...string) {
		t.Helper()
		r := o.run(t, stdin, append([]string{"secret", "set"}, args...)...)
		require.Zero(t, r.code, r.stderr)
		require.NotContains(t, r.stdout+r.stderr, hush)
	}
	set(`{"consumerKey":"`+hush+`"}`+"\n", appKey)
	set(hush+"\n", "text")
	set(" 007 \r\n", "digits")
	set("4.5\n", "number", "--type", "number")
	set(`["a"]`, "kept-as-it-is", "--type", "string", "--account", g.Info.AccountID)
	got := steps(t, caller, l.ID, step{Read: appKey}, step{Read: "text"}, step{Read: "digits"}, step{Read: "number"}, step{Read: "kept-as-it-is"})
	require.Equal(t, []came{
		{Key: appKey, Value: map[string]any{"consumerKey": hush}}, {Key: "text", Value: hush}, {Key: "digits", Value: " 007 "},
		{Key: "number", Value: 4.5}, {Key: "kept-as-it-is", Value: `["a"]`},
	}, got)
	set(`{"consumerKey":"another"}`, appKey)
	require.Equal(t, map[string]any{"consumerKey": "another"}, steps(t, caller, l.ID, step{Read: appKey})[0].Value, "a change counts at once")
	require.Contains(t, o.fails(t, 1, "5", "secret", "set", "number"), "the secret number holds a number: give it another of that type, or delete it first")

	require.Regexp(t, `(?m)^lp-faas-default-app-key +json +20\d\d-\d\d-\d\d +operator$`, o.ok(t, "secret", "list"))
	for _, out := range []string{o.ok(t, "secret", "list"), o.ok(t, "secret", "list", "-o", "json")} {
		require.Contains(t, out, appKey)
		require.NotContains(t, out, hush)
		require.NotContains(t, out, "value")
	}
	require.NotContains(t, admin.send(t, http.MethodGet, "/api/account/"+admin.account+"/secrets", nil).body, appKey)

	require.Equal(t, "Secret "+appKey+" is deleted.\n", o.run(t, "", "secret", "delete", appKey).stderr)
	require.Equal(t, "There is no Secret "+appKey+" for this account: the operator of the gateway sets it with `sluice secret set "+appKey+" --account "+g.Info.AccountID+"`",
		steps(t, caller, l.ID, step{Read: appKey})[0].Message)
	require.Contains(t, o.fails(t, 1, "", "secret", "delete", appKey), "There is no Secret")
	require.NotContains(t, g.Output(), hush)
}

// TestWhatTheOperatorDidOutlivesTheGateway kills the gateway right after each
// command: what was answered is there.
func TestWhatTheOperatorDidOutlivesTheGateway(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample")
	o := newOperator(t, g.DataDir())
	restart := func() {
		t.Helper()
		g.Kill()
		next, err := g.Restart(t.Context())
		require.NoError(t, err)
		owned(t, next)
		g = next
	}
	u := o.object(t, "", "user", "add", "kept@example.com", "--role", "FaaS-Developer")
	restart()
	there := visitor(t, g, g.Info.AccountID)
	_, err := there.Login(t.Context(), "kept@example.com", u["password"].(string))
	require.NoError(t, err)
	reset := o.object(t, "", "user", "reset-password", "kept@example.com")
	a := o.object(t, callerApp, "app", "install", "-")
	restart()
	there = visitor(t, g, g.Info.AccountID)
	_, err = there.Login(t.Context(), "kept@example.com", reset["password"].(string))
	require.NoError(t, err)
	_, err = there.AppToken(t.Context(), a["client_id"].(string), a["client_secret"].(string))
	require.NoError(t, err)
	o.ok(t, "user", "remove", "kept@example.com")
	o.ok(t, "app", "uninstall", "my-faas-caller")
	restart()
	require.NotContains(t, o.ok(t, "user", "list"), "kept@example.com")
	require.NotContains(t, o.ok(t, "app", "list"), "my-faas-caller")
}

func TestAnotherUserIsNotTheOperator(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can run a command as another user")
	}
	root, err := os.MkdirTemp("/tmp", "sluice-e2e") // every user can pass through to it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	require.NoError(t, os.Chmod(root, 0o755)) //nolint:gosec // that is the point
	g := ownGateway(t, filepath.Join(root, "data"), "--no-sample")
	o := newOperator(t, g.DataDir())
	text, err := os.ReadFile(o.binary)
	require.NoError(t, err)
	o.binary, o.uid = filepath.Join(root, "sluice"), 65534
	require.NoError(t, os.WriteFile(o.binary, text, 0o755)) //nolint:gosec // another user runs it
	require.Contains(t, o.fails(t, 1, "", "account", "list"), "belongs to another user")

	require.NoError(t, os.Chmod(g.DataDir(), 0o755))                                //nolint:gosec // as if somebody had
	require.NoError(t, os.Chmod(filepath.Join(g.DataDir(), "control.sock"), 0o666)) //nolint:gosec // opened both
	require.Contains(t, o.fails(t, 1, "", "account", "create", "1", "--name", "x"), "closed the connection")
	require.Eventually(t, func() bool { return strings.Contains(g.Output(), `"uid":65534`) }, 5*time.Second, 10*time.Millisecond, "the log tells")
	o.uid = 0
	require.NotContains(t, o.ok(t, "account", "list"), "x ", "nothing was done")
}

func TestCommandsThatAreCalledWrongly(t *testing.T) {
	t.Parallel()
	o := newOperator(t, filepath.Join(t.TempDir(), "none")) // nothing is asked of a gateway
	for args, says := range map[string]string{
		"user foo":                                  `unknown command "foo" for "sluice user"`,
		"account create":                            "accepts 1 arg(s), received 0",
		"account create 1":                          "--name is missing",
		"account create x --name n":                 "give 1 to 20 digits",
		"account list more":                         "unknown command",
		"account list --account 1":                  "unknown flag: --account",
		"user add":                                  "accepts 1 arg(s)",
		"user add x":                                "give either --role (LPA, FaaS-Admin, FaaS-Developer, FaaS-Invocation) or --profile",
		"user add x --role LPA --profile p":         "give either",
		"user add x --role Boss":                    `"Boss" is no role`,
		"user set-role x":                           "requires at least 2 arg(s)",
		"user set-role x faas-admin":                `"faas-admin" is no role: use LPA`,
		"user set-profile x a/b":                    "slash",
		"profile put p":                             "--role is missing",
		"profile put .. --role LPA":                 `".."`,
		"profile remove a/b":                        "slash",
		"user list -o xml":                          "--output xml: use table or json",
		"user list --account 12x":                   "1 to 20 digits",
		"app install":                               "accepts 1 arg(s)",
		"app install /nonexistent.json --account 1": "no such file",
		"user add x --role LPA --password-file /nonexistent --account 1": "no such file",
		"user list --data-dir=": "--data-dir is empty",
	} {
		t.Run(args, func(t *testing.T) {
			require.Contains(t, o.fails(t, 2, "", strings.Fields(args)...), says)
		})
	}
	t.Run("a password of two lines", func(t *testing.T) {
		require.Contains(t, o.fails(t, 2, "one\ntwo\n", "user", "add", "x", "--role", "LPA", "--account", "1", "--password-file", "-"), "more than one line")
		require.Contains(t, o.fails(t, 2, "\n", "user", "add", "x", "--role", "LPA", "--account", "1", "--password-file", "-"), "holds no password")
	})
	t.Run("every command has help that names its flags", func(t *testing.T) {
		for _, args := range []string{"account", "account create", "account list", "user", "user add", "user list", "user set-role", "user set-profile",
			"user reset-password", "user remove", "profile", "profile put", "profile list", "profile remove", "app", "app install", "app list", "app uninstall", "app rotate-secret"} {
			help := o.ok(t, append(strings.Fields(args), "--help")...)
			require.Contains(t, help, "--data-dir", args)
			require.Contains(t, help, o.dir, "the default is that of the environment")
		}
	})
}

func TestShellsCompleteCommands(t *testing.T) {
	t.Parallel()
	o := newOperator(t, sharedGateway(t).DataDir())
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		require.Contains(t, o.ok(t, "completion", shell), "sluice")
	}
	complete := func(args ...string) []string {
		t.Helper()
		began := time.Now()
		out := strings.Split(strings.TrimSpace(o.ok(t, append([]string{"__complete"}, args...)...)), "\n")
		require.Less(t, time.Since(began), 10*time.Second)
		return out
	}
	require.Contains(t, fmt.Sprint(complete("us")), "user")
	require.Equal(t, []string{"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation", ":4"}, complete("user", "add", "x", "--role", ""))
	require.NotContains(t, complete("user", "set-role", "x", "LPA", ""), "LPA")
	require.Contains(t, complete("user", "remove", ""), "lpa@example.com")
	require.Contains(t, complete("app", "uninstall", ""), "demo-caller")
	require.Contains(t, complete("user", "list", "--account", ""), "12345678")
	require.Equal(t, []string{"table", "json", ":4"}, complete("app", "list", "-o", ""))
	nowhere := newOperator(t, filepath.Join(t.TempDir(), "none"))
	require.Equal(t, ":4", strings.TrimSpace(nowhere.ok(t, "__complete", "user", "remove", "")), "where no gateway runs there is nothing to suggest")
}
