package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
)

// client is that of one etcd which all tests of the package share; each test
// uses accounts of its own.
var client *clientv3.Client

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := embedded.Start(context.Background(), embedded.Config{Dir: dir, Log: zerolog.New(os.Stderr)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	client = server.Client()
	code := m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// clock can be set.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) Forward(d time.Duration) { c.offset.Add(int64(d)) }

func open(t *testing.T) *store.Store {
	t.Helper()
	s := store.New(client, zerolog.New(zerolog.NewTestWriter(t)))
	require.NoError(t, s.Open(t.Context()))
	return s
}

func newAccount() string { return strconv.Itoa(10_000_000 + rand.N(1_000_000_000)) }

func newLambda(account, name string) *lambda.Lambda {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &lambda.Lambda{
		Account: account, ID: uuid.NewString(), Name: name, Description: "a test", Runtime: "javascript", Version: 1,
		Code:        "function lambda(input, callback) { callback(null, '<b>' && 'ü') }",
		Environment: []lambda.Pair{{Key: "A", Value: "1"}}, Dependencies: []lambda.Pair{{Key: "x", Value: "1.0.0"}},
		CreatedAt: now, CreatedBy: "dev", UpdatedAt: now, UpdatedBy: "dev",
	}
}

func create(t *testing.T, s *store.Store, l *lambda.Lambda) store.Record {
	t.Helper()
	r, err := s.CreateLambda(t.Context(), l, nil)
	require.NoError(t, err)
	return r
}

func requireKind(t *testing.T, err error, kind lambda.Kind, code string) {
	t.Helper()
	e := lambda.As(err)
	require.NotNil(t, e, "want a lambda.Error, got %v", err)
	require.Equal(t, kind, e.Kind, "%v", err)
	require.Equal(t, code, e.Code, "%v", err)
}

func view(t *testing.T, s *store.Store) *store.Views {
	t.Helper()
	v, err := s.OpenViews(t.Context())
	require.NoError(t, err)
	t.Cleanup(v.Close)
	return v
}

func rollouts(t *testing.T, s *store.Store) *store.Rollouts {
	t.Helper()
	r, err := s.OpenRollouts(t.Context())
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func register(t *testing.T, s *store.Store) *store.Presence {
	t.Helper()
	p, err := s.Register(t.Context(), uuid.NewString(), 2*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close(context.Background()) })
	return p
}
