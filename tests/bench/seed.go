package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	perAccount   = 50 // lambdas: the platform's limit
	seedWriters  = 128
	firstAccount = 20_000_000
)

// seeded is a lambda that is deployed in a data folder, with the app of its
// account that may call it.
type seeded struct{ account, id, clientID, secret string }

// seed deploys lambdas of an ordinary size in the data folder of that name: home
// of them in the demo account, and perAccount in each of as many others as total
// takes. One is deployed by the gateway. The others are written by the product's
// own store, step by step as a gateway does it, with what the runtime built for
// that one: total deployments by a gateway would start as many processes. The
// demo account's come first.
func (b *bench) seed(ctx context.Context, folder string, home, total int) (all []seeded, err error) {
	model, err := b.deployOrdinary(ctx, folder)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	member, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(b.dir, folder, "etcd"), Log: zerolog.Nop()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, member.Close()) }()
	w, err := newSeeder(ctx, member.Client(), model)
	if err != nil {
		return nil, err
	}
	defer w.presence.Close(ctx)
	all = append(all, model)
	for i := 1; i < total; i++ {
		s := model
		if i >= home {
			s = w.elsewhere((i - home) / perAccount)
		}
		s.id = uuid.NewString()
		all = append(all, s)
	}
	if err := w.deployAll(ctx, all[1:], model.account); err != nil {
		return nil, err
	}
	b.report.note("%s: %d lambdas of %d bytes of code, %d an account, written by gateway/store in %.0f s with the artifact that the runtime built for one of them",
		folder, total, len(w.lambda.Code), perAccount, time.Since(begin).Seconds())
	return all, forgetSteps(ctx, member.Client())
}

// forgetSteps does what etcd does every few minutes.
func forgetSteps(ctx context.Context, etcd *clientv3.Client) error {
	newest, err := etcd.Get(ctx, "\x00", clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	_, err = etcd.Compact(ctx, newest.Header.Revision, clientv3.WithCompactPhysical())
	return err
}

// deployOrdinary has a gateway deploy the lambda that the others are copies of.
func (b *bench) deployOrdinary(ctx context.Context, folder string) (s seeded, err error) {
	code, err := os.ReadFile(filepath.Join(b.root, "tests", "bench", "ordinary.js"))
	if err != nil {
		return seeded{}, err
	}
	g, err := b.gateway(ctx, folder)
	if err != nil {
		return seeded{}, err
	}
	defer end(g, &err)
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return seeded{}, err
	}
	app, err := g.Info.App("client_credentials")
	if err != nil {
		return seeded{}, err
	}
	id, err := deploy(ctx, author, "ordinary_0", string(code))
	return seeded{g.Info.AccountID, id, app.ClientID, app.ClientSecret}, err
}

// seeder writes copies of a lambda.
type seeder struct {
	store    *store.Store
	presence *store.Presence
	lambda   lambda.Lambda
	artifact []byte
	secret   string // of every app that it makes
}

func newSeeder(ctx context.Context, etcd *clientv3.Client, model seeded) (*seeder, error) {
	w := &seeder{store: store.New(etcd, zerolog.Nop()), secret: auth.NewClientSecret()}
	w.store.Limits.Lambdas, w.store.Limits.DeployedLambdas = 0, 0
	r, err := w.store.Record(ctx, model.account, model.id)
	if err != nil {
		return nil, err
	}
	if r.Live == nil {
		return nil, errors.New("the first lambda is not live")
	}
	w.lambda = *r.Lambda
	if w.artifact, err = w.store.Artifact(ctx, model.account, model.id, r.Live.Digest); err != nil {
		return nil, err
	}
	w.presence, err = w.store.Register(ctx, uuid.NewString(), 0)
	return w, err
}

// elsewhere is the n-th account but the demo account.
func (w *seeder) elsewhere(n int) seeded {
	return seeded{account: strconv.Itoa(firstAccount + n), clientID: fmt.Sprintf("app-%d", n), secret: w.secret}
}

// deployAll makes the accounts other than home, and deploys in all.
func (w *seeder) deployAll(ctx context.Context, all []seeded, home string) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(seedWriters)
	made := home
	for i, s := range all {
		if s.account != made {
			made = s.account
			if err := w.makeAccount(ctx, s); err != nil {
				return errors.Join(err, work.Wait())
			}
		}
		work.Go(func() error {
			if err := w.deploy(ctx, s, fmt.Sprintf("ordinary_%d", i+1)); err != nil {
				return fmt.Errorf("lambda %d: %w", i+1, err)
			}
			return nil
		})
	}
	return work.Wait()
}

func (w *seeder) makeAccount(ctx context.Context, s seeded) error {
	now := time.Now().UTC()
	if err := w.store.PutAccount(ctx, &lambda.Account{ID: s.account, Name: "Brand " + s.account, CreatedAt: now}); err != nil {
		return err
	}
	return w.store.PutApp(ctx, &lambda.App{
		ClientID: s.clientID, Account: s.account, ClientName: "caller", GrantTypes: []string{"client_credentials"},
		Scope: auth.ScopeInvoke, SecretHash: auth.Hash(s.secret), CreatedAt: now,
	})
}

// deploy takes one lambda through all the states of a deployment.
func (w *seeder) deploy(ctx context.Context, s seeded, name string) error {
	l := w.lambda
	l.Account, l.ID, l.Name = s.account, s.id, name
	if _, err := w.store.CreateLambda(ctx, &l, nil); err != nil {
		return err
	}
	d, err := w.store.StartDeployment(ctx, store.Start{Account: s.account, LambdaID: s.id, Kind: lambda.Deploy, By: l.CreatedBy})
	if err != nil {
		return err
	}
	work, err := w.store.Claim(ctx, w.presence, store.Work{Deployment: *d})
	if err != nil {
		return err
	}
	if work, err = w.store.Built(ctx, work, w.artifact); err != nil {
		return err
	}
	if work, err = w.store.RolledOut(ctx, work); err != nil {
		return err
	}
	_, err = w.store.FinishDeployment(ctx, work)
	return err
}

// caller gives a client that calls as the account's app does.
func (s seeded) caller(g *dev.Gateway) (*client.Client, error) {
	c, err := g.ClientOf(s.account)
	if err != nil {
		return nil, err
	}
	return c.With(client.AppCredentials(c, s.clientID, s.secret)), nil
}
