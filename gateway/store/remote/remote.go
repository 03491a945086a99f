// Package remote connects to an etcd cluster of the operator's, which several
// gateways share. The gateway keeps working through an outage of the cluster as
// far as it can: the client connects again by itself, and takes whichever member
// answers.
package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/status"

	"github.com/sluice-faas/sluice/gateway/store/zaplog"
)

const (
	// answerTimeout is how long the cluster may take to answer at the start, and
	// reasonTimeout how long its members may take, after that, to show why not.
	answerTimeout = 5 * time.Second
	reasonTimeout = 2 * time.Second

	// A connection that is silently cut, as firewalls do it, is noticed within the
	// two together. Members refuse pings more often than every 5 s.
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
)

// attemptNoise is what the client says of each attempt at a request, whether it
// is repeated, or refused for good reason, or its caller has left. Whoever made
// the request tells how it ended.
var attemptNoise = []string{"retrying of unary invoker failed"}

// Dial connects to the members at endpoints, each host:port or, with TLS that
// the system's certificates vouch for, https://host:port, and returns when the
// cluster has answered. When it does not, the error names the endpoints with
// what is wrong with each. The caller closes the client.
func Dial(ctx context.Context, endpoints []string, log zerolog.Logger) (*clientv3.Client, error) {
	config := clientv3.Config{
		Endpoints: endpoints, DialTimeout: answerTimeout,
		DialKeepAliveTime: keepAliveTime, DialKeepAliveTimeout: keepAliveTimeout,
		Logger: zaplog.New(log, attemptNoise),
	}
	if len(endpoints) > 0 && strings.HasPrefix(endpoints[0], "https://") {
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(endpoints, ", "), err)
	}
	if err := ask(ctx, client); err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("no etcd cluster answers: %w", reasons(ctx, client, err))
		}
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// ask makes a read to which most members must agree.
func ask(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := client.Get(ctx, "\x00", clientv3.WithKeysOnly())
	return err
}

// reasons tells of each endpoint why the cluster may not answer with err.
func reasons(ctx context.Context, client *clientv3.Client, err error) error {
	ctx, cancel := context.WithTimeout(ctx, reasonTimeout)
	defer cancel()
	endpoints := client.Endpoints()
	found := make([]error, len(endpoints))
	var wg sync.WaitGroup
	for i, endpoint := range endpoints {
		wg.Go(func() {
			found[i] = fmt.Errorf("%s: %w", endpoint, reason(ctx, client, endpoint, err))
		})
	}
	wg.Wait()
	return errors.Join(found...)
}

// reason asks one member, without waiting for it to come up.
func reason(ctx context.Context, client *clientv3.Client, endpoint string, err error) error {
	conn, derr := client.Dial(endpoint)
	if derr != nil {
		return derr
	}
	defer func() { _ = conn.Close() }() // it was only to learn something
	s, serr := etcdserverpb.NewMaintenanceClient(conn).Status(ctx, &etcdserverpb.StatusRequest{})
	switch {
	case serr != nil && ctx.Err() != nil:
		return errors.New("nothing answers there")
	case serr != nil:
		return errors.New(status.Convert(serr).Message())
	case s.GetLeader() == 0:
		return errors.New("it has no leader: most of its cluster must be up")
	}
	return err
}
