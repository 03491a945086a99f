package client

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// Discover asks the Domain API at origin (scheme and host) where the services of
// account are. A service without a scheme in its answer is reached over https.
func Discover(ctx context.Context, h *http.Client, origin, account string) (Endpoints, error) {
	c := &Client{account: account, http: h}
	a, err := c.do(ctx, call{
		method: http.MethodGet, base: strings.TrimSuffix(origin, "/"), bare: true,
		path: c.accountPath("service", "baseURI.json") + "?version=1.0",
	})
	if err != nil {
		return Endpoints{}, fmt.Errorf("discover: %w", err)
	}
	var v struct {
		BaseURIs []struct {
			Service string `json:"service"`
			BaseURI string `json:"baseURI"`
		} `json:"baseURIs"`
	}
	if err := a.decode("discover", &v); err != nil {
		return Endpoints{}, err
	}
	var e Endpoints
	places := map[string]*string{"faasGW": &e.Invocation, "faasUI": &e.Management, "sentinel": &e.Sentinel, "agentVep": &e.Login}
	for _, b := range v.BaseURIs {
		if place, ok := places[b.Service]; ok {
			*place = withScheme(b.BaseURI)
			delete(places, b.Service)
		}
	}
	for service := range places {
		return Endpoints{}, fmt.Errorf("discover: the Domain API of %s does not name service %s for account %s", origin, service, account)
	}
	return e, nil
}

func withScheme(baseURI string) string {
	if strings.Contains(baseURI, "://") {
		return baseURI
	}
	return "https://" + baseURI
}
