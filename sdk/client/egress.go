package client

import (
	"context"
	"fmt"
	"net/http"
)

// Attempt is a request of a lambda to another host, or a tunnel.
type Attempt struct {
	LambdaID   string  `json:"lambdaUUID"`
	Timestamp  int64   `json:"timestamp"` // ms since 1970
	Host       string  `json:"host"`
	Port       int     `json:"port"`
	Method     string  `json:"method"`  // CONNECT for a tunnel
	Verdict    string  `json:"verdict"` // allowed, refused or failed
	Rule       string  `json:"rule"`    // that led to it
	Entry      string  `json:"entry"`   // the domain that matched
	Address    string  `json:"address"` // that was connected to or refused
	DurationMs float64 `json:"durationMs"`
	Count      int     `json:"count"` // how many alike this one stands for
}

// Attempts gives which hosts lambdas tried to reach, the newest attempt first, and,
// if there is more, the cursor for it.
func (c *Client) Attempts(ctx context.Context, q Query) (list []Attempt, next string, err error) {
	k := c.management(http.MethodGet, "egress", "attempts")
	k.query = q.values()
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, "", fmt.Errorf("list attempts: %w", err)
	}
	var page struct {
		Attempts []Attempt `json:"attempts"`
		Next     string    `json:"next"`
	}
	err = a.decode("list attempts", &page)
	return page.Attempts, page.Next, err
}

// EgressCheck is what would become of a lambda's request.
type EgressCheck struct {
	Verdict   string   `json:"verdict"`
	Rule      string   `json:"rule"`
	Message   string   `json:"message"` // for people
	Scheme    string   `json:"scheme"`
	Host      string   `json:"host"`
	Port      int      `json:"port"`
	Entry     string   `json:"entry"`
	Addresses []string `json:"addresses"`
}

// CheckEgress tells what would become of a lambda's request to an URL, which is not
// made.
func (c *Client) CheckEgress(ctx context.Context, url string) (*EgressCheck, error) {
	k := c.management(http.MethodPost, "egress", "check")
	k.body = map[string]any{"url": url}
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("check an URL: %w", err)
	}
	check := new(EgressCheck)
	return check, a.decode("check an URL", check)
}
