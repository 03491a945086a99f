package e2e_test

import "github.com/sluice-faas/sluice/sdk/client"

// oracleCase is a small lambda. Where why is empty, the gateway's outcome equals
// that of the local runner. Else why says what the contract
// (contract/javascript-runtime.md) wants instead, ours is the gateway's outcome and
// runner the local runner's; an empty one is a runner that prints nothing.
type oracleCase struct {
	name              string
	code              string
	env               []client.Pair
	why, ours, runner string
}

// Why outcomes differ.
const (
	asText    = "§1: errorMsg must be a string for Java clients; the runner prints the value"
	badFailed = "§1: callback(err) with any other first argument is a failure; the runner's printer takes what is falsy, or no Error, for no failure"
	lastsOn   = "§1: the call must be answered; the runner's process has ended before it could print"
	notJSON   = "§1: a result that is not JSON is a custom-failure; the runner cannot send it to its printer"
)

func lambdaOf(body string) string { return "function lambda(input, callback) { " + body + " }" }

func asyncOf(body string) string { return "async function lambda(input, callback) { " + body + " }" }

var oracleCases = []oracleCase{
	// Result rules.
	{name: "callback with a result", code: lambdaOf(`callback(null, { a: 1, b: [true, null, 'x'] })`)},
	{name: "callback with undefined and a result", code: lambdaOf(`callback(undefined, 'r')`)},
	{name: "callback with null alone", code: lambdaOf(`callback(null)`)},
	{name: "callback with nothing", code: lambdaOf(`callback()`)},
	{name: "results null", code: lambdaOf(`callback(null, null)`)},
	{name: "result false", code: lambdaOf(`callback(null, false)`)},
	{name: "result 0", code: lambdaOf(`callback(null, 0)`)},
	{name: "an empty text as result", code: lambdaOf(`callback(null, '')`)},
	{name: "results of every JSON form", code: lambdaOf(`callback(null, [1e21, -0.5, 1e-7, 'ü€𝄞\u2028"\\', {}, [], { 'a b': { c: [[]] } }])`)},
	{name: "result with what JSON has no form for", code: lambdaOf(`callback(null, { u: undefined, f() {}, s: Symbol('s'), n: NaN, i: Infinity, a: [undefined, () => 1], m: new Map([[1, 2]]), r: /x/ })`)},
	{name: "result a Date", code: lambdaOf(`callback(null, { at: new Date(0), bad: new Date(NaN) })`)},
	{name: "result with toJSON", code: lambdaOf(`callback(null, { a: { toJSON: () => 'own form' }, b: Buffer.from('hi') })`)},
	{name: "result an Error", code: lambdaOf(`callback(null, new Error('as a result'))`)},
	{name: "result of a class", code: `class Point { constructor() { this.x = 1; this.#y = 2 } #y; get sum() { return this.x + this.#y } }
		function lambda(input, callback) { callback(null, new Point()) }`},
	{name: "the input is what was sent", code: lambdaOf(`const { timestamp, ...rest } = input; callback(null, rest)`)},
	{name: "calls back twice", code: lambdaOf(`callback(null, 'first'); callback(null, 'second')`)},
	{name: "calls back and then with an error", code: lambdaOf(`callback(null, 'first'); callback(new Error('second'))`)},
	{name: "calls back with an error and then a result", code: lambdaOf(`callback(new Error('first')); callback(null, 'second')`)},
	{name: "throws after calling back", code: lambdaOf(`callback(null, 'first'); throw new Error('too late')`)},
	{name: "async: rejects after calling back", code: asyncOf(`callback(null, 'first'); throw new Error('too late')`)},
	{name: "calls back later", code: lambdaOf(`setTimeout(() => callback(null, 'later'), 20)`)},
	{name: "calls back in a microtask", code: lambdaOf(`Promise.resolve().then(() => callback(null, 'soon'))`)},
	{name: "async: calls back", code: asyncOf(`await null; callback(null, 'async')`)},
	{name: "async: what it resolves with is ignored", code: asyncOf(`setTimeout(() => callback(null, 'called back'), 20); return 'returned'`)},
	{name: "what it returns is ignored", code: lambdaOf(`setTimeout(() => callback(null, 'called back'), 20); return 'returned'`)},
	{name: "returns a promise that rejects", code: lambdaOf(`return Promise.reject(new Error('refused'))`)},

	// Forms of a function.
	{name: "a lambda that is an arrow function", code: `const lambda = (input, callback) => callback(null, 'arrow');`},
	{name: "a lambda that is an async arrow function", code: `const lambda = async (input, callback) => callback(null, 'arrow');`},
	{name: "a lambda in a variable", code: `let lambda; lambda = function (input, callback) { callback(null, 'variable') };`},
	{name: "calls what is declared below", code: `function lambda(input, callback) { callback(null, below()) } function below() { return 'below' }`},
	{name: "requires built-in modules", code: `const crypto = require('crypto'); const { sep } = require('node:path')
		function lambda(input, callback) { callback(null, crypto.createHash('sha256').update('a').digest('hex') + sep) }`},
	{name: "has module, exports and require", code: lambdaOf(`callback(null, [typeof module, typeof exports, typeof require, typeof __filename])`)},
	{name: "environment variables", code: lambdaOf(`callback(null, [process.env.ORACLE_ONE, process.env.ORACLE_TWO, typeof process.env.ORACLE_TWO, process.env.ORACLE_NONE])`),
		env: []client.Pair{{Key: "ORACLE_ONE", Value: "grüße = 1"}, {Key: "ORACLE_TWO", Value: "2"}}},
	{name: "writes to process.env", code: lambdaOf(`process.env.ORACLE_NEW = 5; callback(null, process.env.ORACLE_NEW)`)},
	{name: "module.exports without a lambda", code: `module.exports = (input, callback) => callback(null, 'exported');`,
		why: "§1: accepted when there is no lambda, as very early pages have it; the runner knows only lambda", ours: `{"result":"exported"}`,
		runner: `{"code":"runtime-exception","message":"lambda is not defined","logs":[{"level":"Error","message":"Received Error - lambda is not defined","extras":[]}]}`},

	// Failure rules.
	{name: "callback with an Error", code: lambdaOf(`callback(new Error('no luck'))`)},
	{name: "callback with an Error and a result", code: lambdaOf(`callback(new Error('no luck'), 'result')`)},
	{name: "throws an Error", code: lambdaOf(`throw new Error('no luck')`)},
	{name: "async: throws an Error", code: asyncOf(`await null; throw new Error('no luck')`)},
	{name: "callback with a TypeError", code: lambdaOf(`callback(new TypeError('wrong type'))`)},
	{name: "throws a TypeError of its own making", code: lambdaOf(`undefined.property`)},
	{name: "throws a ReferenceError", code: lambdaOf(`callback(null, nowhere)`)},
	{name: "throws a SyntaxError", code: lambdaOf(`JSON.parse('{')`)},
	{name: "throws a RangeError", code: lambdaOf(`new Array(-1)`)},
	{name: "throws an Error of its own class", code: `class Refusal extends Error {} function lambda(input, callback) { throw new Refusal('own class') }`},
	{name: "throws a class made of TypeError", code: `class Odd extends TypeError {} function lambda(input, callback) { throw new Odd('of a TypeError') }`},
	{name: "an Error with a cause", code: lambdaOf(`callback(new Error('outer', { cause: new TypeError('inner') }))`)},
	{name: "an AggregateError", code: lambdaOf(`callback(new AggregateError([new Error('a'), new Error('b')], 'several'))`)},
	{name: "an Error with properties", code: lambdaOf(`callback(Object.assign(new Error('with code'), { code: 'E_ODD', statusCode: 500 }))`)},
	{name: "an Error whose message has lines", code: lambdaOf(`callback(new Error('one\ntwo "quoted" ü'))`)},
	{name: "an Error with another name", code: lambdaOf(`const e = new Error('renamed'); e.name = 'TypeError'; callback(e)`)},
	{name: "an Error of a failed require", code: lambdaOf(`try { require('fs').readFileSync('/nowhere/at/all') } catch (e) { callback(e) }`)},
	{name: "an endless recursion", code: lambdaOf(`(function again() { again() })()`)},
	{name: "throws a string", code: lambdaOf(`throw 'just text'`)},
	{name: "callback with a string", code: lambdaOf(`callback('just text')`)},
	{name: "async: rejects with a string", code: asyncOf(`throw 'just text'`)},
	{name: "callback with a number", code: lambdaOf(`callback(42)`), why: asText,
		ours:   `{"code":"custom-failure","message":"42","logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":42}]}]}`,
		runner: `{"code":"custom-failure","message":42,"logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":42}]}]}`},
	{name: "callback with an object", code: lambdaOf(`callback({ status: 'bad' })`), why: asText,
		ours:   `{"code":"custom-failure","message":"{\"status\":\"bad\"}","logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":{"status":"bad"}}]}]}`,
		runner: `{"code":"custom-failure","message":{"status":"bad"},"logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":{"status":"bad"}}]}]}`},
	{name: "an Error without a message", code: lambdaOf(`callback(new Error(''))`), why: asText + ", and an Error as {}",
		ours: `{"code":"custom-failure","message":"Error","logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":{"message":"","name":"Error","stack":"Error\n    at lambda (lambda.js:1:45)"}}]}]}`, runner: `{"code":"custom-failure","message":{},"logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":{}}]}]}`},
	{name: "callback with 0", code: lambdaOf(`callback(0, 'result')`), why: badFailed,
		ours:   `{"code":"custom-failure","message":"0","logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":0}]}]}`,
		runner: `{"result":"","logs":[{"level":"Warn","message":{"errorCode":"com.liveperson.faas.handler.custom-failure","errorMsg":"INCORRECT"},"extras":[{"originalFailure":0}]}]}`},
	{name: "callback with an empty text", code: lambdaOf(`callback('', 'result')`), why: badFailed,
		ours:   `{"code":"custom-failure","message":"","logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":""}]}]}`,
		runner: `{"result":"","logs":[{"level":"Warn","message":{"errorCode":"com.liveperson.faas.handler.custom-failure","errorMsg":"INCORRECT"},"extras":[{"originalFailure":""}]}]}`},
	{name: "callback with false", code: lambdaOf(`callback(false, 'result')`), why: badFailed,
		ours:   `{"code":"custom-failure","message":"false","logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":false}]}]}`,
		runner: `{"result":"","logs":[{"level":"Warn","message":{"errorCode":"com.liveperson.faas.handler.custom-failure","errorMsg":"INCORRECT"},"extras":[{"originalFailure":false}]}]}`},
	{name: "throws undefined", code: lambdaOf(`throw undefined`), why: badFailed,
		ours:   `{"code":"custom-failure","message":"undefined","logs":[{"level":"Warn","message":"INCORRECT","extras":[{"originalFailure":null}]}]}`,
		runner: `{"result":"","logs":[{"level":"Warn","message":{"errorCode":"com.liveperson.faas.handler.custom-failure","errorMsg":"INCORRECT"},"extras":[{}]}]}`},
	{name: "callback with what is like an Error", code: lambdaOf(`callback({ message: 'like an error' })`), why: badFailed,
		ours:   `{"code":"custom-failure","message":"like an error","logs":[{"level":"Error","message":"Received Error - like an error","extras":[]}]}`,
		runner: `{"result":"","logs":[{"level":"Error","message":{"message":"like an error"},"extras":[]}]}`},
	{name: "a result with a cycle", code: lambdaOf(`const a = {}; a.a = a; callback(null, a)`), why: notJSON,
		ours: `{"code":"custom-failure","message":"The result is not JSON: TypeError: Converting circular structure to JSON\n    --> starting at object with constructor 'Object'\n    --- property 'a' closes the circle","logs":[{"level":"Error","message":"Received Error - The result is not JSON: TypeError: Converting circular structure to JSON\n    --> starting at object with constructor 'Object'\n    --- property 'a' closes the circle","extras":[]}]}`},
	{name: "a result with a BigInt", code: lambdaOf(`callback(null, { n: 1n })`), why: notJSON,
		ours: `{"code":"custom-failure","message":"The result is not JSON: TypeError: Do not know how to serialize a BigInt","logs":[{"level":"Error","message":"Received Error - The result is not JSON: TypeError: Do not know how to serialize a BigInt","extras":[]}]}`},
	{name: "a result whose toJSON throws", code: lambdaOf(`callback(null, { toJSON() { throw new Error('no form') } })`), why: notJSON,
		ours: `{"code":"custom-failure","message":"The result is not JSON: Error: no form","logs":[{"level":"Error","message":"Received Error - The result is not JSON: Error: no form","extras":[]}]}`},
	{name: "never calls back", code: lambdaOf(`console.info('and then nothing')`), why: lastsOn,
		ours: `{"code":"executiontime-exceeded","message":"Lambda Execution is taking too long","logs":[{"level":"Info","message":"and then nothing","extras":[]},{"level":"Error","message":"Received Error - Lambda Execution is taking too long","extras":["the limit is 4s for one call, the wait for a process included: call back sooner, and set shorter limits for what the lambda waits for"]}]}`},
	{name: "async: resolves and never calls back", code: asyncOf(`return 'ignored'`), why: lastsOn,
		ours: `{"code":"executiontime-exceeded","message":"Lambda Execution is taking too long","logs":[{"level":"Error","message":"Received Error - Lambda Execution is taking too long","extras":["the limit is 4s for one call, the wait for a process included: call back sooner, and set shorter limits for what the lambda waits for"]}]}`},
	{name: "throws in a timer", code: lambdaOf(`setTimeout(() => { throw new Error('in a timer') }, 10)`), why: lastsOn,
		ours: `{"code":"custom-failure","message":"in a timer","logs":[{"level":"Error","message":"Received Error - in a timer","extras":[]}]}`},
	{name: "a rejection that nobody handles", code: lambdaOf(`setTimeout(() => Promise.reject(new TypeError('unhandled')), 10)`), why: lastsOn,
		ours: `{"code":"runtime-exception","message":"unhandled","logs":[{"level":"Error","message":"Received Error - unhandled","extras":[]}]}`},
	{name: "ends its process", code: lambdaOf(`process.exit(3)`), why: lastsOn,
		ours: `{"code":"custom-failure","message":"The lambda ended its process: process.exit(3)","logs":[{"level":"Error","message":"Received Error - The lambda ended its process: process.exit(3)","extras":[]}]}`},

	// Logging.
	{name: "logs at every level", code: lambdaOf(`console.debug('d'); console.info('i'); console.warn('w'); console.error('e'); callback(null, 1)`)},
	{name: "logs extras", code: lambdaOf(`console.info('text', { a: { b: [1, 'two', null, true] } }, 3, 'four', null, false, [5]); console.warn('none'); callback(null, 1)`)},
	{name: "logs extras that JSON changes", code: lambdaOf(`console.info('text', new Date(0), undefined, { u: undefined, d: new Date(0) }, { toJSON: () => 'own form' }, Buffer.from('hi')); callback(null, 1)`)},
	{name: "logs and fails", code: lambdaOf(`console.info('before', 1); console.error('an error, logged'); callback(new Error('no luck'))`)},
	{name: "logs more than is stored", code: lambdaOf(`for (let i = 0; i < 15; i++) console.info('line ' + i); callback(null, 1)`)},
	{name: "logs across awaits", code: asyncOf(`console.info('one'); await new Promise((r) => setTimeout(r, 10)); console.info('two'); callback(null, 1)`)},
	{name: "logs after calling back", code: lambdaOf(`callback(null, 1); console.info('after')`), why: "the result goes out with the first callback; what comes after it is the gateway's log's, and the runner prints it later",
		ours:   `{"result":1}`,
		runner: `{"result":1,"logs":[{"level":"Info","message":"after","extras":[]}]}`},
	{name: "logs text of several lines", code: lambdaOf(`console.error('one\ntwo\t"three" ü€𝄞'); console.info(''); callback(null, 1)`)},
	{name: "percent signs are no format", code: lambdaOf(`console.info('%s is %d %%', 'a', 1); callback(null, 1)`)},
	{name: "console.log", code: lambdaOf(`console.log('hello', 1); callback(null, 1)`), why: "§2: Info on a server; the runner's console has no such method",
		ours:   `{"result":1,"logs":[{"level":"Info","message":"hello","extras":[1]}]}`,
		runner: `{"code":"runtime-exception","message":"console.log is not a function","logs":[{"level":"Error","message":"Received Error - console.log is not a function","extras":[]}]}`},
	{name: "logs what is no text", code: lambdaOf(`console.info({ a: 1 }, 'extra'); console.warn(42); console.error(null); callback(null, 1)`), why: "§2: a message is text; the runner prints the value",
		ours:   `{"result":1,"logs":[{"level":"Info","message":"{ a: 1 }","extras":["extra"]},{"level":"Warn","message":"42","extras":[]},{"level":"Error","message":"null","extras":[]}]}`,
		runner: `{"result":1,"logs":[{"level":"Info","message":{"a":1},"extras":["extra"]},{"level":"Warn","message":42,"extras":[]},{"level":"Error","message":null,"extras":[]}]}`},
	{name: "logs an Error", code: lambdaOf(`const e = new Error('logged'); e.stack = 'its stack'; console.error('failed', e); callback(null, 1)`), why: "an Error in extras has its name, message and stack; JSON alone has {}",
		ours:   `{"result":1,"logs":[{"level":"Error","message":"failed","extras":[{"message":"logged","name":"Error","stack":"its stack"}]}]}`,
		runner: `{"result":1,"logs":[{"level":"Error","message":"failed","extras":[{}]}]}`},
	{name: "logs what JSON has no form for", code: lambdaOf(`console.info('text', () => 1, Symbol('s'), NaN); callback(null, 1)`), why: "extras without a form in JSON are readable; JSON alone has null",
		ours:   `{"result":1,"logs":[{"level":"Info","message":"text","extras":["[Function: anonymous]","Symbol(s)","NaN"]}]}`,
		runner: `{"result":1,"logs":[{"level":"Info","message":"text","extras":[null,null,null]}]}`},
	{name: "logs a BigInt", code: lambdaOf(`console.info('text', 1n); callback(null, 1)`), why: "extras without a form in JSON are readable; the runner cannot send them to its printer",
		ours: `{"result":1,"logs":[{"level":"Info","message":"text","extras":["1"]}]}`},
}
