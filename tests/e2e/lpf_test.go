package e2e_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/store/embedded"
	"github.com/sluice-faas/sluice/sdk/client"
)

const (
	developerRole  = "FaaS-Developer"
	adminRole      = "FaaS-Admin"
	invocationRole = "FaaS-Invocation"
	lpaRole        = "LPA"
)

// sleepsWhileLoading is code whose deployment takes that many milliseconds.
func sleepsWhileLoading(ms string) string {
	return `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ` + ms + `)
		function lambda(input, callback) { callback(null, 'awake') }`
}

// What lpf prints and how it ends is contract/management.md §13; what it does is
// seen on the disk and through the API.
func TestThePublicCLIWorksUnmodified(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), append([]string{"--no-sample"}, lpfDomains...)...)
	cli := newLPF(t, g)
	cli.login(t, developerRole)

	t.Run("an account without lambdas", func(t *testing.T) {
		d := cli.desk(t, developerRole)
		requireEnding(t, d.run(t, "get", "functions", "deployments"), 1, `Error: There are no functions created on your account!
Code: com.liveperson.faas.cli.lambdas.notfound
Try this: Use "lpf create:function exampleFunction" to create a function first.
Reference: https://github.com/LivePersonInc/faas-cli#get
`)
	})
	cli.login(t, adminRole)
	cli.login(t, invocationRole)

	for name, story := range map[string]func(*testing.T, *lpf){
		"a session from login to logout": testLPFSession,
		"no session":                     testLPFWithoutSession,
		"the life of a function":         testLPFLife,
		"push":                           testLPFPush,
		"pull":                           testLPFPull,
		"invoke":                         testLPFInvoke,
		"invoke --local":                 testLPFInvokeLocally,
		"deployments that are refused":   testLPFRefusedDeployments,
		"a redeployment is waited for to its end": testLPFRedeployment,
		"a deployment that fails":                 testLPFFailedDeployment,
		"approval is asked for":                   testLPFApproval,
		"a user who may invoke only":              testLPFInvocationOnly,
		"an admin who is no developer":            testLPFAdmin,
		"domains":                                 testLPFDomains,
		"logs":                                    testLPFLogs,
		"metrics":                                 testLPFMetrics,
		"the account":                             testLPFAccount,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t, cli)
		})
	}
}

func testLPFSession(t *testing.T, cli *lpf) {
	user, err := cli.gateway.Info.User(lpaRole)
	require.NoError(t, err)
	account := cli.gateway.Info.AccountID
	d := cli.desk(t, "")
	failed := "🔴 Looks like something went wrong during the login\n🔴 Check your credentials and try again lpf login\n"

	require.NoError(t, os.RemoveAll(filepath.Join(d.dir, "home", ".cache")))
	requireEnding(t, d.run(t, "login", "-a", account, "-u", user.Username, "-p", "not-"+user.Password), 1,
		"Error during fetching latest npm version: no connection to registry.npmjs.org:443 is expected\n"+failed)
	require.NoFileExists(t, d.sessions())
	requireEnding(t, d.run(t, "login", "-a", account+"9", "-u", user.Username, "-p", user.Password), 1, failed)
	requireEnding(t, d.run(t, "logout", "-a", account), 0, "No accounts were found!\n")

	// The session of an account that it has none of is refused with 401, and it
	// goes on to the login.
	welcomed(t, d.run(t, "login", "-a", "55555555", "-t", "token", "-i", "someone"))
	welcomed(t, d.run(t, "login", "-a", account, "-u", user.Username, "-p", user.Password))
	require.FileExists(t, d.sessions())
	welcomed(t, d.run(t, "login", "-a", account)) // no password: it refreshes

	requireEnding(t, d.run(t, "logout", "-a", "55555555", "-d"), 0, "✅ Account was successfully deleted locally\n")
	requireEnding(t, d.run(t, "logout", "-a", account), 0, "✅ Logout successful\n")
	r := d.start(t, "get", "functions")
	r.says(t, "Choose accountId or select other")
	r.interrupt(t)
	require.Equal(t, 130, r.wait(t).code)
	requireEnding(t, d.run(t, "logout", "-a", account, "-d"), 0, "✅ Account was successfully deleted locally\n")
	require.NoFileExists(t, d.sessions())
}

func testLPFWithoutSession(t *testing.T, cli *lpf) {
	t.Run("is asked for and waited for", func(t *testing.T) {
		r := cli.desk(t, "").start(t, "get", "functions")
		r.says(t, "? AccountId ")
		r.interrupt(t)
		require.Equal(t, 130, r.wait(t).code)
	})
	t.Run("and cannot be asked for", func(t *testing.T) {
		got := cli.desk(t, "").run(t, "get", "functions")
		require.Contains(t, got.stdout, "? AccountId ")
		// It means to end with 130, and does on Node 20. Since Node 24 its prompt
		// fails before that, as it closes one that is closed.
		require.Contains(t, []int{130, 1}, got.code, "%+v", got)
		require.NotContains(t, got.stdout, "There are no functions")
	})
	t.Run("but a token, which nobody gave out", func(t *testing.T) {
		d := cli.desk(t, "")
		welcomed(t, d.run(t, "login", "-a", cli.gateway.Info.AccountID, "-t", "forged", "-i", "someone"))
		requireEnding(t, d.run(t, "get", "functions"), 1, "")
		requireEnding(t, d.run(t, "deploy", "any", "--yes"), 1, "Error: You are not authorized to perform this action, please check your permissions\n"+
			"Try this: Use \"lpf deploy --help\" for more information\nReference: https://github.com/LivePersonInc/faas-cli#deploy\n")
		requireEnding(t, d.run(t, "add:domain", "example.com"), 0, "You are not authorized to perform this action, please check your permissions\n")
	})
	t.Run("but the token of one", func(t *testing.T) {
		d := cli.desk(t, "")
		user, err := cli.gateway.Info.User(adminRole)
		require.NoError(t, err)
		l, err := developer(t, cli.gateway).CreateLambda(t.Context(), client.LambdaSpec{Name: newName("lpf_token"), Description: "is read", Code: versioned("1")})
		require.NoError(t, err)
		welcomed(t, d.run(t, "login", "-a", cli.gateway.Info.AccountID, "-t", sessionToken(t, cli.gateway, adminRole), "-i", user.UserID))
		require.NotNil(t, row(t, d.run(t, "get", "functions"), l.Name))
	})
}

func testLPFLife(t *testing.T, cli *lpf) {
	author := developer(t, cli.gateway)
	user, err := cli.gateway.Info.User(developerRole)
	require.NoError(t, err)
	d, name := cli.desk(t, developerRole), newName("lpf_life")
	index, config := "project/functions/"+name+"/index.js", "project/functions/"+name+"/config.json"

	requireEnding(t, d.run(t, "create:function", "-n", name, "-d", "lives", "-e", "No Event"), 0, "The function \""+name+"\" has been created\n")
	require.JSONEq(t, `{"name":"`+name+`","event":"No Event","description":"lives","input":{"headers":[],"payload":{}},"environmentVariables":[`+emptyPair+`]}`, d.read(t, config))
	requireEnding(t, d.run(t, "create:function", "-n", name, "-d", "again", "-e", "No Event"), 1, "Error: Folder with same name already exists ("+name+")\n"+
		"Try this: Use \"lpf create:function --help\" for more information.\nReference: https://github.com/LivePersonInc/faas-cli#create\n")

	requireEnding(t, d.run(t, "push", name, "--yes"), 0, task("Pushing", name, "completed"))
	l := lambdaNamed(t, author, name)
	require.Equal(t, 1, l.Version)
	require.Equal(t, client.Draft, l.State)
	require.Equal(t, "lives", l.Description)
	require.Equal(t, user.Username, l.CreatedBy)
	require.Empty(t, l.EventID)
	require.Empty(t, l.Source.Environment, "the empty pair is no variable")
	require.Equal(t, d.read(t, index), l.Source.Code)
	both := d.run(t, "get", "functions", "deployments")
	require.Equal(t, []string{name, "Draft", shown(l.UpdatedAt), user.Username, "No Event"}, row(t, both, name))
	require.Nil(t, row(t, after(t, both, "Undeployed changes from"), name))

	requireEnding(t, d.run(t, "deploy", name, "--yes"), 0, task("Deploying", name, "completed"))
	l = lambdaNamed(t, author, name)
	require.Equal(t, client.Productive, l.State)
	require.Equal(t, client.DeployFinish, l.Deployment.State)
	both = d.run(t, "get", "functions", "deployments")
	require.Equal(t, []string{name, "Productive", shown(l.UpdatedAt), user.Username, "No Event"}, row(t, both, name))
	require.Equal(t, []string{name, "Up to date", shown(l.Deployment.DeployedAt), user.Username, "Deploy Finish"}, row(t, after(t, both, "Undeployed changes from"), name))
	requireEnding(t, d.run(t, "invoke", name), 0, "{\n    \"result\": \"Hello World\",\n    \"logs\": []\n}\n")

	d.write(t, index, versioned("2"))
	requireEnding(t, d.run(t, "push", name, "--yes"), 0, task("Pushing", name, "completed"))
	l = lambdaNamed(t, author, name)
	require.Equal(t, 2, l.Version)
	require.Equal(t, versioned("2"), l.Source.Code)
	both = d.run(t, "get", "functions", "deployments")
	require.Equal(t, []string{name, "Modified", shown(l.UpdatedAt), user.Username, "No Event"}, row(t, both, name))
	require.Equal(t, []string{name, shown(l.UpdatedAt), shown(l.Deployment.DeployedAt), user.Username, "Deploy Finish"}, row(t, after(t, both, "Undeployed changes from"), name))

	requireEnding(t, d.run(t, "undeploy", name, "--yes"), 0, task("Undeploying", name, "completed"))
	require.Equal(t, client.Draft, lambdaNamed(t, author, name).State)
	require.Nil(t, row(t, d.run(t, "get", "deployments"), name))
	requireEnding(t, d.run(t, "invoke", name), 0, "There is no "+l.ID+" deployed on "+cli.gateway.Info.AccountID+"\n")
}

// lambdaNamed reads the one lambda of that name.
func lambdaNamed(t *testing.T, c *client.Client, name string) *client.Lambda {
	t.Helper()
	all, err := c.Lambdas(t.Context())
	require.NoError(t, err)
	var found []*client.Lambda
	for _, l := range all {
		if l.Name == name {
			found = append(found, l)
		}
	}
	require.Len(t, found, 1, name)
	return found[0]
}

// after leaves only what was printed after text, of a second table.
func after(t *testing.T, got ending, text string) ending {
	t.Helper()
	_, rest, found := strings.Cut(got.stdout, text)
	require.True(t, found, got.stdout)
	got.stdout = rest
	return got
}

func testLPFPush(t *testing.T, cli *lpf) {
	author, d := developer(t, cli.gateway), cli.desk(t, developerRole)
	name := newName("lpf_push")
	code := versioned("1")
	d.function(t, name, code, `{"key":"ONE","value":"1"}`)
	requireEnding(t, d.run(t, "push", name, "--yes", "--no-watch"), 0, "")
	stored := lambdaNamed(t, author, name)
	require.Equal(t, []client.Pair{{Key: "ONE", Value: "1"}}, stored.Source.Environment)

	t.Run("without a change", func(t *testing.T) {
		requireEnding(t, d.run(t, "push", name, "--yes"), 0, task("Pushing", name, "skipped", "Push Skipped: The update contained no changes compared to the server version."))
		require.Equal(t, stored, lambdaNamed(t, author, name))
	})
	t.Run("of another environment alone", func(t *testing.T) {
		d.function(t, name, code, `{"key":"ONE","value":"uno"}`, `{"key":"TWO","value":"due"}`)
		requireEnding(t, d.run(t, "push", name, "--yes"), 0, task("Pushing", name, "completed"))
		l := lambdaNamed(t, author, name)
		require.Equal(t, []client.Pair{{Key: "ONE", Value: "uno"}, {Key: "TWO", Value: "due"}}, l.Source.Environment)
		require.Equal(t, stored.Version+1, l.Version)
		stored = l
	})
	notALambda := "Push Error: The code of function '" + name + "' you are trying to push is not a valid lambda."
	t.Run("of broken code", func(t *testing.T) {
		d.function(t, name, "function lambda(input, callback) {")
		requireEnding(t, d.run(t, "push", name, "--yes"), 1, task("Pushing", name, "failed", notALambda))
		require.Equal(t, stored, lambdaNamed(t, author, name))
	})
	t.Run("of broken code that is new, beside one that is good", func(t *testing.T) {
		good, bad := newName("lpf_good"), newName("lpf_bad")
		d.function(t, good, code)
		d.function(t, bad, "exports.handler = () => 1")
		got := d.run(t, "push", good, bad, "--yes")
		require.Equal(t, 1, got.code, "%+v", got)
		require.Contains(t, got.stdout, "Pushing "+good+" [completed]\n")
		require.Contains(t, got.stdout, "Pushing "+bad+" [failed]\n→ Push Error: The code of function '"+bad+"' you are trying to push is not a valid lambda.\n")
		require.Equal(t, code, lambdaNamed(t, author, good).Source.Code)
		all, err := author.Lambdas(t.Context())
		require.NoError(t, err)
		for _, l := range all {
			require.NotEqual(t, bad, l.Name)
		}
	})
	t.Run("of what the gateway refuses with a reason", func(t *testing.T) {
		d.function(t, name, code, `{"key":"NODE_OPTIONS","value":"--inspect"}`)
		l := *stored
		l.Source.Environment = []client.Pair{{Key: "NODE_OPTIONS", Value: "--inspect"}}
		_, _, err := author.UpdateLambda(t.Context(), &l)
		requireEnding(t, d.run(t, "push", name, "--yes"), 1, task("Pushing", name, "failed", messageOf(t, err, http.StatusBadRequest)))
		require.Equal(t, stored, lambdaNamed(t, author, name))
	})
	t.Run("of a function that is not in the project", func(t *testing.T) {
		requireEnding(t, d.run(t, "push", "nosuch", "--yes"), 1, "Could not find the folder of function nosuch. Please make sure it's available in the functions folder.\n")
	})
}

// messageOf gives the errorMsg that the gateway answered with that status.
func messageOf(t *testing.T, err error, status int) string {
	t.Helper()
	var e *client.Error
	require.True(t, errors.As(err, &e), "%v", err)
	require.Equal(t, status, e.Status)
	require.NotEmpty(t, e.Message)
	return e.Message
}

func testLPFPull(t *testing.T, cli *lpf) {
	author, d := developer(t, cli.gateway), cli.desk(t, developerRole)
	const event = "controllerbot_messaging_ttr"
	l, err := author.CreateLambda(t.Context(), client.LambdaSpec{
		Name: newName("lpf_pull"), Description: "is »fetched«", EventID: event, Code: "// grüße\n" + versioned("1"),
		Environment: []client.Pair{{Key: "COLOUR", Value: "blue"}},
	})
	require.NoError(t, err)
	folder := "project/functions/" + l.Name + "/"

	t.Run("over what is there", func(t *testing.T) {
		d.function(t, l.Name, "old")
		requireEnding(t, d.run(t, "pull", l.Name, "--yes"), 0, task("Pulling", l.Name, "completed"))
		require.Equal(t, l.Source.Code, d.read(t, folder+"index.js"))
		var f function
		require.NoError(t, json.Unmarshal([]byte(d.read(t, folder+"config.json")), &f))
		require.Equal(t, l.Name, f.Name)
		require.Equal(t, event, f.Event)
		require.Equal(t, l.Description, f.Description)
		require.Len(t, f.Environment, 1)
		require.JSONEq(t, `{"key":"COLOUR","value":"blue"}`, string(f.Environment[0]))
		input, ok := f.Input.(map[string]any)
		require.True(t, ok, "%v", f.Input)
		require.Contains(t, input, "payload")
		require.IsType(t, []any{}, input["headers"])
	})
	t.Run("and what came is no change to push", func(t *testing.T) {
		requireEnding(t, d.run(t, "push", l.Name, "--yes"), 0, task("Pushing", l.Name, "skipped", "Push Skipped: The update contained no changes compared to the server version."))
	})
	t.Run("of all", func(t *testing.T) {
		fresh := cli.desk(t, developerRole)
		requireEnding(t, fresh.run(t, "pull", "--all", "--yes", "--no-watch"), 0, "")
		require.Equal(t, l.Source.Code, fresh.read(t, folder+"index.js"))
	})
	t.Run("of one that is unknown", func(t *testing.T) {
		requireEnding(t, d.run(t, "pull", "nosuch", "--yes"), 0,
			"Error: "+unknown("nosuch")+"\nCode: com.liveperson.faas.cli.pull.failed\nReference: https://github.com/LivePersonInc/faas-cli#pull\n")
	})
}

// unknown is what lpf says of a function that the account does not have.
func unknown(name string) string {
	return "Function " + name + " were not found on the platform. Please make sure the function with the name " + name +
		" was pushed to the LivePerson Functions platform"
}

func testLPFInvoke(t *testing.T, cli *lpf) {
	author, d := developer(t, cli.gateway), cli.desk(t, developerRole)

	t.Run("with the input of its folder", func(t *testing.T) {
		l := deployed(t, author, "lpf_input", `function lambda(input, callback) { console.info('hello', 1); callback(null, input.payload.a + input.headers[0].value) }`)
		d.write(t, "project/functions/"+l.Name+"/config.json",
			`{"name":"`+l.Name+`","input":{"headers":[{"key":"X","value":"ü"}],"payload":{"a":"A"}}}`)
		got := d.run(t, "invoke", l.Name)
		require.Zero(t, got.code, "%+v", got)
		require.Empty(t, got.stderr)
		var printed struct {
			Result string
			Logs   []client.LogRecord
		}
		require.NoError(t, json.Unmarshal([]byte(got.stdout), &printed), "no warning about the version of Node stands before it: %s", got.stdout)
		require.Equal(t, "Aü", printed.Result)
		require.Len(t, printed.Logs, 1)
		require.Equal(t, "Info", printed.Logs[0].Level)
		require.Equal(t, "hello", printed.Logs[0].Message)
	})
	t.Run("of a lambda that fails", func(t *testing.T) {
		l := deployed(t, author, "lpf_fails", `function lambda(input, callback) { callback(new Error('no luck today')) }`)
		d.function(t, l.Name, l.Source.Code)
		requireEnding(t, d.run(t, "invoke", l.Name), 0, "no luck today\n")
	})
	t.Run("of one that is unknown", func(t *testing.T) {
		d.function(t, "nosuch", versioned("1"))
		requireEnding(t, d.run(t, "invoke", "nosuch"), 0, unknown("nosuch")+"\n")
	})
}

func testLPFRefusedDeployments(t *testing.T, cli *lpf) {
	author, d := developer(t, cli.gateway), cli.desk(t, developerRole)

	t.Run("while another is under way", func(t *testing.T) {
		l, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("lpf_busy"), Description: "loads slowly", Code: sleepsWhileLoading("9500")})
		require.NoError(t, err)
		require.NoError(t, author.Deploy(t.Context(), l.ID))
		skipped := "Can not deploy a lambda during an active deployment (" + l.ID + ")"
		deploy, undeploy := d.start(t, "deploy", l.Name, "--yes"), d.start(t, "undeploy", l.Name, "--yes") // at once: it does not last
		requireEnding(t, deploy.wait(t), 0, task("Deploying", l.Name, "skipped", skipped))
		requireEnding(t, undeploy.wait(t), 0, task("Undeploying", l.Name, "skipped", skipped))
		last, err := author.Lambda(t.Context(), l.ID)
		require.NoError(t, err)
		require.False(t, last.Deployment.Final(), "the machine is too slow to tell anything: the deployment has ended")
	})
	t.Run("an undeployment of what is not deployed", func(t *testing.T) {
		l, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("lpf_idle"), Description: "is not deployed", Code: versioned("1")})
		require.NoError(t, err)
		message := messageOf(t, author.Undeploy(t.Context(), l.ID), http.StatusConflict)
		requireEnding(t, d.run(t, "undeploy", l.Name, "--yes"), 0, task("Undeploying", l.Name, "skipped", message+" ("+l.ID+")"))
	})
	t.Run("of one that is unknown", func(t *testing.T) {
		for _, verb := range []string{"deploy", "undeploy"} {
			requireEnding(t, d.run(t, verb, "nosuch", "--yes"), 1, "Error: "+unknown("nosuch")+"\n"+
				"Try this: Use \"lpf "+verb+" --help\" for more information\nReference: https://github.com/LivePersonInc/faas-cli#"+verb+"\n")
		}
	})
}

// A redeployment of the version that is live already must not look finished
// before it is (contract/management.md §5): lpf looks after 3 s and after 6 s.
func testLPFRedeployment(t *testing.T, cli *lpf) {
	author, d := developer(t, cli.gateway), cli.desk(t, developerRole)
	first := deployed(t, author, "lpf_again", sleepsWhileLoading("4500"))
	requireEnding(t, d.run(t, "deploy", first.Name, "--yes"), 0, task("Deploying", first.Name, "completed"))
	l, err := author.Lambda(t.Context(), first.ID)
	require.NoError(t, err)
	require.NotEqual(t, first.Deployment.ID, l.Deployment.ID)
	require.Equal(t, client.DeployFinish, l.Deployment.State)
}

// lpf knows no failure of a deployment: it looks on until its user interrupts.
func testLPFFailedDeployment(t *testing.T, cli *lpf) {
	author, d := developer(t, cli.gateway), cli.desk(t, developerRole)
	l := deployed(t, author, "lpf_faulty", versioned("1"))
	l.Source.Code = `throw new Error('not today'); function lambda(input, callback) { callback() }`
	l, _, err := author.UpdateLambda(t.Context(), l)
	require.NoError(t, err)
	live := l.Deployment.ID

	r := d.start(t, "deploy", l.Name, "--yes")
	require.Eventually(t, func() bool {
		l, err = author.Lambda(t.Context(), l.ID)
		return err == nil && l.Deployment.ID != live && l.Deployment.Final()
	}, 60*time.Second, 50*time.Millisecond)
	require.Equal(t, client.DeployFailed, l.Deployment.State)
	select {
	case <-r.ended:
		t.Fatalf("it ended by itself: %+v", r.wait(t))
	case <-time.After(3500 * time.Millisecond): // it has looked
	}
	r.interrupt(t)
	require.Equal(t, 130, r.wait(t).code)
	require.Equal(t, []string{l.Name, shown(l.UpdatedAt), "pending ...", "developer@example.com", "Deploy Error"}, row(t, d.run(t, "get", "deployments"), l.Name))
}

func testLPFApproval(t *testing.T, cli *lpf) {
	author, d := developer(t, cli.gateway), cli.desk(t, developerRole)
	name := newName("lpf_asks")
	d.function(t, name, versioned("1"))

	for _, answer := range []string{"n", "y"} {
		r := d.start(t, "push", name, "--no-watch")
		r.says(t, "Do you want to approve and create the following lambda?")
		r.says(t, "(Y/n)")
		r.hears(t, answer)
		require.Zero(t, r.wait(t).code)
		all, err := author.Lambdas(t.Context())
		require.NoError(t, err)
		stored := false
		for _, l := range all {
			stored = stored || l.Name == name
		}
		require.Equal(t, answer == "y", stored, "after the answer %s", answer)
	}

	r := d.start(t, "deploy", name, "--no-watch")
	r.says(t, "(Y/n)")
	r.hears(t, "y")
	got := r.wait(t)
	require.Zero(t, got.code, "%+v", got)
	l := lambdaNamed(t, author, name)
	for _, line := range []string{
		"AccountId:              " + cli.gateway.Info.AccountID, "UUID:                   " + l.ID, "Event:                  No Event",
		"Last modified by:       " + l.UpdatedBy, "Last modified at:       " + shown(l.UpdatedAt), "Last deployed at:       -", "Runtime:                Node.js ",
	} {
		require.Contains(t, got.stdout, line)
	}
	_, err := author.WaitDeployed(t.Context(), l.ID)
	require.NoError(t, err)
}

// Who may invoke only may not look lambdas up, and so lpf is of no use to him:
// lambdas are invoked by their id.
func testLPFInvocationOnly(t *testing.T, cli *lpf) {
	author, d := developer(t, cli.gateway), cli.desk(t, invocationRole)
	l := deployed(t, author, "lpf_hidden", versioned("1"))
	d.function(t, l.Name, versioned("2"))
	_, err := as(t, cli.gateway, invocationRole).Lambdas(t.Context())
	message := messageOf(t, err, http.StatusForbidden)
	reference := "Reference: https://github.com/LivePersonInc/faas-cli#"

	for _, tt := range []struct {
		command string
		code    int
		stdout  string
	}{
		{"get functions", 1, ""},
		{"get deployments", 1, ""},
		{"push " + l.Name + " --yes", 1, "undefined\n"},
		{"pull " + l.Name + " --yes", 0, "Error: " + message + "\nCode: com.liveperson.faas.cli.pull.failed\n" + reference + "pull\n"},
		{"deploy " + l.Name + " --yes", 1, "Error: " + message + "\nTry this: Use \"lpf deploy --help\" for more information\n" + reference + "deploy\n"},
		{"undeploy " + l.Name + " --yes", 1, "Error: " + message + "\nTry this: Use \"lpf undeploy --help\" for more information\n" + reference + "undeploy\n"},
		{"invoke " + l.Name, 0, "Could not fetch runtime version from LivePerson Functions platform\n" + message + "\n"},
	} {
		t.Run(tt.command, func(t *testing.T) { requireEnding(t, d.run(t, strings.Fields(tt.command)...), tt.code, tt.stdout) })
	}
	require.Equal(t, versioned("2"), d.read(t, "project/functions/"+l.Name+"/index.js"), "nothing was pulled")
	require.Equal(t, l, lambdaNamed(t, author, l.Name), "and nothing pushed, deployed or undeployed")
}

func testLPFAdmin(t *testing.T, cli *lpf) {
	author, admin, d := developer(t, cli.gateway), as(t, cli.gateway, adminRole), cli.desk(t, adminRole)
	l := deployed(t, author, "lpf_foreign", versioned("1"))
	wish := newName("lpf_wish")
	d.function(t, l.Name, versioned("2"))
	d.function(t, wish, versioned("1"))

	_, _, err := admin.UpdateLambda(t.Context(), &client.Lambda{ID: l.ID, Version: l.Version})
	update := messageOf(t, err, http.StatusForbidden)
	_, err = admin.CreateLambda(t.Context(), client.LambdaSpec{Name: wish, Description: "a wish", Code: versioned("1")})
	create := messageOf(t, err, http.StatusForbidden)
	deploy := messageOf(t, admin.Deploy(t.Context(), l.ID), http.StatusForbidden)
	undeploy := messageOf(t, admin.Undeploy(t.Context(), l.ID), http.StatusForbidden)
	_, err = admin.Invoke(t.Context(), l.ID, nil)
	invoke := messageOf(t, err, http.StatusForbidden)
	for _, message := range []string{update, create, deploy, undeploy, invoke} {
		require.Contains(t, message, "FaaS-Developer", "it is to say what is missing")
	}

	for _, tt := range []struct {
		command string
		code    int
		stdout  string
	}{
		{"push " + l.Name + " --yes", 1, task("Pushing", l.Name, "failed", update)},
		{"push " + wish + " --yes", 1, task("Pushing", wish, "failed", create)},
		{"deploy " + l.Name + " --yes", 0, task("Deploying", l.Name, "skipped", deploy+" ("+l.ID+")")},
		{"undeploy " + l.Name + " --yes", 0, task("Undeploying", l.Name, "skipped", undeploy+" ("+l.ID+")")},
		{"invoke " + l.Name, 0, invoke + "\n"},
		{"pull " + l.Name + " --yes", 0, task("Pulling", l.Name, "completed")},
	} {
		t.Run(tt.command, func(t *testing.T) { requireEnding(t, d.run(t, strings.Fields(tt.command)...), tt.code, tt.stdout) })
	}
	require.Equal(t, versioned("1"), d.read(t, "project/functions/"+l.Name+"/index.js"), "an admin may read, and so pull")
	require.Equal(t, l, lambdaNamed(t, author, l.Name))
	both := d.run(t, "get", "functions", "deployments")
	require.Equal(t, "Productive", row(t, both, l.Name)[1])
	require.Equal(t, "Deploy Finish", row(t, after(t, both, "Undeployed changes from"), l.Name)[4])
}

func testLPFDomains(t *testing.T, cli *lpf) {
	admin := newCaller(t, cli.gateway, sessionToken(t, cli.gateway, adminRole))
	path := "/api/account/" + admin.account + "/proxy-settings?v=1"
	d := cli.desk(t, adminRole)
	added := func(domain string) string { return "Domain " + domain + " was added to your account successfully.\n" }

	t.Run("two at once", func(t *testing.T) {
		got := d.run(t, "add:domain", "*.lpf.example", "two.lpf.example")
		require.ElementsMatch(t, []string{added("*.lpf.example"), added("two.lpf.example"), ""}, strings.SplitAfter(got.stdout, "\n"))
		require.Zero(t, got.code)
		listed := admin.send(t, http.MethodGet, path, nil)
		require.Equal(t, http.StatusOK, listed.status, listed.body)
		var domains []struct{ Domain string }
		require.NoError(t, json.Unmarshal([]byte(listed.body), &domains), listed.body)
		require.Subset(t, domains, []struct{ Domain string }{{"*.lpf.example"}, {"two.lpf.example"}})
	})
	for name, domain := range map[string]string{"again": "two.lpf.example", "with a scheme": "https://lpf.example", "with a path": "lpf.example/x"} {
		t.Run(name, func(t *testing.T) {
			refused := admin.send(t, http.MethodPost, path, []byte(`{"timestamp":0,"domain":"`+domain+`","id":-1}`))
			require.Contains(t, []int{http.StatusBadRequest, http.StatusConflict}, refused.status, refused.body)
			requireEnding(t, d.run(t, "add:domain", domain), 0, refused.message()+"\n")
		})
	}
	for _, role := range []string{developerRole, invocationRole} {
		t.Run("by a "+role, func(t *testing.T) {
			who := newCaller(t, cli.gateway, sessionToken(t, cli.gateway, role))
			refused := who.send(t, http.MethodPost, path, []byte(`{"timestamp":0,"domain":"mine.example","id":-1}`))
			require.Equal(t, http.StatusForbidden, refused.status, refused.body)
			requireEnding(t, cli.desk(t, role).run(t, "add:domain", "mine.example"), 0, refused.message()+"\n")
		})
	}
	require.NotContains(t, admin.send(t, http.MethodGet, path, nil).body, "mine.example")
	t.Run("none", func(t *testing.T) {
		requireEnding(t, d.run(t, "add:domain"), 1, "Error: Please add domains to the command's arguments\nCode: com.liveperson.faas.cli.lambdas.notfound\n"+
			"Try this: Use \"lpf add:domain --help\" for more information\nReference: https://github.com/LivePersonInc/faas-cli#add\n")
	})
}

// A defect of the platform, here a lambda whose record is damaged, is answered
// with 500; lpf asks three times, prints nothing and ends with 1.
func TestThePublicCLIAtADefectOfThePlatform(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), append([]string{"--no-sample"}, lpfDomains...)...)
	l, err := developer(t, g).CreateLambda(t.Context(), client.LambdaSpec{Name: newName("lpf_lost"), Description: "will be damaged", Code: versioned("1")})
	require.NoError(t, err)
	require.NoError(t, g.Stop(t.Context()))
	damage(t, filepath.Join(g.DataDir(), "etcd"), "/sluice/lambdas/", l.ID)
	again, err := g.Restart(t.Context())
	require.NoError(t, err)
	owned(t, again)

	requireError(t, newCaller(t, again, sessionToken(t, again, developerRole)).send(t, http.MethodGet, "/api/account/"+again.Info.AccountID+"/lambdas?v=1", nil),
		http.StatusInternalServerError, client.CodeGeneral)
	cli := newLPF(t, again)
	cli.login(t, developerRole)
	requireEnding(t, cli.desk(t, developerRole).run(t, "get", "functions"), 1, "")
}

// damage cuts the one value short whose key begins with folder and ends with id,
// in the etcd of a gateway that is stopped.
func damage(t *testing.T, dir, folder, id string) {
	t.Helper()
	member, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	require.NoError(t, err)
	defer func() { require.NoError(t, member.Close()) }()
	found, err := member.Client().Get(t.Context(), folder, clientv3.WithPrefix())
	require.NoError(t, err)
	for _, kv := range found.Kvs {
		if strings.HasSuffix(string(kv.Key), "/"+id) {
			_, err := member.Client().Put(t.Context(), string(kv.Key), string(kv.Value[:len(kv.Value)/2]))
			require.NoError(t, err)
			return
		}
	}
	t.Fatalf("nothing below %s ends with %s", folder, id)
}

// loggingLambda is a lambda whose calls log at every level, and fail when asked to.
func loggingLambda(t *testing.T, cli *lpf, word string) *client.Lambda {
	t.Helper()
	return deployed(t, developer(t, cli.gateway), word, `function lambda(input, callback) {
		console.debug('unseen')
		console.info('hello', { a: 1 })
		console.warn('one; two "three"')
		console.error('=1+1')
		callback(input.payload.fail ? new Error('no luck') : null, 1)
	}`)
}

func testLPFLogs(t *testing.T, cli *lpf) {
	l, d := loggingLambda(t, cli, "lpf_logs"), cli.desk(t, developerRole)
	begin := time.Now()
	_, err := brand(t, cli.gateway).Invoke(t.Context(), l.ID, nil, client.WithRequestID("lpf-1"))
	require.NoError(t, err)
	journalled(t, developer(t, cli.gateway), l.ID, 1)
	stored, _, err := developer(t, cli.gateway).Logs(t.Context(), client.Query{LambdaID: l.ID, Oldest: true})
	require.NoError(t, err)
	require.Len(t, stored, 3)
	line := func(n int, rest string) string {
		return l.ID + ";lpf-1;" + strconv.FormatInt(stored[n].Timestamp, 10) + ";" + rest + "\n"
	}
	header := "lambdaUUID;requestID;timestamp;level;message;extras\n"
	info, warn, fault := line(0, `Info;hello;"[{""a"":1}]"`), line(1, `Warn;"one; two ""three""";[]`), line(2, `Error;'=1+1;[]`)
	start := strconv.FormatInt(begin.UnixMilli(), 10)
	for name, tt := range map[string]struct {
		arguments []string
		stdout    string
	}{
		"all":                {[]string{"-s", start}, header + info + warn + fault},
		"until a time":       {[]string{"-s", start, "-e", strconv.FormatInt(begin.UnixMilli()+1, 10)}, header},
		"of two levels":      {[]string{"-s", start, "-l", "Info", "Error"}, header + info + fault},
		"without the header": {[]string{"-s", start, "--removeHeader"}, info + warn + fault},
	} {
		t.Run(name, func(t *testing.T) {
			requireEnding(t, d.run(t, append([]string{"logs", l.Name}, tt.arguments...)...), 0, tt.stdout)
		})
	}
	t.Run("by who may only look", func(t *testing.T) {
		requireEnding(t, cli.desk(t, adminRole).run(t, "logs", l.Name, "-s", start), 0, header+info+warn+fault)
	})
	t.Run("of one that is unknown", func(t *testing.T) {
		requireEnding(t, d.run(t, "logs", "nosuch", "-s", start), 1, unknown("nosuch")+"\n")
	})
	t.Run("of too long a time", func(t *testing.T) {
		got := d.run(t, "logs", l.Name, "-s", strconv.FormatInt(begin.Add(-8*24*time.Hour).UnixMilli(), 10))
		require.NotContains(t, got.stdout, "hello")
		require.Equal(t, 1, got.code, "%+v", got)
	})
}

func testLPFMetrics(t *testing.T, cli *lpf) {
	l, d := loggingLambda(t, cli, "lpf_metrics"), cli.desk(t, developerRole)
	for _, fail := range []bool{false, true, true} {
		_, err := brand(t, cli.gateway).Invoke(t.Context(), l.ID, map[string]bool{"fail": fail})
		require.Equal(t, fail, err != nil)
	}
	journalled(t, developer(t, cli.gateway), l.ID, 3)
	type bucket struct {
		From            int64 `json:"from"`
		To              int64 `json:"to"`
		Unknown         int   `json:"Unknown Errors"`
		Succeeded       int   `json:"Successful Invocations"`
		CodingFailure   int   `json:"Code-based Errors"`
		PlatformFailure int   `json:"Platform Failures"`
		Timeout         int   `json:"Timeout Errors"`
	}
	sum := func(buckets []bucket) (total bucket) {
		for _, b := range buckets {
			total.Unknown += b.Unknown
			total.Succeeded += b.Succeeded
			total.CodingFailure += b.CodingFailure
			total.PlatformFailure += b.PlatformFailure
			total.Timeout += b.Timeout
		}
		return total
	}
	want := bucket{Succeeded: 1, CodingFailure: 2}
	t.Run("as JSON", func(t *testing.T) {
		got := d.run(t, "metrics", l.Name, "-l", "33m", "-o", "json")
		require.Zero(t, got.code, "%+v", got)
		// It prints what JavaScript prints of objects.
		text := regexp.MustCompile(`(?m)([{,]\s*)'?([A-Za-z][\w -]*?)'?: `).ReplaceAllString(got.stdout, `$1"$2": `)
		var buckets []bucket
		require.NoError(t, json.Unmarshal([]byte(text), &buckets), "%s", got.stdout)
		require.Equal(t, want, sum(buckets))
		require.EqualValues(t, 300_000, buckets[0].To-buckets[0].From)
	})
	t.Run("as CSV", func(t *testing.T) {
		got := d.run(t, "metrics", l.Name, "-l", "12h", "-o", "csv")
		require.Zero(t, got.code, "%+v", got)
		rows := strings.Split(strings.TrimSpace(got.stdout), "\r\n")
		require.Equal(t, "From,To,Unknown Errors,Successful Invocations,Code-based Errors,Platform Failures,Timeout Errors", rows[0])
		var buckets []bucket
		for _, row := range rows[1:] {
			fields := strings.Split(row, ",")
			require.Len(t, fields, 7, row)
			var numbers []int
			for _, f := range fields {
				n, err := strconv.Atoi(f)
				require.NoError(t, err)
				numbers = append(numbers, n)
			}
			require.Equal(t, 3_600_000, numbers[1]-numbers[0])
			buckets = append(buckets, bucket{Unknown: numbers[2], Succeeded: numbers[3], CodingFailure: numbers[4], PlatformFailure: numbers[5], Timeout: numbers[6]})
		}
		require.Equal(t, want, sum(buckets))
	})
	t.Run("as a table", func(t *testing.T) {
		got := d.run(t, "metrics", l.Name, "-l", "7d")
		require.Zero(t, got.code, "%+v", got)
		require.Empty(t, got.stderr)
		lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
		require.Equal(t, "From To Successful Invocations Unknown Errors Code-based Errors Platform Failures Timeout Errors", strings.Join(strings.Fields(lines[0]), " "))
		sums := make([]int, 5)
		for _, line := range lines[2:] { // there is a rule below the names
			fields := strings.Fields(line)
			for i, text := range fields[len(fields)-5:] {
				n, err := strconv.Atoi(text)
				require.NoError(t, err, line)
				sums[i] += n
			}
		}
		require.Equal(t, []int{1, 0, 2, 0, 0}, sums)
	})
	t.Run("of too short a time", func(t *testing.T) {
		requireEnding(t, d.run(t, "metrics", l.Name, "-l", "14m"), 1, "Time period cannot be shorter than 15 minutes.\n")
	})
	t.Run("of the longest and the shortest time", func(t *testing.T) {
		for _, last := range []string{"30d", "15m"} {
			got := d.run(t, "metrics", l.Name, "-l", last, "-o", "csv")
			require.Zero(t, got.code, "%+v", got)
			require.Contains(t, got.stdout, "Successful Invocations")
		}
	})
	t.Run("of one that is unknown", func(t *testing.T) {
		requireEnding(t, d.run(t, "metrics", "nosuch", "-l", "1h"), 1, unknown("nosuch")+"\n")
	})
}

func testLPFAccount(t *testing.T, cli *lpf) {
	l := loggingLambda(t, cli, "lpf_account")
	_, err := brand(t, cli.gateway).Invoke(t.Context(), l.ID, nil)
	require.NoError(t, err)
	got := cli.desk(t, developerRole).run(t, "get", "account")
	require.Zero(t, got.code, "%+v", got)
	require.Empty(t, got.stderr)
	// Others use the account at the same time.
	require.Regexp(t, `(?m)^Total Functions: +[1-9]\d* / 50$`, got.stdout)
	require.Regexp(t, `(?m)^Deployed Functions: +[1-9]\d* / 50$`, got.stdout)
	require.Regexp(t, `(?m)^Total Invocations: +[1-9]\d*$`, got.stdout)
	require.Regexp(t, `(?m)^Fair Use Quota: +1% \(Invocations since [A-Z][a-z]{2} 1, \d{4}\)$`, got.stdout)
	require.Regexp(t, `(?m)^ +[1-9]\d* / 150000$`, got.stdout)
}
