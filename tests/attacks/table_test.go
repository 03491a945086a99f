package attacks_test

import "github.com/sluice-faas/sluice/sdk/client"

const done = "done.*"

const secretRefused = `com\.liveperson\.faas\.secret\.(not-found|op-failed|invalid-format)`

const failed = "(custom-failure|runtime-exception|executiontime-exceeded)"

// attacks is the list. Outcomes stand as off, auto without namespaces, required.
var attacks = []attack{
	{file: "read-host", about: "files of the host", tries: tries{
		"read *": {done, "EACCES", "its own"}, "read /etc/shadow": {done, "EACCES", "ENOENT"},
		"list *": {"done.*|ENOENT", "EACCES|ENOENT", "ENOENT"},
	}},
	{file: "read-data", about: "the data folder and the control socket", tries: tries{
		"command by the control socket": {"refused", "refused", "ENOENT"},
		"*":                             {done, "EACCES", "ENOENT"},
	}},
	{file: "neighbour", about: "the process of another account's lambda", tries: tries{
		"*": {done, "EACCES|EPERM", "ENOENT"},
		// Where it knows the name, which it cannot list: this kernel's Landlock says
		// nothing of unix sockets, and both run as one user.
		"call its socket": {done, done, "ENOENT"},
	}},
	{file: "gateway-memory", about: "the gateway's memory, by /proc", tries: tries{
		"open *":       {done, "EACCES|EPERM", "ENOENT"},
		"write to mem": {done, "EACCES|EPERM", "ENOENT"},
		"read *":       {"done.*|ENOENT", "EACCES|ENOENT", "ENOENT"},
	}},
	{file: "processes", about: "who else runs", tries: tries{
		"list /proc": {done, "EACCES", "EACCES|ENOENT|nobody else"},
		"see *":      {done, done, "ENOENT"}, "see its parent": {done, "EACCES", "ENOENT"},
		"learn its number on the host": {done, done, "it is process 1 in a world of its own"},
	}},
	{file: "signals", about: "signals to others", tries: tries{
		"signal *":         {done, "EPERM|ESRCH", "EPERM|ESRCH"},
		"kill *":           {"EPERM|ESRCH", "EPERM|ESRCH", "EPERM|ESRCH"},
		"signal process 2": {"done.*|EPERM", "EPERM|ESRCH", "EPERM|ESRCH"},
	}},
	{file: "tcp", about: "connections by TCP, past the proxy", reaches: []mode{off}, tries: tries{
		"*": {done, "EACCES|EPERM", "EACCES|ECONNREFUSED"},
	}},
	{file: "udp", about: "datagrams", reaches: []mode{off}, tries: tries{
		"*": {done, "EACCES|EPERM", "EACCES|EPERM"},
	}},
	{file: "unix", about: "unix sockets of other programs", reaches: []mode{off, weak}, tries: tries{
		"by *":     {done, done, "ENOENT"},
		"abstract": {done, "EACCES|EPERM", "ECONNREFUSED"},
	}},
	{file: "listen", about: "doors of its own", outside: knock, tries: tries{
		"TCP":      {done, "EACCES|EPERM", "EACCES"},
		"abstract": {done, done, "out of reach"},
		"path":     {done, "EACCES", "EACCES"},
	}},
	{file: "dns", about: "name servers", notOff: "it would ask the host's name server", tries: tries{
		"*": {"", "E.*", "E.*"},
	}},
	{file: "netlink", about: "interfaces and names of the host", tries: tries{
		"list interfaces":        {done, "E.*", "E.*|none but lo"},
		"learn the host's name":  {done, done, "another name"},
		"learn who runs it":      {done, "E.*", "its own"},
		"the report's host name": {done, done, "another name"},
	}},
	{file: "spawn", about: "other programs, by child_process and below it", tries: tries{
		"*": {done, "EPERM|EACCES|ENOSYS", "EPERM|EACCES|ENOENT|ENOSYS"},
	}},
	{file: "execve", about: "another program in its place", drive: requireSameProgram, tries: tries{"*": {done, ".*signal: (aborted|segmentation fault).*|.*EPERM.*|.*EACCES.*", ".*signal: (aborted|segmentation fault).*|.*EPERM.*|.*EACCES.*|.*ENOENT.*"}}},
	{file: "fork-bomb", about: "a fork bomb", tries: tries{
		"*": {done, "EPERM|EACCES|ENOSYS|EAGAIN", "EPERM|EACCES|ENOSYS|EAGAIN|ENOENT"},
	}},
	{file: "survive", about: "a child that outlives it", tries: tries{
		"*": {done, "EPERM|EACCES|ENOSYS", "EPERM|EACCES|ENOSYS|ENOENT"},
	}},
	{file: "addon", about: "native code", tries: tries{
		"write it to *":        {done, "done.*|E.*", "done.*|E.*"},
		"load it *":            {"done.*|disabled", "E.*|disabled|no such file|permission denied", "E.*|disabled|no such file|permission denied"},
		"an engine of OpenSSL": {"E.*", "E.*", "E.*"},
	}},
	{file: "inherited", about: "descriptors of the gateway that were left open", tries: tries{"*": {"none", "none", "none"}}},
	{file: "privileges", about: "rights: users, modes, priorities", tries: tries{
		"*": {done, "EPERM|EACCES|not root|nothing came of it", "EPERM|EACCES|not root|nothing came of it|ESRCH"},
	}},
	{file: "links", about: "names in its own folder", tries: tries{
		"*": {done, "E.*", "E.*"},
	}},
	{file: "sqlite", about: "files, by SQLite", tries: tries{"*": {done, "unable to open database file", "unable to open database file"}}},
	{file: "wasi", about: "files, by WASI", tries: tries{"*": {done, "UVWASI_EACCES", "UVWASI_ENOENT"}}},
	{file: "inspector", about: "a debugger's port", outside: knock, tries: tries{
		"*":           {done, "E.*|out of reach", "out of reach"},
		"by a signal": {"no port", "no port", "no port"},
	}},
	{file: "environment", about: "variables that change how Node and the loader start", drive: requireOwnEnvironment, environment: attackEnvironment, tries: tries{"*": {"as it was", "as it was", "as it was"}}},
	{file: "big-environment", about: "a huge environment and title", may: true, answer: failed, tries: tries{"*": {"kept out", "kept out", "kept out"}}},
	{file: "secrets", about: "secrets of another account", tries: tries{
		"read *":    {secretRefused, secretRefused, secretRefused},
		"change it": {secretRefused, secretRefused, secretRefused},
	}},
	{file: "swap", about: "the answers of other calls", drive: requireOwnAnswers, tries: tries{"*": {"its own", "its own", "its own"}}},

	{file: "fetch", about: "the host itself, by HTTP and all its names", notOff: "the account's whitelist counts there, too", prepare: listLocalhost, tries: tries{
		"*":                        {"", "EGRESS_DENIED not-listed", "EGRESS_DENIED not-listed"},
		"http.get":                 {"", "403", "403"},
		"http.get without a proxy": {"", "EACCES|EPERM", "EACCES"},
		"WebSocket":                {"", "refused", "refused"},
		"fetch localhost":          {"", "EGRESS_DENIED private-address", "EGRESS_DENIED private-address"},
		"fetch LOCALHOST":          {"", "EGRESS_DENIED private-address", "EGRESS_DENIED private-address"},
	}},
	{file: "redirect", about: "a way round by an allowed host", notOff: "it would be sent on to a real address", prepare: allowLocalhost,
		reaches: []mode{weak, required}, tries: tries{"*": {"", "EGRESS_DENIED not-listed", "EGRESS_DENIED not-listed"}, "to file:*": {"", "fetch failed|URL scheme .*", "fetch failed|URL scheme .*"}}},
	{file: "proxy", about: "the proxy itself", notOff: "there is none", variants: []string{"tricks", "connections", "slow headers", "huge headers", "half-open", "requests"}, tries: tries{
		"*": {"", "4..|closed|kept out|ECONNRESET|EPIPE", "4..|closed|kept out|ECONNRESET|EPIPE"},
	}},

	{file: "disk", about: "the disk and shared memory", tries: tries{
		"*": {"done.*|ENOENT|EACCES", "E.*", "E.*"},
	}},
	{file: "leave-files", about: "files for the next one", outside: lookForMark, tries: tries{
		"*": {done, "E.*|private", "E.*|private"},
	}},
	{file: "descriptors", about: "file descriptors", tries: tries{"*": {"done.*|EMFILE", "EMFILE", "EMFILE"}}},
	{file: "threads", about: "threads", may: true, answer: failed, tries: tries{"*": {done, "E.*", "E.*"}}},
	{file: "heap", about: "memory: the heap", notOff: same, answer: "out of memory|memory", tries: tries{}},
	{file: "buffers", about: "memory: buffers", notOff: same, answer: "memory", tries: tries{}},
	{file: "array-buffers", about: "memory: shared and of WebAssembly", notOff: same, answer: "memory", tries: tries{}},
	{file: "worker-heaps", about: "memory: the heaps of many threads", notOff: same, answer: "memory|" + failed, tries: tries{}},
	{file: "flood-log", about: "the log", notOff: same, tries: tries{"*": {"", "kept out", "kept out"}}},
	{file: "flood-output", about: "stdout and stderr", notOff: same, tries: tries{"*": {"", "kept out", "kept out"}}},
	{file: "stream", about: "the session with the gateway", notOff: same, may: true, answer: ".*", tries: tries{"*": {"", ".*", ".*"}}, variants: []string{
		"garbage", "frames of garbage", "results for calls that never were", "results for every call", "a huge frame", "an impossible length",
		"logs for calls that never were", "an end of every stream", "settings without end", "pings without end", "empty frames without end", "a goodbye",
	}},
	{file: "close-all", about: "all descriptors of its process", notOff: same, answer: ".*", tries: tries{}},
	{file: "block", about: "the event loop", notOff: same, answer: "executiontime-exceeded", tries: tries{}, variants: []string{
		"loop", "microtasks", "ticks", "immediates", "wait", "regex", "bigint", "json", "compile", "wasm",
	}},
	{file: "exit", about: "its own process", notOff: same, may: true, answer: failed, tries: tries{}, variants: []string{
		"exit", "reallyExit", "abort", "SIGKILL", "SIGSTOP", "SIGTERM", "SIGSEGV by its own name", "the binding", "a deep stack of native code", "an exit from an exit", "caught and again",
	}},
	{file: "exit-while-read", about: "every process that reads it", notOff: same, deploy: "Deploy Error|ended|process", tries: tries{}},
	{file: "pollute", about: "the language under the runtime", notOff: same, answer: ".*", drive: requireEcho, tries: tries{"*": {"", "kept out|its own fault.*", "kept out|its own fault.*"}}, variants: []string{
		"Object.prototype setters", "Object.prototype values", "JSON", "Array.prototype", "Array iteration", "an array index setter", "Promise.prototype.then", "Map and Set",
		"Buffer", "Uint8Array", "EventEmitter", "process.emit", "timers", "Symbol.species", "Function.prototype", "String.prototype", "Math and Date", "AsyncLocalStorage",
		"streams", "http2", "fs", "globals", "everything frozen",
	}},
}

const same = "the sandbox has no part in it"

// attackEnvironment are variables by which the loader, the C library, OpenSSL or
// Node would do something else from the start.
var attackEnvironment = []client.Pair{
	{Key: "LD_AUDIT", Value: "/tmp/attack.so"}, {Key: "LD_DEBUG", Value: "all"}, {Key: "GCONV_PATH", Value: "/tmp"},
	{Key: "OPENSSL_CONF", Value: "/tmp/attack.cnf"}, {Key: "OPENSSL_MODULES", Value: "/tmp"}, {Key: "NODE_V8_COVERAGE", Value: "/tmp"},
	{Key: "NODE_REDIRECT_WARNINGS", Value: "/tmp/attack"}, {Key: "NODE_TLS_REJECT_UNAUTHORIZED", Value: "0"}, {Key: "UV_THREADPOOL_SIZE", Value: "1000"},
	{Key: "HOSTALIASES", Value: "/tmp/attack"}, {Key: "GRPC_TRACE", Value: "all"},
}
