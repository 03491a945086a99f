package api

import "github.com/sluice-faas/sluice/gateway/auth"

// ParseInvocation is for the tests and the fuzzer.
var (
	ParseInvocation = parseInvocation
	Members         = members
)

// Row is a route as the tests walk it.
type Row struct {
	Method, Path string
	Permission   auth.Permission
}

// Routes gives the whole table.
func Routes() []Row {
	s := &Server{}
	var rows []Row
	for _, r := range s.routes() {
		rows = append(rows, Row{r.method, r.path, r.permission})
	}
	return rows
}
