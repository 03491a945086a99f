package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

func versioned(v string) string {
	return `function lambda(input, callback) { callback(null, { version: '` + v + `', got: input.payload }) }`
}

func TestTheFirstStartShowsACurlLineThatAnswers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	g := ownGateway(t, dir)

	for _, file := range []string{"dev.json", "demo.json"} {
		info, err := os.Stat(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
	require.Regexp(t, `^[0-9]+$`, g.Info.AccountID)
	require.True(t, filepath.IsAbs(g.Info.CA))
	for _, service := range []string{"faasGW", "faasUI", "sentinel", "agentVep", "csds", "admin"} {
		require.NotEmpty(t, g.Info.URLs[service], service)
	}
	for _, role := range []string{"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"} {
		_, err := g.Info.User(role)
		require.NoError(t, err)
	}
	require.NotNil(t, g.Info.Lambda)

	line := curlLine(t, g.Output())
	t.Run("and it answers", func(t *testing.T) {
		if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") == "" {
			t.Skip("curl is not installed, and its line is left untried; in CI this fails")
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
		require.NoError(t, err, "%s", out)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		require.True(t, json.Valid([]byte(lines[len(lines)-1])), "%s", out)
		require.NotContains(t, string(out), "errorCode")
	})
	t.Run("a second start finds everything as it was", func(t *testing.T) {
		require.NoError(t, g.Stop(t.Context()))
		again, err := g.Restart(t.Context())
		require.NoError(t, err)
		owned(t, again)
		before, after := g.Info, again.Info
		before.URLs, after.URLs = nil, nil // the ports are those of this start
		require.Equal(t, before, after)
		got, err := brand(t, again).Invoke(t.Context(), again.Info.Lambda.UUID, nil)
		require.NoError(t, err)
		require.NotEmpty(t, got)
	})
}

// curlLine finds the command in the banner, with the lines that continue it.
func curlLine(t *testing.T, output string) string {
	t.Helper()
	lines := strings.Split(output, "\n")
	start := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "curl ") })
	require.GreaterOrEqual(t, start, 0, "no curl line in:\n%s", output)
	end := start
	for strings.HasSuffix(strings.TrimSpace(lines[end]), `\`) && end+1 < len(lines) {
		end++
	}
	return strings.TrimSpace(strings.Join(lines[start:end+1], "\n"))
}

func TestAnAppTokenIsGivenForCredentialsInEveryPlace(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "tokens", versioned("1"))
	app, err := g.Info.App("client_credentials")
	require.NoError(t, err)
	c := newCaller(t, g, "")
	c.base = g.Info.URLs["sentinel"]
	credentials := url.Values{"grant_type": {"client_credentials"}, "scope": {""}, "client_id": {app.ClientID}, "client_secret": {app.ClientSecret}}
	const form = "application/x-www-form-urlencoded"

	for _, tt := range []struct {
		name    string
		path    string
		body    string
		headers []string
	}{
		{"in the body", "?v=2.0", credentials.Encode(), []string{"Content-Type", form}},
		{"in the query with an empty body", "?v=2.0&" + credentials.Encode(), "", nil},
		{"by HTTP Basic", "?v=1.0", "grant_type=client_credentials", []string{"Content-Type", form, "Authorization", basic(app)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, base := range []string{"/sentinel/api/account/", "/sentinel/api/v2/account/"} {
				r := c.send(t, http.MethodPost, base+c.account+"/app/token"+tt.path, []byte(tt.body), tt.headers...)
				require.Equal(t, http.StatusOK, r.status, r.body)
				var fields map[string]string
				require.NoError(t, json.Unmarshal([]byte(r.body), &fields))
				require.Len(t, fields, 2, "exactly access_token and token_type")
				require.Equal(t, "Bearer", fields["token_type"])
				caller := newCaller(t, g, fields["access_token"])
				require.Equal(t, http.StatusOK, caller.invoke(t, l.ID, `{}`).status)
			}
		})
	}
	t.Run("and refused for a wrong secret", func(t *testing.T) {
		credentials.Set("client_secret", "wrong")
		r := c.send(t, http.MethodPost, "/sentinel/api/account/"+c.account+"/app/token?v=2.0", []byte(credentials.Encode()), "Content-Type", form)
		require.GreaterOrEqual(t, r.status, 400)
		require.Less(t, r.status, 500)
		require.True(t, json.Valid([]byte(r.body)), r.body)
	})
}

func basic(app dev.App) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(app.ClientID)+":"+url.QueryEscape(app.ClientSecret)))
}

func TestTheLifeOfALambda(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	ctx := t.Context()

	l, err := author.CreateLambda(ctx, client.LambdaSpec{Name: newName("life"), Description: "lives", Code: versioned("one")})
	require.NoError(t, err)
	require.Equal(t, client.Draft, l.State)
	require.Empty(t, l.Deployment.State, "lastDeployment is {} before the first")

	_, err = app.Invoke(ctx, l.ID, nil)
	require.True(t, client.IsStatus(err, http.StatusNotFound) && client.IsCode(err, client.CodeNotDeployed), "%v", err)

	require.NoError(t, author.Deploy(ctx, l.ID))
	seen := statesUntilFinal(t, author, l.ID)
	order := []string{client.BuildStart, client.BuildFinish, client.DeployStart, client.DeployFinish}
	require.True(t, isSubsequence(seen, order), "%v", seen)
	l, err = author.WaitDeployed(ctx, l.ID)
	require.NoError(t, err)
	require.Equal(t, client.Productive, l.State)
	require.False(t, l.Deployment.DeployedAt.IsZero())
	require.JSONEq(t, `{"version":"one","got":{"a":[1,2.5,null,"ü"]}}`, invoked(t, app, l.ID, json.RawMessage(`{"a":[1,2.5,null,"ü"]}`)))

	same, changed, err := author.UpdateLambda(ctx, l)
	require.NoError(t, err)
	require.False(t, changed, "an update without a change answers 304")
	require.Equal(t, l.Version, same.Version)

	l.Source.Code = versioned("two")
	stale := *l
	l, changed, err = author.UpdateLambda(ctx, l)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, client.Modified, l.State)
	require.Equal(t, stale.Version+1, l.Version)
	require.JSONEq(t, `{"version":"one","got":{}}`, invoked(t, app, l.ID, nil), "the deployed version runs, not the edited one")

	stale.Description = "written by one who read an older version"
	_, _, err = author.UpdateLambda(ctx, &stale)
	require.True(t, client.IsStatus(err, http.StatusConflict), "%v", err)
	_, err = author.CreateLambda(ctx, client.LambdaSpec{Name: l.Name, Description: "the name is taken", Code: versioned("x")})
	require.True(t, client.IsStatus(err, http.StatusConflict), "%v", err)
	require.True(t, client.IsStatus(author.DeleteLambda(ctx, l.ID), http.StatusConflict), "a deployed lambda is not deleted")

	l, err = author.DeployAndWait(ctx, l.ID)
	require.NoError(t, err)
	require.JSONEq(t, `{"version":"two","got":{}}`, invoked(t, app, l.ID, nil))

	l, err = author.UndeployAndWait(ctx, l.ID)
	require.NoError(t, err)
	require.Equal(t, client.Draft, l.State)
	_, err = app.Invoke(ctx, l.ID, nil)
	require.True(t, client.IsStatus(err, http.StatusNotFound) && client.IsCode(err, client.CodeNotDeployed), "%v", err)

	require.NoError(t, author.DeleteLambda(ctx, l.ID))
	_, err = app.Invoke(ctx, l.ID, nil)
	require.True(t, client.IsStatus(err, http.StatusNotFound) && client.IsCode(err, client.CodeMissingLambda), "%v", err)
	require.ErrorContains(t, err, "There is no "+l.ID+" deployed on "+g.Info.AccountID)
	_, err = author.Lambda(ctx, l.ID)
	require.True(t, client.IsStatus(err, http.StatusNotFound), "%v", err)
}

func invoked(t *testing.T, c *client.Client, id string, payload any) string {
	t.Helper()
	got, err := c.Invoke(t.Context(), id, payload)
	require.NoError(t, err)
	return string(got)
}

// statesUntilFinal looks as often as it can, so that no state lasts unseen for
// long, and gives each state once.
func statesUntilFinal(t *testing.T, c *client.Client, id string) []string {
	t.Helper()
	var seen []string
	for {
		l, err := c.Lambda(t.Context(), id)
		require.NoError(t, err)
		if s := l.Deployment.State; len(seen) == 0 || seen[len(seen)-1] != s {
			seen = append(seen, s)
		}
		if l.Deployment.Final() {
			return seen
		}
	}
}

func isSubsequence(part, whole []string) bool {
	for _, w := range whole {
		if len(part) > 0 && part[0] == w {
			part = part[1:]
		}
	}
	return len(part) == 0
}

func TestARedeploymentUnderLoadLosesNoCall(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	l := deployed(t, author, "redeploy", versioned("1"))
	id := l.ID

	var version atomic.Int64 // no call that begins later may meet an older one
	version.Store(1)
	stop := make(chan struct{})
	var calls atomic.Int64
	var callers sync.WaitGroup
	failures := make(chan error, 100)
	for range 8 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := version.Load()
				if err := callVersion(app, id, least); err != nil {
					select {
					case failures <- err:
					default:
					}
				}
				calls.Add(1)
			}
		})
	}
	for v := int64(2); v <= 5; v++ {
		l.Source.Code = versioned(string(rune('0' + v)))
		stored, _, err := author.UpdateLambda(t.Context(), l)
		require.NoError(t, err)
		l, err = author.DeployAndWait(t.Context(), stored.ID)
		require.NoError(t, err)
		version.Store(v)
		time.Sleep(150 * time.Millisecond)
	}
	close(stop)
	callers.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	require.Greater(t, calls.Load(), int64(100))
}

// callVersion calls the lambda and fails if the version is older than least.
func callVersion(c *client.Client, id string, least int64) error {
	got, err := c.Invoke(context.Background(), id, nil)
	if err != nil {
		return err
	}
	var v struct {
		Version int64 `json:"version,string"`
	}
	if err := json.Unmarshal(got, &v); err != nil {
		return err
	}
	if v.Version < least {
		return &staleError{v.Version, least}
	}
	return nil
}

type staleError struct{ got, least int64 }

func (e *staleError) Error() string {
	return "version " + string(rune('0'+e.got)) + " answered after version " + string(rune('0'+e.least)) + " was live"
}

func TestCodeThatIsNoLambdaIsRefused(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	for name, code := range map[string]string{
		"a syntax error":           "function lambda(input, callback) {",
		"no function named lambda": "function other(input, callback) { callback(null, 1) }",
		"a call of eval":           "function lambda(input, callback) { callback(null, eval('1')) }",
		"a call of Function":       "function lambda(input, callback) { callback(null, new Function('return 1')()) }",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("bad"), Description: "bad", Code: code})
			require.True(t, client.IsStatus(err, http.StatusBadRequest), "%v", err)
			require.ErrorContains(t, err, "contract-error")
		})
	}
}

func TestAFailedRedeploymentLeavesThePreviousVersionServing(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	l := deployed(t, author, "loadfault", versioned("good"))
	l.Source.Code = `throw new Error('broken while loading'); function lambda(input, callback) { callback() }`
	l, _, err := author.UpdateLambda(t.Context(), l)
	require.NoError(t, err)

	l, err = author.DeployAndWait(t.Context(), l.ID)
	var failed *client.DeployError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, client.DeployFailed, failed.State)
	require.Contains(t, failed.Message, "broken while loading")
	require.Equal(t, client.Modified, l.State)
	require.JSONEq(t, `{"version":"good","got":{}}`, invoked(t, app, l.ID, nil))
}

func TestASecondDeploymentDuringAnActiveOneIsRefused(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	// Loading takes a while, so that the deployment is surely still active.
	l, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("slowload"), Description: "loads slowly", Code: `
		const end = Date.now() + 1500; while (Date.now() < end);
		function lambda(input, callback) { callback(null, 1) }`})
	require.NoError(t, err)
	require.NoError(t, author.Deploy(t.Context(), l.ID))
	for _, again := range []func(context.Context, string) error{author.Deploy, author.Undeploy} {
		err = again(t.Context(), l.ID)
		require.True(t, client.IsStatus(err, http.StatusConflict), "%v", err)
		require.ErrorContains(t, err, "Can not deploy a lambda during an active deployment")
	}
	_, err = author.WaitDeployed(t.Context(), l.ID)
	require.NoError(t, err)
}
