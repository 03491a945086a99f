package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/sluice-faas/sluice/plugins"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
)

type hostSide = grpc.BidiStreamingClient[runtimev1.HostFrame, runtimev1.RuntimeFrame]

// requested receives frames until n requests are there.
func requested(t *testing.T, s hostSide, n int) (requests []*runtimev1.HostRequest) {
	t.Helper()
	for len(requests) < n {
		f, err := s.Recv()
		require.NoError(t, err)
		require.Empty(t, f.GetResults())
		requests = append(requests, f.GetRequests()...)
	}
	require.Len(t, requests, n)
	return requests
}

func replied(id uint64, key, value string) *runtimev1.HostFrame {
	return &runtimev1.HostFrame{Replies: []*runtimev1.HostReply{{RequestId: id, Reply: &runtimev1.HostReply_Secret{
		Secret: &runtimev1.Secret{Key: key, Value: []byte(value)}}}}}
}

func TestSecretsAreAskedOfTheHost(t *testing.T) {
	s := stream(t, nil, func(ctx context.Context, c Call) (Result, error) {
		read, err := c.Secrets.ReadSecret(ctx, "k")
		if err != nil {
			return Result{}, err
		}
		changed, err := c.Secrets.UpdateSecret(ctx, Secret{Key: read.Key, Value: []byte(`"new"`)})
		var fault *SecretError
		if !errors.As(err, &fault) || fault.Code != "code" {
			return Result{}, fmt.Errorf("%v %w", changed, err)
		}
		return Result{Payload: read.Value}, nil
	})
	send(t, s, call(7, "1"))
	first := requested(t, s, 1)[0]
	require.Equal(t, "k", first.GetReadSecret().GetKey())
	require.Equal(t, uint64(7), first.GetCallId())
	require.NotZero(t, first.GetId())
	send(t, s, replied(999, "of nobody", "0")) // is passed over
	send(t, s, replied(first.GetId(), "k", `"old"`))
	second := requested(t, s, 1)[0]
	require.Equal(t, "k", second.GetUpdateSecret().GetKey())
	require.Equal(t, `"new"`, string(second.GetUpdateSecret().GetValue()))
	require.NotEqual(t, first.GetId(), second.GetId())
	send(t, s, &runtimev1.HostFrame{Replies: []*runtimev1.HostReply{{RequestId: second.GetId(), Reply: &runtimev1.HostReply_Error{
		Error: &runtimev1.RequestError{Code: "code", Message: "message"}}}}})
	results, _, _ := receive(t, s, 1)
	require.Equal(t, `"old"`, string(results[0].GetPayload()), results[0].GetFailure().GetMessage())
}

func TestWhatTheHostWouldNotTakeIsNotSent(t *testing.T) {
	refused := map[string]func(ctx context.Context, s Secrets) error{
		"a key over the limit": func(ctx context.Context, s Secrets) error {
			_, err := s.ReadSecret(ctx, strings.Repeat("k", plugins.MaxSecretKey+1))
			return err
		},
		"a key that is not UTF-8": func(ctx context.Context, s Secrets) error {
			_, err := s.UpdateSecret(ctx, Secret{Key: "\xff", Value: []byte("1")})
			return err
		},
		"a value over the limit": func(ctx context.Context, s Secrets) error {
			_, err := s.UpdateSecret(ctx, Secret{Key: "k", Value: []byte(`"` + strings.Repeat("x", plugins.MaxSecret) + `"`)})
			return err
		},
		"a value that is not JSON": func(ctx context.Context, s Secrets) error {
			_, err := s.UpdateSecret(ctx, Secret{Key: "k", Value: []byte("{")})
			return err
		},
		"no value": func(ctx context.Context, s Secrets) error {
			_, err := s.UpdateSecret(ctx, Secret{Key: "k"})
			return err
		},
	}
	s := stream(t, nil, func(ctx context.Context, c Call) (Result, error) {
		for name, ask := range refused {
			var fault *SecretError
			if err := ask(ctx, c.Secrets); !errors.As(err, &fault) || fault.Code != SecretInvalid {
				return Result{}, fmt.Errorf("%s: %w", name, err)
			}
		}
		return Result{Payload: []byte("1")}, nil
	})
	send(t, s, call(1, "1"))
	results, _, _ := receive(t, s, 1)
	require.Equal(t, "1", string(results[0].GetPayload()), results[0].GetFailure().GetMessage())
}

// TestNoMoreRequestsAreOpenThanTheHostTakes also shows that a request that nobody
// waits for any more still counts until its reply comes.
func TestNoMoreRequestsAreOpenThanTheHostTakes(t *testing.T) {
	large := []byte(`"` + strings.Repeat("x", 3<<19) + `"`) // weighs 25
	sent := make(chan struct{})
	s := stream(t, nil, func(ctx context.Context, c Call) (Result, error) {
		if string(c.Payload) == "1" {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() { <-sent; cancel() }()
			if _, err := c.Secrets.UpdateSecret(ctx, Secret{Key: "k", Value: large}); !errors.Is(err, context.Canceled) {
				return Result{}, fmt.Errorf("the first: %w", err)
			}
			return Result{Payload: []byte("1")}, nil
		}
		read, err := c.Secrets.ReadSecret(ctx, "k")
		return Result{Payload: read.Value}, err
	})
	send(t, s, call(1, "1"))
	update := requested(t, s, 1)[0]
	close(sent)
	receive(t, s, 1)

	const calls = 100
	for id := range uint64(calls) {
		send(t, s, call(id+2, "2"))
	}
	left := plugins.MaxRequestWeight - plugins.RequestWeight(len(large))
	open := requested(t, s, left)
	send(t, s, replied(update.GetId(), "k", "1"))
	open = append(open, requested(t, s, plugins.MaxRequestWeight-left)...)
	ids := make(map[uint64]bool)
	for done := 0; done < calls; done++ {
		require.False(t, ids[open[0].GetId()], "an id is unique")
		ids[open[0].GetId()] = true
		send(t, s, replied(open[0].GetId(), "k", "2"))
		open = open[1:]
		for answered, more := false, done+plugins.MaxRequestWeight < calls; !answered || more; {
			f, err := s.Recv()
			require.NoError(t, err)
			open, more = append(open, f.GetRequests()...), more && len(f.GetRequests()) == 0
			answered = answered || len(f.GetResults()) > 0
		}
	}
}

func TestSecretsEndWithTheirCall(t *testing.T) {
	var left Secrets
	s := stream(t, nil, func(_ context.Context, c Call) (Result, error) {
		left = c.Secrets
		return Result{Payload: []byte("1")}, nil
	})
	send(t, s, call(1, "1"))
	receive(t, s, 1)
	_, err := left.ReadSecret(context.Background(), "k")
	require.ErrorIs(t, err, errCallOver)
}

func TestACallAsksForSecretsSoManyTimes(t *testing.T) {
	s := stream(t, nil, func(ctx context.Context, c Call) (Result, error) {
		for {
			if _, err := c.Secrets.ReadSecret(ctx, "k"); err != nil {
				return Result{}, err
			}
		}
	})
	send(t, s, call(1, "1"))
	for range plugins.MaxCallRequests {
		send(t, s, replied(requested(t, s, 1)[0].GetId(), "k", "1"))
	}
	results, _, _ := receive(t, s, 1)
	require.Equal(t, "a call may ask for secrets 1000 times", results[0].GetFailure().GetMessage())
}

func TestWhoWaitsForASecretIsToldThatTheHostHasLeft(t *testing.T) {
	waited := make(chan error, 1)
	c := client(t, loads(func(_ context.Context, c Call) (Result, error) {
		_, err := c.Secrets.ReadSecret(context.Background(), "k")
		waited <- err
		return Result{}, err
	}))
	_, err := c.Load(context.Background(), &runtimev1.LoadRequest{})
	require.NoError(t, err)
	ctx, leave := context.WithCancel(context.Background())
	s, err := c.Session(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Send(call(1, "1")))
	requested(t, s, 1)
	leave()
	require.ErrorIs(t, <-waited, errSessionOver)
}
