package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Secret is a secret of the account.
type Secret struct {
	Key string `json:"key"`
	// Value is one JSON value: the secret's own where Encrypted is false, else a
	// string that only the gateway's store can decrypt.
	Value     json.RawMessage `json:"value"`
	Encrypted bool            `json:"encrypted"`
	Type      string          `json:"type"` // string, number or json
	Version   int             `json:"version"`
	CreatedAt time.Time       `json:"createdAt"`
	CreatedBy string          `json:"createdBy"`
	UpdatedAt time.Time       `json:"updatedAt"`
	UpdatedBy string          `json:"updatedBy"`
	Revision  string          `json:"revision"` // of the state, for UpdateSecret and DeleteSecret
}

// Secrets lists the secrets of the account, with encrypted values.
func (c *Client) Secrets(ctx context.Context) ([]Secret, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "secrets"))
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	var list []Secret
	return list, a.decode("list secrets", &list)
}

// Secret reads one secret with its value. The account's activities tell who did.
func (c *Client) Secret(ctx context.Context, key string) (*Secret, error) {
	return c.oneSecret(ctx, "read secret", c.management(http.MethodGet, "secrets", key))
}

// CreateSecret makes a secret of a value that JSON knows as a string, a number,
// an object or an array. A key that is taken is refused with status 409.
func (c *Client) CreateSecret(ctx context.Context, key string, value any) (*Secret, error) {
	k := c.management(http.MethodPost, "secrets")
	k.body = map[string]any{"timestamp": 0, "key": key, "value": value}
	return c.oneSecret(ctx, "create secret", k)
}

// UpdateSecret gives a secret another value of the same type. With a revision it
// is refused with status 412 when the secret has another by now.
func (c *Client) UpdateSecret(ctx context.Context, key string, value any, revision string) (*Secret, error) {
	k := c.management(http.MethodPut, "secrets", key)
	k.body, k.header = map[string]any{"timestamp": 0, "value": value}, ifMatch(revision)
	return c.oneSecret(ctx, "update secret", k)
}

// DeleteSecret removes a secret for good; revision is as for UpdateSecret.
func (c *Client) DeleteSecret(ctx context.Context, key, revision string) error {
	k := c.management(http.MethodDelete, "secrets", key)
	k.header = ifMatch(revision)
	if _, err := c.do(ctx, k); err != nil {
		return fmt.Errorf("delete secret: %w", err)
	}
	return nil
}

func ifMatch(revision string) http.Header {
	if revision == "" {
		return nil
	}
	return http.Header{"If-Match": {`"` + revision + `"`}}
}

func (c *Client) oneSecret(ctx context.Context, what string, k call) (*Secret, error) {
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	s := new(Secret)
	return s, a.decode(what, s)
}
