package secrettest

import (
	"strings"
	"sync"
)

// Log keeps what is logged, for a test that reads it meanwhile.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write takes a line.
func (l *Log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// String gives all of it.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
