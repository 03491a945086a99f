package host

import (
	"cmp"
	"fmt"
	"strings"
)

const (
	// maxFaultLines, maxFaultLine and maxFaultBytes bound what Fault tells: a
	// person reads the first errors, and the rest often come of them.
	maxFaultLines = 20
	maxFaultLine  = 1000
	maxFaultBytes = 4 << 10
	// faultTail is room for the number of errors that are not told.
	faultTail = 48
)

// Fault words the errors among the diagnostics for people, one a line, each with
// its place as line:column. It has at most 20 of them and 4 KiB, and says how
// many more there are. It is empty when the source is good.
func (r BuildResult) Fault() string {
	var text strings.Builder
	told, more := 0, 0
	for _, d := range r.Diagnostics {
		if d.Severity != SeverityError {
			continue
		}
		line := d.fault()
		if more > 0 || told == maxFaultLines || text.Len()+1+len(line) > maxFaultBytes-faultTail {
			more++
			continue
		}
		if told++; told > 1 {
			text.WriteByte('\n')
		}
		text.WriteString(line)
	}
	if more > 0 {
		fmt.Fprintf(&text, "\n… and %d more", more)
	}
	return text.String()
}

// fault is never empty, because an error without words is an error too.
func (d Diagnostic) fault() string {
	message := cut(cmp.Or(d.Message, d.Code, "the runtime refuses the source and does not say why"), maxFaultLine)
	if d.Line <= 0 {
		return message
	}
	return fmt.Sprintf("%d:%d: %s", d.Line, d.Column, message)
}
