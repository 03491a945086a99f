package lambda

import "encoding/json"

// Event is something that happens in the messaging product and that lambdas can
// be bound to (contract/events-and-templates.md §1).
type Event struct {
	ID          string
	Name        string
	Description string
	Limit       int             // lambdas of an account that may be bound to it
	Payload     json.RawMessage // an example of what its lambdas get as payload
}
