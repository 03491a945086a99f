package lambda

import (
	"encoding/json"
	"time"
)

// Schedule has a deployed lambda called again and again, at times that a cron
// line of five fields names in UTC (contract/management.md §6). A lambda has one
// at most.
type Schedule struct {
	Account   string          `json:"account"`
	ID        string          `json:"id"` // UUID
	LambdaID  string          `json:"lambdaId"`
	Cron      string          `json:"cron"`
	Active    bool            `json:"active"`
	Payload   json.RawMessage `json:"payload,omitempty"` // one JSON value; {} when there is none
	CreatedAt time.Time       `json:"createdAt"`
	CreatedBy string          `json:"createdBy"`
	UpdatedAt time.Time       `json:"updatedAt"`
	UpdatedBy string          `json:"updatedBy"`
}
