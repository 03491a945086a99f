package remote_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
	"github.com/sluice-faas/sluice/gateway/store/remote"
)

// certificate is one that the system vouches for, as far as this program knows.
var certificate transport.TLSInfo

// TestMain tells Go's TLS, before it asks, what the system vouches for.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "certificates")
	if err == nil {
		certificate, err = transport.SelfCert(zap.NewNop(), dir, []string{"127.0.0.1:0"}, 1)
	}
	if err == nil {
		err = os.Setenv("SSL_CERT_FILE", certificate.CertFile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir) // in the system's folder for such things
		os.Exit(code)
	}))
}

// secure makes a server speak TLS with a certificate.
func secure(info transport.TLSInfo) func(*embed.Config) {
	return func(c *embed.Config) {
		c.ClientTLSInfo = info
		c.ListenClientUrls[0].Scheme, c.AdvertiseClientUrls[0].Scheme = "https", "https"
	}
}

// unused is an address where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// silent is an address that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.Addr().String()
}

func TestAClusterThatAnswersIsUsedThroughWhicheverMemberIsUp(t *testing.T) {
	etcd := etcdtest.Start(t)
	for name, endpoints := range map[string][]string{
		"host and port":                {etcd.Endpoint},
		"a URL":                        {"http://" + etcd.Endpoint},
		"the first member is away":     {unused(t), etcd.Endpoint},
		"the first member is a puzzle": {silent(t), etcd.Endpoint},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := remote.Dial(t.Context(), endpoints, zerolog.Nop())
			require.NoError(t, err)
			defer func() { require.NoError(t, client.Close()) }()
			s := store.New(client, zerolog.Nop())
			require.NoError(t, s.Open(t.Context()))
			require.NoError(t, s.Check(t.Context()))
		})
	}
}

func TestAnEndpointWithTLSIsUsedWhenTheSystemVouchesForIt(t *testing.T) {
	etcd := etcdtest.Start(t, secure(certificate))
	client, err := remote.Dial(t.Context(), []string{"https://" + etcd.Endpoint}, zerolog.Nop())
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	require.NoError(t, store.New(client, zerolog.Nop()).Open(t.Context()))
}

func TestEndpointsThatDoNotAnswerAreNamedWithTheReasonSoon(t *testing.T) {
	etcd := etcdtest.Start(t)
	stranger, err := transport.SelfCert(zap.NewNop(), t.TempDir(), []string{"127.0.0.1:0"}, 1)
	require.NoError(t, err)
	strange := etcdtest.Start(t, secure(stranger))
	gone, mute := unused(t), silent(t)
	cases := map[string]struct {
		endpoints []string
		want      []string
	}{
		"nobody listens":            {[]string{gone}, []string{gone + ": ", "connection refused"}},
		"nobody speaks":             {[]string{mute}, []string{mute + ": nothing answers there"}},
		"no member is there":        {[]string{gone, "http://" + mute}, []string{gone + ": ", "http://" + mute + ": "}},
		"it speaks without TLS":     {[]string{"https://" + etcd.Endpoint}, []string{"https://" + etcd.Endpoint + ": ", "handshake failed"}},
		"it speaks with TLS":        {[]string{strange.Endpoint}, []string{strange.Endpoint + ": "}},
		"nobody vouches for it":     {[]string{"https://" + strange.Endpoint}, []string{"certificate signed by unknown authority"}},
		"a name that does not live": {[]string{"etcd.invalid:2379"}, []string{"etcd.invalid:2379: "}},
	}
	errs := map[string]chan error{}
	for name, tt := range cases { // all at once: each takes its time
		answer := make(chan error, 1)
		errs[name] = answer
		go func() {
			_, err := remote.Dial(context.Background(), tt.endpoints, zerolog.Nop())
			answer <- err
		}()
	}
	began := time.Now()
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			err := <-errs[name]
			require.ErrorContains(t, err, "no etcd cluster answers: ")
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
	require.Less(t, time.Since(began), 12*time.Second)
}

func TestWhoeverLeavesDoesNotWait(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := remote.Dial(ctx, []string{silent(t)}, zerolog.Nop())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 2*time.Second)
}

func TestAnOutageOfTheClusterIsSurvived(t *testing.T) {
	etcd := etcdtest.Start(t)
	var log bytes.Buffer
	client, err := remote.Dial(t.Context(), []string{etcd.Endpoint}, zerolog.New(zerolog.SyncWriter(&log)))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	s := store.New(client, zerolog.Nop())
	require.NoError(t, s.Open(t.Context()))

	etcd.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Error(t, s.Check(ctx))
	etcd.Restart(t)
	require.Eventually(t, func() bool { return s.Check(t.Context()) == nil }, 10*time.Second, 50*time.Millisecond)
	require.NotContains(t, log.String(), "retrying", "one outage is not told once for every attempt")
}
