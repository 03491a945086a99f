package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// demoFile keeps the demo account's credentials between starts. Everything else
// about the account is in etcd.
const demoFile = "demo.json"

const (
	demoAccount = "12345678" // public clients call elsewhere unless it is all digits
	demoName    = "Demo"
	sampleName  = "hello"
	sampleBy    = "sluice dev"
)

// User is a person of the demo account.
type User struct {
	Role     lambda.Role `json:"role"`
	Username string      `json:"username"`
	Password string      `json:"password"`
	UserID   string      `json:"userId"`
}

// OAuthApp is an OAuth 2.0 client of the demo account.
type OAuthApp struct {
	Name         string   `json:"name"`
	ClientID     string   `json:"clientId"`
	ClientSecret string   `json:"clientSecret"`
	GrantTypes   []string `json:"grantTypes"`
	RedirectURIs []string `json:"redirectUris,omitempty"`
	Scope        string   `json:"scope"`
}

// responseTypes are those of the contract's example for its grants
// (contract/oauth2.md §1.5).
func (a OAuthApp) responseTypes() []string {
	if slices.Contains(a.GrantTypes, lambda.GrantCode) {
		return []string{lambda.ResponseCode}
	}
	return []string{"token"}
}

// Sample is the lambda that the first start made.
type Sample struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

// demo is what demo.json holds.
type demo struct {
	// ID tells these credentials from those of other gateways on the same etcd.
	ID        string     `json:"id"`
	AccountID string     `json:"accountId"`
	Users     []User     `json:"users"`
	Apps      []OAuthApp `json:"apps"`
	Lambda    Sample     `json:"lambda"`
	// These are of the gateway's own etcd. One that gateways share has its own.
	marks

	fresh bool // made by this start
}

// marks say how much of the demo account an etcd has.
type marks struct {
	// Seeded says that etcd has the account with these credentials; before that
	// they are written again, whatever is there.
	Seeded bool `json:"seeded"`
	// SampleMade says that the sample lambda was made once. From then on it is
	// the user's: whoever deletes or changes it does not find it back.
	SampleMade bool `json:"sampleMade"`
}

func newDemo() *demo {
	d := &demo{ID: newID(), AccountID: demoAccount, Lambda: Sample{UUID: newID(), Name: sampleName}, fresh: true}
	for _, u := range []struct {
		role lambda.Role
		name string
	}{
		{lambda.RoleLPA, "lpa"}, {lambda.RoleAdmin, "admin"}, {lambda.RoleDeveloper, "developer"}, {lambda.RoleInvocation, "invoker"},
	} {
		d.Users = append(d.Users, User{Role: u.role, Username: u.name + "@example.com", Password: auth.NewPassword(), UserID: newID()})
	}
	d.Apps = []OAuthApp{
		{
			Name: "demo-caller", ClientID: newID(), ClientSecret: auth.NewClientSecret(),
			GrantTypes: []string{lambda.GrantCredentials}, Scope: auth.ScopeInvoke,
		},
		{
			Name: "demo-website", ClientID: newID(), ClientSecret: auth.NewClientSecret(),
			GrantTypes:   []string{lambda.GrantCode, lambda.GrantRefresh},
			RedirectURIs: []string{"http://localhost:3000/callback", "http://localhost/callback"}, Scope: auth.ScopeInvoke,
		},
	}
	return d
}

func newID() string { return uuid.NewString() }

// readDemo reads demo.json, or gives new credentials where there is none.
func readDemo(data *dataDir) (*demo, error) {
	path := data.file(demoFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newDemo(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the demo credentials: %w", err)
	}
	var d demo
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, damagedDemo(path, err)
	}
	if err := d.check(); err != nil {
		return nil, damagedDemo(path, err)
	}
	if d.ID == "" { // written by a gateway that knew no others
		d.ID = newID()
	}
	return &d, nil
}

func damagedDemo(path string, err error) error {
	return fmt.Errorf("%s is damaged (%w): restore it from a copy, or delete it to get new demo credentials; lambdas are not affected", path, err)
}

// check finds out whether anything is missing.
func (d *demo) check() error {
	if !lambda.ValidAccount(d.AccountID) {
		return errors.New("accountId is not all digits")
	}
	if len(d.Users) == 0 || len(d.Apps) == 0 {
		return errors.New("it names no users or no apps")
	}
	for _, u := range d.Users {
		if !u.Role.Valid() || u.Username == "" || u.Password == "" || u.UserID == "" {
			return fmt.Errorf("user %q is incomplete", u.Username)
		}
	}
	for _, a := range d.Apps {
		if a.Name == "" || a.ClientID == "" || a.ClientSecret == "" || len(a.GrantTypes) == 0 {
			return fmt.Errorf("app %q is incomplete", a.Name)
		}
	}
	if _, ok := appFor(d.Apps, lambda.GrantCredentials); !ok {
		return fmt.Errorf("no app has the grant %s", lambda.GrantCredentials)
	}
	if d.Lambda.UUID == "" || d.Lambda.Name == "" {
		return errors.New("lambda is incomplete")
	}
	return nil
}

// appFor gives the first app that has a grant.
func appFor(apps []OAuthApp, grant string) (OAuthApp, bool) {
	i := slices.IndexFunc(apps, func(a OAuthApp) bool { return slices.Contains(a.GrantTypes, grant) })
	if i < 0 {
		return OAuthApp{}, false
	}
	return apps[i], true
}

// intact gives the demo users and apps that are still as they were made: others
// can be changed and removed like all users and apps, and then the credentials of
// demo.json are not theirs.
func (a *App) intact(ctx context.Context) (users []User, apps []OAuthApp, err error) {
	users, apps = []User{}, []OAuthApp{}
	for _, u := range a.demo.Users {
		now, err := a.store.User(ctx, a.demo.AccountID, u.UserID)
		switch {
		case lambda.Is(err, lambda.KindNotFound):
		case err != nil:
			return nil, nil, err
		case now.PasswordSetAt.IsZero() && now.Profile == "" && slices.Equal(now.Roles, []lambda.Role{u.Role}):
			users = append(users, u)
		}
	}
	for _, app := range a.demo.Apps {
		now, err := a.store.App(ctx, a.demo.AccountID, app.ClientID)
		switch {
		case lambda.Is(err, lambda.KindNotFound):
		case err != nil:
			return nil, nil, err
		case now.SecretHash == auth.Hash(app.ClientSecret) && slices.Equal(now.GrantTypes, app.GrantTypes) && now.Scope == app.Scope:
			apps = append(apps, app)
		}
	}
	return users, apps, nil
}

func (a *App) saveDemo() error {
	text, err := json.MarshalIndent(a.demo, "", "  ")
	if err != nil {
		return err
	}
	return a.data.writeFile(demoFile, append(text, '\n'))
}

// seed makes the demo account, once, and its sample lambda, once, unless that is
// not wanted. A start that is stopped in between is taken up by the next.
func (a *App) seed(ctx context.Context) error {
	if a.sharesEtcd() {
		return a.seedShared(ctx)
	}
	if err := a.seedUp(ctx, &a.demo.marks, a.saveDemo); err != nil {
		return err
	}
	return a.views.WaitFor(ctx, a.store.Written())
}

// seedUp makes what m says is not made yet; save keeps the credentials, and m.
func (a *App) seedUp(ctx context.Context, m *marks, save func() error) error {
	if !m.Seeded {
		if err := save(); err != nil { // first: what etcd knows as hashes only must not be lost
			return err
		}
		if err := a.seedAccount(ctx); err != nil {
			return fmt.Errorf("make the demo account: %w", err)
		}
		m.Seeded = true
		if err := save(); err != nil {
			return err
		}
	}
	a.sampleMade = m.SampleMade
	if a.config.NoSample || m.SampleMade {
		return nil
	}
	if err := a.seedSample(ctx); err != nil {
		return fmt.Errorf("make the sample lambda: %w", err)
	}
	a.sampleMade, m.SampleMade = true, true
	return save()
}

// seedShared does it in an etcd that gateways share. The demo account there is
// that of one demo.json; a gateway that has another goes without.
func (a *App) seedShared(ctx context.Context) error {
	d, err := a.store.Demo(ctx)
	if err == nil && d.Owner == "" {
		if err := a.saveDemo(); err != nil {
			return err
		}
		account := &lambda.Account{ID: a.demo.AccountID, Name: demoName, CreatedAt: time.Now().UTC()}
		d, err = a.store.ClaimDemo(ctx, account, a.demo.ID)
	}
	if err != nil {
		return err
	}
	if d.Owner != a.demo.ID {
		return a.goWithoutDemo()
	}
	m := marks{d.Seeded, d.SampleMade}
	save := func() error {
		if err := a.saveDemo(); err != nil {
			return err
		}
		return a.store.PutDemo(ctx, store.Demo{Owner: d.Owner, Seeded: m.Seeded, SampleMade: m.SampleMade})
	}
	if err := a.seedUp(ctx, &m, save); err != nil {
		return err
	}
	return a.views.WaitFor(ctx, a.store.Written())
}

// goWithoutDemo leaves the demo account to the gateway whose it is. A demo.json
// from before may be good in another etcd.
func (a *App) goWithoutDemo() error {
	if a.demo.fresh {
		if err := a.data.remove(demoFile); err != nil {
			return err
		}
	}
	a.demo = &demo{AccountID: demoAccount, Users: []User{}, Apps: []OAuthApp{}}
	a.warnings = append(a.warnings, "the demo account in this etcd is not that of a demo.json in "+a.config.DataDir+
		": a copy of the demo.json of the gateway that made it shows its credentials here, too")
	return nil
}

func (a *App) seedAccount(ctx context.Context) error {
	now := time.Now().UTC()
	if err := a.store.PutAccount(ctx, &lambda.Account{ID: a.demo.AccountID, Name: demoName, CreatedAt: now}); err != nil {
		return err
	}
	for i := range a.demo.Users {
		if err := a.seedUser(ctx, &a.demo.Users[i], now); err != nil {
			return err
		}
	}
	before, err := a.store.Apps(ctx, a.demo.AccountID)
	if err != nil {
		return err
	}
	for i := range a.demo.Apps {
		if err := a.seedApp(ctx, &a.demo.Apps[i], before, now); err != nil {
			return err
		}
	}
	return nil
}

// seedApp gives the app the secret that demo.json has. One of that name from
// before, when demo.json was deleted, keeps its id; others of the name go, so
// that no secret that is lost stays valid.
func (a *App) seedApp(ctx context.Context, app *OAuthApp, before []lambda.App, now time.Time) error {
	kept := slices.IndexFunc(before, func(b lambda.App) bool { return b.ClientName == app.Name })
	if kept >= 0 {
		app.ClientID = before[kept].ClientID
	}
	for i, b := range before {
		if b.ClientName != app.Name || i == kept {
			continue
		}
		if err := a.store.DeleteApp(ctx, a.demo.AccountID, b.ClientID, nil); err != nil && !lambda.Is(err, lambda.KindNotFound) {
			return err
		}
	}
	return a.store.PutApp(ctx, &lambda.App{
		ClientID: app.ClientID, Account: a.demo.AccountID, ClientName: app.Name, GrantTypes: app.GrantTypes,
		RedirectURIs: app.RedirectURIs, ResponseTypes: app.responseTypes(), Scope: app.Scope, SecretHash: auth.Hash(app.ClientSecret), CreatedAt: now,
	})
}

// seedUser gives the user the password that demo.json has. One of that name from
// before, when demo.json was deleted, keeps its id.
func (a *App) seedUser(ctx context.Context, u *User, now time.Time) error {
	before, err := a.store.UserByLogin(ctx, a.demo.AccountID, u.Username)
	switch {
	case err == nil:
		u.UserID = before.ID
	case !lambda.Is(err, lambda.KindNotFound):
		return err
	}
	hash, err := a.auth.HashPassword(ctx, a.demo.AccountID, u.Password)
	if err != nil {
		return err
	}
	return a.store.PutUser(ctx, &lambda.User{
		ID: u.UserID, Account: a.demo.AccountID, LoginName: u.Username, PasswordHash: hash,
		Roles: []lambda.Role{u.Role}, CreatedAt: now,
	})
}

// seedSample creates and deploys the sample, or goes on where a start before
// was stopped. A lambda of its name that is there already is taken for it.
func (a *App) seedSample(ctx context.Context) error {
	record, err := a.store.RecordByName(ctx, a.demo.AccountID, a.demo.Lambda.Name)
	switch {
	case err == nil:
		a.demo.Lambda.UUID = record.Lambda.ID
	case !lambda.Is(err, lambda.KindNotFound):
		return err
	default:
		// A gateway with a copy of our demo.json may have been faster: it is the same.
		if err := a.createSample(ctx); err != nil && !hasCode(err, lambda.CodeLambdaConflict) {
			return err
		}
	}
	return a.deploySample(ctx)
}

func (a *App) createSample(ctx context.Context) error {
	runtime := a.catalog.Default().Name
	description, err := a.pool.Describe(ctx, runtime)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	_, err = a.store.CreateLambda(ctx, &lambda.Lambda{
		Account: a.demo.AccountID, ID: a.demo.Lambda.UUID, Name: a.demo.Lambda.Name, Runtime: runtime, Version: 1,
		Description: "The sample that comes with Sluice: change it, deploy it, call it.", Code: description.SampleSource,
		CreatedAt: now, CreatedBy: sampleBy, UpdatedAt: now, UpdatedBy: sampleBy,
	}, nil)
	return err
}

func hasCode(err error, code string) bool {
	e := lambda.As(err)
	return e != nil && e.Code == code
}

// samplePoll is the pace at which a deployment's state is looked at.
const samplePoll = 10 * time.Millisecond

// deploySample returns when the sample is live. A deployment that is under way
// already, begun by a start that was killed, is waited for.
func (a *App) deploySample(ctx context.Context) error {
	tick := time.NewTicker(samplePoll)
	defer tick.Stop()
	for asked := false; ; {
		r, err := a.store.Record(ctx, a.demo.AccountID, a.demo.Lambda.UUID)
		if err != nil {
			return err
		}
		underWay := r.Last != nil && !r.Last.State.Final()
		switch {
		case r.Live != nil && !underWay:
			return nil
		case !underWay && asked:
			return deploymentError(r.Last)
		case !underWay:
			_, err := a.store.StartDeployment(ctx, store.Start{Account: a.demo.AccountID, LambdaID: a.demo.Lambda.UUID, Kind: lambda.Deploy, By: sampleBy})
			if err != nil && !hasCode(err, lambda.CodeDeploymentConflict) { // then one began just now
				return err
			}
			asked = err == nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func deploymentError(d *lambda.Deployment) error {
	if d == nil || d.Failure == nil {
		return errors.New("its deployment ended without a cause")
	}
	return fmt.Errorf("its deployment ended in %s: %s", d.State, d.Failure.Message)
}
