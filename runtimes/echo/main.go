// Command echo is the smallest runtime: every call is answered with its payload.
// It is a template for authors of a runtime in Go and a stand-in for tests.
package main

import (
	"context"

	"github.com/sluice-faas/sluice/sdk/runtime"
)

func load(context.Context, runtime.Function) (runtime.Handler, error) {
	return runtime.HandlerFunc(func(_ context.Context, call runtime.Call) (runtime.Result, error) {
		return runtime.Result{Payload: call.Payload}, nil
	}), nil
}

func main() { runtime.Serve("echo", load) }
