// Package etcdtest runs an etcd that listens on loopback, as an operator's
// cluster does, for tests of gateways that share one.
package etcdtest

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Server is a cluster of one member.
type Server struct {
	Endpoint string // host:port

	dir     string
	options []func(*embed.Config)
	etcd    *embed.Etcd
}

// Start runs a server, with its data in a folder of the test's, until the test
// ends. Options change how it is configured.
func Start(t testing.TB, options ...func(*embed.Config)) *Server {
	t.Helper()
	s := &Server{Endpoint: "127.0.0.1:0", dir: t.TempDir(), options: options}
	s.Restart(t)
	s.Endpoint = s.etcd.Clients[0].Addr().String()
	t.Cleanup(s.Stop)
	return s
}

// Restart starts a server that was stopped, with its data and at its address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	c := embed.NewConfig()
	c.Dir = s.dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	anywhere, nobody := url.URL{Scheme: "http", Host: "127.0.0.1:0"}, url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	client := url.URL{Scheme: "http", Host: s.Endpoint}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	// It is alone: nobody dials it as a peer.
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{anywhere}, []url.URL{nobody}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = 50, 250 // it elects itself
	for _, option := range s.options {
		option(c)
	}
	etcd, err := embed.StartEtcd(c)
	require.NoError(t, err)
	s.etcd = etcd
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		s.Stop()
		require.NoError(t, errors.New("etcd does not come up"))
	}
}

// Stop takes the server away, if it is there.
func (s *Server) Stop() {
	if s.etcd != nil {
		s.etcd.Close()
		s.etcd = nil
	}
}

// Client is a client that is closed when the test ends.
func (s *Server) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // its context's end is all that it reports
	return c
}
