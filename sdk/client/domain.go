package client

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Domain is an entry of the account's whitelist: hosts that its lambdas may reach.
type Domain struct {
	ID        int       `json:"id"`
	Name      string    `json:"domain"`
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	// PrivateAddresses lets lambdas reach these hosts also where they have loopback,
	// private or shared addresses.
	PrivateAddresses bool `json:"privateAddresses"`
}

// Domains reads the whitelist.
func (c *Client) Domains(ctx context.Context) ([]Domain, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "proxy-settings"))
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	var list []Domain
	return list, a.decode("list domains", &list)
}

// AddDomain puts a host name, or *. before one, on the whitelist. One that is
// there already is refused with status 409.
func (c *Client) AddDomain(ctx context.Context, name string) (*Domain, error) {
	return c.addDomain(ctx, map[string]any{"timestamp": 0, "domain": name, "id": -1})
}

// AddPrivateDomain is AddDomain of hosts that lambdas may reach also where they have
// loopback, private or shared addresses.
func (c *Client) AddPrivateDomain(ctx context.Context, name string) (*Domain, error) {
	return c.addDomain(ctx, map[string]any{"timestamp": 0, "domain": name, "id": -1, "privateAddresses": true})
}

func (c *Client) addDomain(ctx context.Context, body map[string]any) (*Domain, error) {
	k := c.management(http.MethodPost, "proxy-settings")
	k.body = body
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("add domain: %w", err)
	}
	d := new(Domain)
	return d, a.decode("add domain", d)
}

// DeleteDomain takes an entry from the whitelist.
func (c *Client) DeleteDomain(ctx context.Context, id int) error {
	if _, err := c.do(ctx, c.management(http.MethodDelete, "proxy-settings", strconv.Itoa(id))); err != nil {
		return fmt.Errorf("delete domain: %w", err)
	}
	return nil
}
