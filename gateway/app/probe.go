package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// probeTimeout bounds the whole check of a start, the first call of a lambda on
// a slow machine included.
const probeTimeout = 60 * time.Second

// probe asks every service what a client would, through the listeners, before
// dev.json and the banner promise that they answer.
func (a *App) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := a.describe(ctx); err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.ca.Pool(), MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	p := prober{client: &http.Client{Transport: transport}, info: a.info}

	if _, err := p.get(ctx, a.info.URLs.CSDS+"/api/account/"+a.info.AccountID+"/service/baseURI.json?version=1.0"); err != nil {
		return fmt.Errorf("the Domain API: %w", err)
	}
	if app, ok := appFor(a.info.Apps, lambda.GrantCredentials); ok {
		if err := a.probeCall(ctx, p, app); err != nil {
			return err
		}
	}
	return p.ready(ctx)
}

// probeCall does what a brand's program does.
func (a *App) probeCall(ctx context.Context, p prober, app OAuthApp) error {
	token, err := p.token(ctx, app)
	if err != nil {
		return fmt.Errorf("a token for the app %s: %w", app.Name, err)
	}
	if a.info.Lambda != nil && a.sampleIsOurs {
		if err := p.invoke(ctx, token); err != nil {
			return fmt.Errorf("a call of the sample lambda: %w", err)
		}
	}
	return nil
}

// prober is a client of the gateway's own listeners.
type prober struct {
	client *http.Client
	info   Info
}

func (p prober) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return p.do(req)
}

// maxProbeAnswer is more than any of these services answers.
const maxProbeAnswer = 64 << 10

func (p prober) do(req *http.Request) ([]byte, error) {
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it is read already, or of no use
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %d: %.300s", resp.StatusCode, body)
	}
	return body, nil
}

func (p prober) token(ctx context.Context, app OAuthApp) (string, error) {
	form := url.Values{"grant_type": {lambda.GrantCredentials}, "client_id": {app.ClientID}, "client_secret": {app.ClientSecret}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		p.info.URLs.Sentinel+"/sentinel/api/account/"+p.info.AccountID+"/app/token?v=2.0", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	body, err := p.do(req)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("the answer holds no access_token: %w", err)
	}
	return answer.Token, nil
}

func (p prober) invoke(ctx context.Context, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		p.info.URLs.FaasGW+"/api/account/"+p.info.AccountID+"/lambdas/"+p.info.Lambda.UUID+"/invoke?v=1&externalSystem=sluice-dev",
		strings.NewReader(`{"timestamp":0,"headers":[],"payload":{}}`))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	_, err = p.do(req)
	return err
}

// ready waits until /readyz says so: the first runtime process may still be on
// its way when there is no sample lambda.
func (p prober) ready(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := p.get(ctx, p.info.URLs.Admin+"/readyz?verbose")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("/readyz %w", err)
		}
	}
}
