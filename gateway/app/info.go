package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// infoFile tells programs how to reach this gateway. It is there from when
// everything answers, and is never read back.
const infoFile = "dev.json"

// Info is what dev.json holds.
type Info struct {
	AccountID string `json:"accountId"`
	URLs      URLs   `json:"urls"`
	// CA is the absolute path of the certificate that clients have to trust.
	CA    string     `json:"ca"`
	Users []User     `json:"users"`
	Apps  []OAuthApp `json:"apps"`
	// Lambda is the sample, unless it is not there.
	Lambda *Sample `json:"lambda,omitempty"`
}

// URLs are the addresses of this start, by service.
type URLs struct {
	FaasGW   string `json:"faasGW"`
	FaasUI   string `json:"faasUI"`
	Sentinel string `json:"sentinel"`
	AgentVep string `json:"agentVep"`
	CSDS     string `json:"csds"`
	Admin    string `json:"admin"`
}

// describe gathers what a caller needs to know of this start.
func (a *App) describe(ctx context.Context) error {
	https := "https://" + reachable(a.listeners.https)
	a.info = Info{
		AccountID: a.demo.AccountID,
		URLs: URLs{
			FaasGW: https, FaasUI: https, Sentinel: https, AgentVep: https,
			CSDS: "http://" + reachable(a.listeners.http), Admin: "http://" + reachable(a.listeners.admin),
		},
		CA: a.ca.Path(),
	}
	var err error
	if a.info.Users, a.info.Apps, err = a.intact(ctx); err != nil {
		return err
	}
	if gone := len(a.demo.Users) + len(a.demo.Apps) - len(a.info.Users) - len(a.info.Apps); gone > 0 {
		a.warnings = append(a.warnings, fmt.Sprintf("%d of the demo users and apps were changed or removed, and are not shown", gone))
	}
	if !a.sampleMade {
		return nil
	}
	r, err := a.store.Record(ctx, a.demo.AccountID, a.demo.Lambda.UUID)
	if lambda.Is(err, lambda.KindNotFound) {
		return nil // its owner deleted it
	}
	if err != nil {
		return err
	}
	if r.Live != nil {
		a.info.Lambda = &Sample{UUID: r.Lambda.ID, Name: r.Lambda.Name}
		// Version 1 is immutable and ours. A later one may do anything: calling
		// it to see whether it answers is not for us.
		a.sampleIsOurs = r.Live.Version == 1 && r.Lambda.CreatedBy == sampleBy
	}
	return nil
}

// announce shows the banner and then, last of all, writes dev.json.
func (a *App) announce() error {
	a.progress.print("%s", a.banner(time.Since(a.progress.began)))
	text, err := json.MarshalIndent(a.info, "", "  ")
	if err != nil {
		return err
	}
	if err := a.data.writeFile(infoFile, append(text, '\n')); err != nil {
		return err
	}
	a.log.Info().Str("version", a.version).Str("https", a.info.URLs.FaasGW).Str("http", a.info.URLs.CSDS).
		Str("admin", a.info.URLs.Admin).Msg("the gateway is ready")
	return nil
}

// banner is what a person needs to make the first call.
func (a *App) banner(took time.Duration) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	bold := func(s string) string { return a.progress.paint("1", s) }
	i := a.info

	line("\n%s after %.1f s. Ctrl-C stops it.\n", bold("Sluice is ready"), took.Seconds())
	line("  %s  %s   the web UI; sign in with the account and a user below", bold("Web UI "), i.URLs.FaasUI+"/")
	line("  %s  %s   all services; its certificate is signed by %s", bold("HTTPS  "), i.URLs.FaasGW, i.CA)
	line("  %s  %s   all services, from this machine only", bold("HTTP   "), i.URLs.CSDS)
	line("  %s  %s   /healthz /readyz /metrics", bold("Admin  "), i.URLs.Admin)
	line("  %s  %s\n", bold("Account"), i.AccountID)
	for _, u := range i.Users {
		line("  %-16s %-24s password %s", u.Role, u.Username, u.Password)
	}
	line("")
	for _, app := range i.Apps {
		line("  app %-14s client id %s  secret %s  (%s)", app.Name, app.ClientID, app.ClientSecret, strings.Join(app.GrantTypes, ", "))
	}
	for _, w := range a.warnings {
		line("\n  %s %s", a.progress.paint("33", "Note:"), w)
	}
	if _, ok := appFor(i.Apps, lambda.GrantCredentials); ok {
		line("\n%s\n\n%s", bold(a.curlTitle()), a.curl())
	}
	line("")
	return b.String()
}

func (a *App) curlTitle() string {
	if a.info.Lambda == nil {
		return "Get a token for calling lambdas, from another terminal:"
	}
	return "Call the sample lambda, from another terminal:"
}

// curl is one command line for a POSIX shell that does what a brand's program
// does: it gets a token with client credentials and calls the lambda with it.
func (a *App) curl() string {
	i := a.info
	app, _ := appFor(i.Apps, lambda.GrantCredentials) // banner saw to it
	curl := "curl -sS --cacert " + quote(i.CA) + " "
	token := curl + quote(i.URLs.Sentinel+"/sentinel/api/account/"+i.AccountID+"/app/token?v=2.0") +
		" -d grant_type=" + lambda.GrantCredentials + " -d client_id=" + app.ClientID + " -d client_secret=" + app.ClientSecret
	if i.Lambda == nil {
		return token
	}
	return curl + quote(i.URLs.FaasGW+"/api/account/"+i.AccountID+"/lambdas/"+i.Lambda.UUID+"/invoke?v=1&userId=demo") +
		` -H "Authorization: Bearer $(` + token + ` | sed 's/.*"access_token":"\([^"]*\)".*/\1/')"` +
		` -H 'Content-Type: application/json' -d '{"timestamp":0,"headers":[],"payload":{"name":"Ada"}}'`
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
