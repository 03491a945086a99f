package lambda

import "encoding/json"

// Template is a lambda to start from. Its language brings it
// (contract/events-and-templates.md §3).
type Template struct {
	ID          string // UUID, the same in every version of the language
	Name        string
	Description string
	EventID     string // empty for a lambda that is called by its UUID
	Runtime     string // name of the runtime in the catalog
	Code        string
	Environment []Pair
	Input       json.RawMessage // an example of all that it gets: {"headers", "payload"}
}
