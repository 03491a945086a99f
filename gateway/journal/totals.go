package journal

import (
	"math"
	"math/bits"
	"time"
)

// slotSeconds is what a row of the table total covers. Reports count what came,
// not what is stored: what was dropped is in them.
const slotSeconds = int64(SlotSize / time.Second)

// classes is the number of classes of latency: the first is below classBase, each
// other begins at √2 times the one before, and the last has no end.
const (
	classes   = 38
	classBase = 125 // µs
)

// count is what came of one lambda in one slot.
type count struct {
	slot    int64 // SlotSize since 1970
	states  [5]uint32
	latency [classes]uint32
}

func (c *count) add(more *count) {
	for i, n := range more.states {
		c.states[i] += n
	}
	for i, n := range more.latency {
		c.latency[i] += n
	}
}

func slotOf(at time.Time) int64 { return floorDiv(at.Unix(), slotSeconds) }

// floorDiv is a/b, rounded down.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func ceilDiv(a, b int64) int64 { return -floorDiv(-a, b) }

// classOf is the class of a latency.
func classOf(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < classBase {
		return 0
	}
	us = min(us, classBase<<(classes/2))
	octave := bits.Len64(us/classBase) - 1
	class := 2*octave + 1
	if low := uint64(classBase) << octave; us*us >= 2*low*low {
		class++
	}
	return min(class, classes-1)
}

// classStart is where a class begins, and the one before it ends.
func classStart(class int) float64 {
	if class == 0 {
		return 0
	}
	return classBase * math.Pow(2, float64(class-1)/2)
}

// percentile is the latency that the share q of the invocations does not exceed,
// as well as the classes know it.
func percentile(latency *[classes]int64, q float64) time.Duration {
	var all int64
	for _, n := range latency {
		all += n
	}
	rank := q * float64(all)
	var below float64
	for class, n := range latency {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		from, to := classStart(class), classStart(class+1)
		return time.Duration((from + (to-from)*(rank-below)/float64(n)) * float64(time.Microsecond))
	}
	return 0
}
