package api

// ParseInvocation is for the tests and the fuzzer.
var ParseInvocation = parseInvocation
