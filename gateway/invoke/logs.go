package invoke

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// What a manual call returns of its log at most. Beyond that the records are
// counted, and the count is the log's last entry.
const (
	MaxLogRecords = 500
	MaxLogBytes   = 256 << 10
)

// recordCost is what a record costs beside its texts.
const recordCost = 64

var noExtras = json.RawMessage("[]")

// collector gathers the log of one manual call. A nil one gathers nothing.
type collector struct {
	mu      sync.Mutex
	records []lambda.LogRecord
	bytes   int
	dropped int
	last    lambda.LogRecord // the latest that was dropped
}

// add takes a record as it comes. Its extras are the runtime's only until add
// returns.
func (c *collector) add(r runtime.LogRecord) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	record := recordOf(r)
	size := recordCost + len(record.Message) + len(record.Extras)
	if c.dropped > 0 || len(c.records) >= MaxLogRecords || c.bytes+size > MaxLogBytes {
		c.dropped++
		c.last = record
		return
	}
	c.bytes += size
	c.records = append(c.records, record)
}

// take ends the gathering of a call that succeeded. More were dropped by the
// runtime itself.
func (c *collector) take(more int) []lambda.LogRecord {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if dropped := c.dropped + more; dropped > 0 {
		c.records = append(c.records, missing(dropped))
	}
	return c.records
}

// takeFailed ends the gathering of a call that failed: the last record, which
// says how, is never dropped.
func (c *collector) takeFailed() []lambda.LogRecord {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped > 1 {
		c.records = append(c.records, missing(c.dropped-1))
	}
	if c.dropped > 0 {
		c.records = append(c.records, c.last)
	}
	return c.records
}

func missing(n int) lambda.LogRecord {
	return lambda.LogRecord{
		Level: "Error", Extras: noExtras, Timestamp: time.Now().UnixMilli(),
		Message: fmt.Sprintf("%d log records are missing: a call returns at most %d records and %d KiB of them", n, MaxLogRecords, MaxLogBytes>>10),
	}
}

func recordOf(r runtime.LogRecord) lambda.LogRecord {
	record := lambda.LogRecord{Level: levelName(r.Level), Message: r.Message, Extras: noExtras, Timestamp: r.Time.UnixMilli()}
	if len(r.Extras) > 0 {
		record.Extras = bytes.Clone(r.Extras)
	}
	return record
}

func levelName(l runtime.Level) string {
	switch l {
	case runtime.LevelDebug:
		return "Debug"
	case runtime.LevelWarn:
		return "Warn"
	case runtime.LevelError:
		return "Error"
	default:
		return "Info"
	}
}
