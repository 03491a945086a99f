package e2e_test

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// crmCode is a lambda as brands write them: it reads a secret, logs, and fails
// when it is asked to.
const crmCode = `const { Toolbelt } = require('lp-faas-toolbelt');

async function lambda(input, callback) {
  try {
    const { value } = await Toolbelt.SecretClient().readSecret('crm-login');
    console.debug('asked for ' + input.payload.order);
    console.info('order ' + input.payload.order, { user: value.user });
    if (input.payload.order === 'lost') {
      console.warn('=HYPERLINK("http://evil")', 1, [2]);
      throw new Error('There is no order ' + input.payload.order);
    }
    callback(null, { order: input.payload.order, as: value.user, region: process.env.REGION });
  } catch (error) {
    callback(error);
  }
}
`

// TestAWorkingDayWithThePublicCLI is the story from an empty folder to the report
// on what ran, as a developer and an admin live it with lpf, which knows nothing
// of this gateway. What lpf has no command for goes by the API.
func TestAWorkingDayWithThePublicCLI(t *testing.T) {
	t.Parallel()
	began := time.Now()
	g := ownGateway(t, t.TempDir(), append([]string{"--no-sample"}, lpfDomains...)...)
	cli := newLPF(t, g)
	cli.login(t, developerRole)
	cli.login(t, adminRole)
	dev, boss := cli.desk(t, developerRole), cli.desk(t, adminRole)
	admin := as(t, g, adminRole)
	const name, password = "crm_orders", "correct horse battery staple"

	// The admin prepares the account: a secret and a domain.
	_, err := admin.CreateSecret(t.Context(), "crm-login", map[string]string{"user": "ada", "password": password})
	require.NoError(t, err)
	require.Zero(t, boss.run(t, "add:domain", "crm.example.com").code)

	// The developer writes a function for an event, and brings it live.
	requireEnding(t, dev.run(t, "create:function", "-n", name, "-d", "finds an order", "-e", "conversational_command"), 0,
		"The function \""+name+"\" has been created\n")
	dev.write(t, "project/functions/"+name+"/index.js", crmCode)
	dev.write(t, "project/functions/"+name+"/config.json", `{"name":"`+name+`","event":"conversational_command","description":"finds an order",
		"input":{"headers":[],"payload":{"order":"7"}},"environmentVariables":[{"key":"REGION","value":"Z1"}]}`)
	require.Zero(t, dev.run(t, "push", name, "--yes").code)
	requireEnding(t, dev.run(t, "deploy", name, "--yes"), 0, task("Deploying", name, "completed"))
	l := lambdaNamed(t, as(t, g, developerRole), name)
	require.NotNil(t, row(t, dev.run(t, "get", "events"), "Conversational Command")) // it asks for functions first, and wants one
	require.Equal(t, "conversational_command", l.EventID)

	// A test by hand shows the result and all levels; a brand calls it by its id and
	// by its event, and meets the error.
	tested := dev.run(t, "invoke", name)
	require.Zero(t, tested.code, "%+v", tested)
	for _, part := range []string{`"as": "ada"`, `"region": "Z1"`, `"level": "Debug"`, `asked for 7`} {
		require.Contains(t, tested.stdout, part)
	}
	c := newCaller(t, g, appToken(t, g))
	require.Equal(t, 200, c.invoke(t, l.ID, `{"timestamp":0,"payload":{"order":"8"}}`).status)
	byEvent := c.send(t, http.MethodPost, "/api/account/"+c.account+"/events/conversational_command/invoke?v=1&externalSystem=crm", []byte(`{"payload":{"order":"9"}}`))
	require.Equal(t, 200, byEvent.status, byEvent.body)
	require.Contains(t, byEvent.body, `"order":"9"`)
	lost := c.invoke(t, l.ID, `{"payload":{"order":"lost"}}`, "X-Request-ID", "the lost one")
	requireError(t, lost, 901, "com.liveperson.faas.handler.custom-failure")
	require.Equal(t, "There is no order lost", lost.message())

	t.Run("logs", func(t *testing.T) {
		since := strconv.FormatInt(began.UnixMilli(), 10)
		var lines [][]string
		require.Eventually(t, func() bool {
			lines = csvOf(t, dev.run(t, "logs", name, "-s", since))
			return len(lines) == 6
		}, 20*time.Second, 100*time.Millisecond, "a header, three orders, a warning and an error")
		require.Equal(t, []string{"lambdaUUID", "requestID", "timestamp", "level", "message", "extras"}, lines[0])
		require.Equal(t, []string{l.ID, "Info", "order 8", `[{"user":"ada"}]`}, []string{lines[1][0], lines[1][3], lines[1][4], lines[1][5]})
		require.Equal(t, []string{"the lost one", "Warn", `'=HYPERLINK("http://evil")`, "[1,[2]]"}, []string{lines[4][1], lines[4][3], lines[4][4], lines[4][5]})
		require.Equal(t, "Received Error - There is no order lost", lines[5][4])
		for _, line := range lines {
			require.NotContains(t, line[4], "asked for", "what is logged as debug, or in a test by hand, is not stored")
		}
		only := csvOf(t, dev.run(t, "logs", name, "-s", since, "-l", "Warn", "Error", "-r"))
		require.Equal(t, lines[4:], only)
		require.Contains(t, dev.run(t, "logs", "unknown", "-s", since).stdout, "Function unknown were not found on the platform")
	})

	t.Run("metrics", func(t *testing.T) {
		got := dev.run(t, "metrics", name, "-l", "1h", "-o", "json")
		require.Zero(t, got.code, "%+v", got)
		require.Contains(t, got.stdout, "'Successful Invocations': 3")
		require.Contains(t, got.stdout, "'Code-based Errors': 1")
		require.Contains(t, dev.run(t, "metrics", name, "-l", "5m").stdout, "Time period cannot be shorter than 15 minutes.")
		var succeeded, failed int64
		buckets, err := as(t, g, developerRole).Report(t.Context(), l.ID, client.Query{From: began.Add(-time.Hour), To: time.Now().Add(time.Minute)}, 5*time.Minute)
		require.NoError(t, err)
		for _, b := range buckets {
			succeeded, failed = succeeded+b.Succeeded, failed+b.CodingFailure
		}
		require.Equal(t, []int64{3, 1}, []int64{succeeded, failed})
	})

	// A schedule; the account; and all that happened, for whoever asks later.
	scheduled := dev.run(t, "create:schedule", "-f", name, "-c", "30 4 * * 1")
	require.Zero(t, scheduled.code, "%+v", scheduled)
	schedules, err := admin.Schedules(t.Context())
	require.NoError(t, err)
	require.Len(t, schedules, 1)
	require.Contains(t, scheduled.stdout, strconv.Itoa(schedules[0].Next.Year()))
	account := dev.run(t, "get", "account")
	require.Zero(t, account.code, "%+v", account)
	require.Contains(t, account.stdout, "150000")

	requireEnding(t, dev.run(t, "undeploy", name, "--yes"), 0, task("Undeploying", name, "completed"))
	schedules, err = admin.Schedules(t.Context())
	require.NoError(t, err)
	require.Empty(t, schedules, "what is not deployed is not called")

	activities, _, err := admin.Activities(t.Context(), client.Query{From: began.Add(-time.Minute)})
	require.NoError(t, err)
	var told []string
	for _, a := range activities { // the newest first
		told = append([]string{a.Action + " " + a.Noun + " " + a.Name}, told...)
	}
	require.Equal(t, []string{
		"create secret crm-login", "create domain crm.example.com", "create lambda " + name, "deploy lambda " + name,
		"create schedule " + name, "undeploy lambda " + name, "delete schedule " + name,
	}, told)

	// The one thing that nobody wrote anywhere.
	require.NotContains(t, g.Output(), password)
	text, err := json.Marshal(activities)
	require.NoError(t, err)
	require.NotContains(t, string(text), password)
}

// csvOf reads what lpf logs printed.
func csvOf(t *testing.T, got ending) [][]string {
	t.Helper()
	require.Zero(t, got.code, "%+v", got)
	r := csv.NewReader(strings.NewReader(strings.TrimSpace(got.stdout) + "\n"))
	r.Comma, r.FieldsPerRecord = ';', -1
	lines, err := r.ReadAll()
	require.NoError(t, err, got.stdout)
	return lines
}
