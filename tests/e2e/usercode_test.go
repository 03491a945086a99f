package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// outcome is what a call of a lambda must be answered with: a result, or a
// failure of the lambda with code and message (not checked when empty).
type outcome struct {
	result  string
	code    string
	message string
}

const (
	custom    = client.CodeCustomFailure
	exception = client.CodeRuntimeException
	tooLong   = client.CodeExecutionTime
)

func TestResultsAndFailuresOfALambdaFollowTheContract(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	call := newCaller(t, g, appToken(t, g))

	for name, tt := range map[string]struct {
		code string
		want outcome
	}{
		"callback with a result":                      {`callback(null, {a: [1, 'x', null]})`, outcome{result: `{"a":[1,"x",null]}`}},
		"callback with undefined as error":            {`callback(undefined, 'text')`, outcome{result: `"text"`}},
		"callback without a result gives null":        {`callback()`, outcome{result: `null`}},
		"callback later":                              {`setTimeout(() => callback(null, 1), 5)`, outcome{result: `1`}},
		"callback twice: the first wins":              {`callback(null, 1); callback(new Error('second')); callback(null, 2)`, outcome{result: `1`}},
		"an error after the callback":                 {`callback(null, 1); throw new Error('late')`, outcome{result: `1`}},
		"a lone surrogate in the result":              {`callback(null, '\ud800')`, outcome{result: `"\ud800"`}},
		"callback with an error":                      {`callback(new Error('sorry'))`, outcome{code: custom, message: "sorry"}},
		"callback with a string":                      {`callback('just text')`, outcome{code: custom, message: "just text"}},
		"callback with false":                         {`callback(false)`, outcome{code: custom, message: "false"}},
		"callback with zero":                          {`callback(0)`, outcome{code: custom, message: "0"}},
		"callback with an object that has a message":  {`callback({message: 'inside'})`, outcome{code: custom, message: "inside"}},
		"callback with a TypeError":                   {`callback(new TypeError('bad type'))`, outcome{code: exception, message: "bad type"}},
		"callback with a RangeError":                  {`callback(new RangeError('bad range'))`, outcome{code: custom, message: "bad range"}},
		"throw an error":                              {`throw new Error('thrown')`, outcome{code: custom, message: "thrown"}},
		"throw null":                                  {`throw null`, outcome{code: custom, message: "null"}},
		"throw undefined":                             {`throw undefined`, outcome{code: custom}},
		"throw a symbol":                              {`throw Symbol('s')`, outcome{code: custom}},
		"throw a proxy that throws":                   {`throw new Proxy({}, {get() { throw 1 }, getPrototypeOf() { throw 2 }, has() { throw 3 }, ownKeys() { throw 4 }})`, outcome{code: custom}},
		"use of what is not there":                    {`input.payload.no.such.thing`, outcome{code: exception}},
		"a name that is not defined":                  {`noSuchName()`, outcome{code: exception, message: "noSuchName is not defined"}},
		"JSON.parse of what is no JSON":               {`JSON.parse('{')`, outcome{code: exception}},
		"a result that is a BigInt":                   {`callback(null, 1n)`, outcome{code: custom}},
		"a result that is a cycle":                    {`const a = {}; a.a = a; callback(null, a)`, outcome{code: custom}},
		"a result whose toJSON throws":                {`callback(null, {toJSON() { throw new Error('no') }})`, outcome{code: custom}},
		"a result that is larger than any answer":     {`callback(null, 'x'.repeat(20e6))`, outcome{code: custom}},
		"recursion without end":                       {`(function f() { f() })()`, outcome{code: custom}},
		"a rejection nobody handles":                  {`Promise.reject(new Error('forgotten'))`, outcome{code: custom, message: "forgotten"}},
		"an error in a timer":                         {`setTimeout(() => { throw new TypeError('in a timer') }, 5)`, outcome{code: exception, message: "in a timer"}},
		"an error event that nobody listens to":       {`setTimeout(() => new (require('events'))().emit('error', new Error('event')), 1)`, outcome{code: custom, message: "event"}},
		"the end of the process by exit":              {`process.exit(3)`, outcome{code: custom}},
		"the end of the process by exit with code 0":  {`process.exit(0)`, outcome{code: custom}},
		"the end of the process by reallyExit":        {`process.reallyExit(1)`, outcome{code: custom}},
		"the end of the process by abort":             {`process.abort()`, outcome{code: custom}},
		"the end of the process by a signal":          {`process.kill(process.pid, 'SIGKILL')`, outcome{code: custom}},
		"stdout and stderr are closed":                {`for (const fd of [1, 2]) try { require('fs').closeSync(fd) } catch {} callback(null, 1)`, outcome{result: `1`}},
		"stderr that looks like a log entry":          {`process.stderr.write('{"@message":1}\n{"@level":5}\n{"@message":null,"@timestamp":{}}\n'); setTimeout(() => callback(null, 1), 20)`, outcome{result: `1`}},
		"stderr in one endless line":                  {`process.stderr.write('x'.repeat(5e6), () => callback(null, 1))`, outcome{result: `1`}},
		"stdout that looks like a handshake":          {`process.stdout.write('1|1|unix|/tmp/elsewhere|grpc\n'); callback(null, 1)`, outcome{result: `1`}},
		"100 MB on stdout":                            {`let n = 0; (function w() { if (n++ == 100) return callback(null, n - 1); process.stdout.write('y'.repeat(1e6), w) })()`, outcome{result: `100`}},
		"10 000 log records":                          {`for (let i = 0; i < 10000; i++) console.log('line', i, {i}); callback(null, 1)`, outcome{result: `1`}},
		"a log record of 10 MB":                       {`console.info('z'.repeat(10e6)); callback(null, 1)`, outcome{result: `1`}},
		"log extras that are a cycle, BigInt, symbol": {`const a = {}; a.a = a; console.warn('m', a, 1n, Symbol('s'), () => 1, undefined); callback(null, 1)`, outcome{result: `1`}},
		"the loop is held for a second":               {`const end = Date.now() + 1000; while (Date.now() < end); callback(null, 1)`, outcome{result: `1`}},
	} {
		t.Run(name, func(t *testing.T) {
			l := deployed(t, author, "outcome", `function lambda(input, callback) { `+tt.code+` }`)
			requireOutcome(t, call.invoke(t, l.ID, `{}`), tt.want)
			// Whatever the call before did, the next one gets its own answer.
			requireOutcome(t, call.invoke(t, l.ID, `{}`), tt.want)
			require.NoError(t, author.Undeploy(t.Context(), l.ID))
		})
	}
}

func requireOutcome(t *testing.T, r reply, want outcome) {
	t.Helper()
	if want.code == "" {
		require.Equal(t, http.StatusOK, r.status, "%s", clip(r.body))
		require.JSONEq(t, want.result, r.body)
		return
	}
	requireError(t, r, client.StatusLambdaFailed, want.code)
	if want.message != "" {
		require.Equal(t, want.message, r.message())
	}
}

func TestAsyncLambdas(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	call := newCaller(t, g, appToken(t, g))
	for name, tt := range map[string]struct {
		code string
		want outcome
	}{
		"callback in an async function": {`async function lambda(input, callback) { await null; callback(null, 1) }`, outcome{result: `1`}},
		"a rejection":                   {`async function lambda() { throw new Error('rejected') }`, outcome{code: custom, message: "rejected"}},
		"a rejection with a TypeError":  {`async function lambda() { null.x }`, outcome{code: exception}},
		"module.exports without lambda": {`module.exports = (input, callback) => callback(null, 'exported')`, outcome{result: `"exported"`}},
		"headers reach the lambda":      {`function lambda(input, callback) { callback(null, input.headers) }`, outcome{result: `[{"key":"k","value":"v"}]`}},
	} {
		t.Run(name, func(t *testing.T) {
			l := deployed(t, author, "async", tt.code)
			requireOutcome(t, call.invoke(t, l.ID, `{"timestamp":0,"headers":[{"key":"k","value":"v"}],"payload":{}}`), tt.want)
			require.NoError(t, author.Undeploy(t.Context(), l.ID))
		})
	}
}

// neighbour calls a lambda all the time until the test ends and then demands
// that every call was answered as it should.
func neighbour(t *testing.T, author, app *client.Client) {
	t.Helper()
	l := deployed(t, author, "neighbour", versioned("n"))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var calls, failed atomic.Int64
	var first atomic.Value
	wg.Go(func() {
		for ctx.Err() == nil {
			call, done := context.WithTimeout(context.Background(), 10*time.Second)
			if _, err := app.Invoke(call, l.ID, nil); err != nil {
				failed.Add(1)
				first.CompareAndSwap(nil, err.Error())
			}
			done()
			calls.Add(1)
			time.Sleep(2 * time.Millisecond)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if n := failed.Load(); n > 0 {
			t.Errorf("%d of %d calls of the neighbour failed, the first with: %v", n, calls.Load(), first.Load())
		}
		if calls.Load() < 20 {
			t.Errorf("the neighbour was called %d times only", calls.Load())
		}
	})
}

func TestALambdaThatMisbehavesIsNotNoticedByItsNeighbour(t *testing.T) {
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	call := newCaller(t, g, appToken(t, g))
	neighbour(t, author, app)

	for name, tt := range map[string]struct {
		code string
		want outcome
	}{
		"never calls back":         {``, outcome{code: tooLong, message: "Lambda Execution is taking too long"}},
		"loops for ever":           {`for (;;);`, outcome{code: tooLong, message: "Lambda Execution is taking too long"}},
		"loops in microtasks":      {`(async () => { for (;;) await null })()`, outcome{code: tooLong, message: "Lambda Execution is taking too long"}},
		"a regular expression":     {`/^(a+)+$/.test('a'.repeat(64) + 'b')`, outcome{code: tooLong, message: "Lambda Execution is taking too long"}},
		"allocates 4 GB of heap":   {`const all = []; for (let i = 0; i < 4096; i++) all.push(new Array(131072).fill(i)); callback(null, all.length)`, outcome{code: custom}},
		"allocates 4 GB of memory": {`const all = []; for (let i = 0; i < 256; i++) all.push(Buffer.alloc(16 << 20, i + 1)); callback(null, all.length)`, outcome{code: custom}},
	} {
		t.Run(name, func(t *testing.T) {
			l := deployed(t, author, "misbehaves", `function lambda(input, callback) {
				if (input.payload.well) return callback(null, 'well');
				`+tt.code+`
			}`)
			begin := time.Now()
			requireOutcome(t, call.invoke(t, l.ID, `{}`), tt.want)
			require.Less(t, time.Since(begin), runLimit+3*time.Second)
			requireOutcome(t, call.invoke(t, l.ID, `{"payload":{"well":true}}`), outcome{result: `"well"`})
			require.NoError(t, author.Undeploy(t.Context(), l.ID))
		})
	}
}

func TestACrashFailsTheCallsThatSharedTheProcessAsThePlatformsFault(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	call := newCaller(t, g, appToken(t, g))
	l := deployed(t, author, "shared", `
		let runs = 0
		function lambda(input, callback) {
			runs++
			if (input.payload.exit) return process.exit(1)
			setTimeout(() => callback(null, runs), input.payload.wait || 0)
		}`)

	const bystanders = 5
	replies := make([]reply, bystanders)
	var wg sync.WaitGroup
	for i := range bystanders {
		wg.Go(func() {
			r, err := call.try(t.Context(), http.MethodPost, call.invokePath(l.ID), []byte(`{"payload":{"wait":2500}}`), "X-Request-ID", "bystander-"+string(rune('a'+i)))
			if err == nil {
				replies[i] = r
			}
		})
	}
	time.Sleep(500 * time.Millisecond) // they are inside by now
	requireError(t, call.invoke(t, l.ID, `{"payload":{"exit":true}}`), client.StatusLambdaFailed, custom)
	wg.Wait()
	crashed := 0
	for i, r := range replies {
		if r.status == http.StatusOK { // it ran in another process of the lambda
			continue
		}
		crashed++
		requireError(t, r, http.StatusInternalServerError, client.CodeRuntimeGeneral)
		again := call.invoke(t, l.ID, `{"payload":{"wait":2500}}`, "X-Request-ID", "bystander-"+string(rune('a'+i)))
		requireError(t, again, http.StatusInternalServerError, client.CodeRuntimeGeneral)
	}
	require.Positive(t, crashed)
	require.Equal(t, "1", call.invoke(t, l.ID, `{}`).body, "the repetitions were not run: this is a fresh process's first call")
}

func TestAnEnvironmentVariableIsSeenFromTheNextDeploymentOn(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	l := deployed(t, author, "environment", `function lambda(input, callback) { callback(null, process.env) }`)
	before := environment(t, app, l.ID)
	require.NotContains(t, before, "GREETING")
	for name := range before {
		require.False(t, strings.HasPrefix(name, "SLUICE") || strings.HasPrefix(name, "VAULT"), name)
	}
	require.NotContains(t, before, "HOME", "the gateway's own environment is not the lambda's")

	l.Source.Environment = []client.Pair{{Key: "GREETING", Value: "hällo"}}
	l, _, err := author.UpdateLambda(t.Context(), l)
	require.NoError(t, err)
	require.NotContains(t, environment(t, app, l.ID), "GREETING")
	_, err = author.DeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, "hällo", environment(t, app, l.ID)["GREETING"])
}

func environment(t *testing.T, c *client.Client, id string) map[string]string {
	t.Helper()
	got, err := c.Invoke(t.Context(), id, nil)
	require.NoError(t, err)
	env := map[string]string{}
	require.NoError(t, json.Unmarshal(got, &env))
	return env
}
