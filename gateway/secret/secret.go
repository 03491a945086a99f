// Package secret keeps values by name for an account: what lambdas read while
// they run and admins manage. A Store keeps them, sealed in etcd (sealed) or in
// Vault (vault), and both pass one battery (secrettest). Service is what the rest
// of the gateway uses: a Store with rules, a cache that outlives an outage of the
// Store, and activities.
//
// A value is nowhere but in a Secret that somebody asked for: no error, log line
// or metric of this package holds one.
package secret

import (
	"encoding/json"
	"time"
)

// Type is the JSON type of a secret's value. An update keeps it.
type Type string

// The types (contract/management.md §10).
const (
	String Type = "string"
	Number Type = "number"
	JSON   Type = "json" // an object or an array
)

// Secret is a value with its name.
type Secret struct {
	Account string
	Key     string
	Type    Type
	// Value is one JSON value. It is nil in listings and for callers who may see
	// the encrypted form only.
	Value json.RawMessage
	// Crypted is the encrypted form that a Developer may read (user-guide.md, FaaS
	// Permissions). It is no way to the value but through the store's own key.
	Crypted   string
	Version   int // from 1, rises with each write
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
}
