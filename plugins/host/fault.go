package host

import (
	"fmt"
	"strings"
)

// Fault words the errors among the diagnostics for people, one a line, each with
// its place as line:column. It is empty when the source is good.
func (r BuildResult) Fault() string {
	var lines []string
	for _, d := range r.Diagnostics {
		switch {
		case d.Severity != SeverityError:
		case d.Line > 0:
			lines = append(lines, fmt.Sprintf("%d:%d: %s", d.Line, d.Column, d.Message))
		default:
			lines = append(lines, d.Message)
		}
	}
	return strings.Join(lines, "\n")
}
