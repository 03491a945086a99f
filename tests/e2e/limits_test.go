package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// limitCase is a lambda that wants more than it may have, and what its author is
// told: the answer, and the last line of the stored log.
type limitCase struct {
	code    string // the body of the lambda; payload well: true passes it by
	body    string // of the call
	status  int
	answer  string // errorCode; empty for a result
	message string // that it contains; of a result, all of it
	log     string // what the log contains
}

const lambdaFailed = client.StatusLambdaFailed

var limitCases = map[string]limitCase{
	"time, waiting": {
		status: lambdaFailed, answer: tooLong, message: "Lambda Execution is taking too long",
		log: "the limit is 4s for one call, the wait for a process included: call back sooner",
	},
	"time, working": {
		code: `for (;;);`, status: lambdaFailed, answer: tooLong, message: "Lambda Execution is taking too long",
		log: "the limit is 4s for one call, the wait for a process included: call back sooner",
	},
	"memory of the heap": {
		code:   `const all = []; for (;;) all.push(new Array(131072).fill(all.length))`,
		status: lambdaFailed, answer: custom, message: "The lambda is out of memory: the limit is 256 MiB for all calls of a process together. Keep less in memory at once.",
		log: "Received Error - The lambda is out of memory: the limit is 256 MiB",
	},
	"memory beside the heap": {
		code:   `const all = []; for (;;) all.push(Buffer.alloc(16 << 20, 1))`,
		status: lambdaFailed, answer: custom, message: "The lambda is out of memory: the limit is 256 MiB for all calls of a process together. Keep less in memory at once.",
		log: "Received Error - The lambda is out of memory: the limit is 256 MiB",
	},
	"a result": {
		code:   `callback(null, 'x'.repeat(7 << 20))`,
		status: lambdaFailed, answer: custom, message: "6291456 bytes", log: "6291456 bytes",
	},
	"a payload": {
		body:   `{"payload":"` + strings.Repeat("x", 6<<20) + `"}`,
		status: http.StatusRequestEntityTooLarge, answer: badInput, message: "the body is larger than the limit of 6291456 bytes: send less, or in parts",
	},
	"headers": {
		body:   `{"headers":[` + strings.Repeat(`{"key":"k","value":"v"},`, 1000) + `{"key":"k","value":"v"}],"payload":{}}`,
		status: http.StatusBadRequest, answer: badInput, message: "headers has more than 1000 entries: that is the limit, send fewer",
	},
	"records of a log": {
		code:   `for (let i = 0; i < 11; i++) console.info('line ' + i); callback(null, 'logged')`,
		status: http.StatusOK, message: `"logged"`,
		log: "com.liveperson.faas.handler.log-limit-reached: the call logged 11 records with 67 characters: the limits are 10 records and 6000 characters, log less",
	},
	"characters of a log": {
		code:   `console.info('x'.repeat(7000)); callback(null, 'logged')`,
		status: http.StatusOK, message: `"logged"`,
		log: "com.liveperson.faas.handler.log-limit-reached: the call logged 1 records with 7000 characters: the limits are 10 records and 6000 characters, log less",
	},
	"its process": {
		code:   `process.exit(7)`,
		status: lambdaFailed, answer: custom, message: "The lambda ended its process: process.exit(7)", log: "Received Error - The lambda ended its process: process.exit(7)",
	},
	"requests to the gateway": {
		code: `const secrets = require('lp-faas-toolbelt').Toolbelt.SecretClient();
			Promise.allSettled(Array.from({ length: 2000 }, () => secrets.readSecret('nothere'))).then((all) => {
				const texts = [...new Set(all.map((one) => one.reason?.message))]; callback(null, texts) })`,
		status:  http.StatusOK,
		message: `["There is no Secret nothere for this account","Reading Secret nothere failed: a call may ask for secrets 1000 times, keep what was read"]`,
	},
}

func TestALimitIsNamedToWhoMeetsIt(t *testing.T) {
	t.Parallel()
	short := sharedGateway(t)
	// On a busy machine it takes a while to need too much memory.
	g := ownGateway(t, t.TempDir(), "--no-sample", "--limit", "run-time=25s,"+dev.NoLimits)
	testLimits(t, short, func(c limitCase) bool { return c.answer == tooLong })
	testLimits(t, g, func(c limitCase) bool { return c.answer != tooLong })
	t.Run("code", func(t *testing.T) {
		_, err := developer(t, g).CreateLambda(t.Context(), client.LambdaSpec{Name: newName("limit"), Description: "large", Code: strings.Repeat("// large\n", 12_000)})
		require.ErrorContains(t, err, "implementation.code has 108000 characters: the limit is 100000, shorten it")
	})
}

// testLimits has a neighbour called all the time while others meet their limits.
func testLimits(t *testing.T, g *dev.Gateway, chosen func(limitCase) bool) {
	t.Helper()
	author, app, reader := developer(t, g), brand(t, g), as(t, g, invocationRole)
	call := newCaller(t, g, appToken(t, g))
	neighbour(t, author, app)
	for name, c := range limitCases {
		if !chosen(c) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			l := deployed(t, author, "limit", `function lambda(input, callback) {
				if (input.payload.well) return callback(null, 'well');
				`+c.code+`
			}`)
			body := c.body
			if body == "" {
				body = `{}`
			}
			r := call.invoke(t, l.ID, body)
			if c.answer == "" {
				require.Equal(t, c.status, r.status, clip(r.body))
				require.JSONEq(t, c.message, r.body)
			} else {
				requireError(t, r, c.status, c.answer)
				require.Contains(t, r.message(), c.message)
			}
			if c.log != "" {
				require.Contains(t, lastLine(t, reader, l.ID), c.log)
			}
			requireOutcome(t, call.invoke(t, l.ID, `{"payload":{"well":true}}`), outcome{result: `"well"`})
			require.NoError(t, author.Undeploy(t.Context(), l.ID))
		})
	}
}

// lastLine waits for a lambda's log and gives its newest line with its extras.
func lastLine(t *testing.T, reader *client.Client, lambdaID string) string {
	t.Helper()
	var line string
	eventually(t, "its log is stored", func() bool {
		lines, _, err := reader.Logs(t.Context(), client.Query{LambdaID: lambdaID, Limit: 1})
		require.NoError(t, err)
		if len(lines) == 0 {
			return false
		}
		text, err := json.Marshal(lines[0].Extras)
		require.NoError(t, err)
		line = lines[0].Message + " " + string(text)
		return true
	})
	return line
}
