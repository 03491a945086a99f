package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// cgroupRoom is what the kernel lets a process use above its memory limit: more
	// than the watch does, which says why when it ends one.
	cgroupRoom = 96 << 20
	// processorQuota of processorPeriod, in microseconds, is half a core.
	processorQuota, processorPeriod = 50_000, 100_000
	cgroupPrefix                    = "sluice-"
)

// controllers are what a cgroup must have to be of use.
var controllers = []string{"memory", "pids", "cpu"}

// cgroups makes a cgroup for each process, below the gateway's own.
type cgroups struct {
	dir    string
	limits bool // the controllers are there
	next   atomic.Int64
}

// openCgroups finds the gateway's own cgroup and makes it one for others: the
// kernel wants that no process is in it itself.
func openCgroups(need []string) (*cgroups, error) {
	dir, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	for _, name := range need {
		if !slices.Contains(strings.Fields(string(text)), name) {
			return nil, fmt.Errorf("the gateway's cgroup %s has no controller %s", dir, name)
		}
	}
	c := &cgroups{dir: dir, limits: len(need) > 0}
	if err := c.empty(); err != nil {
		return nil, err
	}
	if len(need) > 0 {
		if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+"+strings.Join(need, " +")); err != nil {
			if err := c.moveSelf(); err != nil {
				return nil, err
			}
			if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+"+strings.Join(need, " +")); err != nil {
				return nil, err
			}
		}
	}
	g, err := c.make(1)
	if err != nil {
		return nil, err
	}
	g.remove()
	return c, nil
}

// ownCgroup is the folder of this process's cgroup of version 2.
func ownCgroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	own := ""
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			own = path
		}
	}
	if own == "" {
		return "", errors.New("this process is in no cgroup of version 2")
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read from
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(before); ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return filepath.Join(fields[4], strings.TrimPrefix(own, fields[3])), nil
		}
	}
	return "", errors.Join(errors.New("cgroup version 2 is not mounted"), lines.Err())
}

// empty removes what killed gateways left. A group with a process in it stays.
func (c *cgroups) empty() error {
	entries, err := os.ReadDir(c.dir)
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), cgroupPrefix) {
			_ = os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
	return err
}

// moveSelf puts the gateway into a group of its own, if it is alone in this one.
func (c *cgroups) moveSelf() error {
	text, err := os.ReadFile(filepath.Join(c.dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	self := strconv.Itoa(os.Getpid())
	if others := strings.Fields(string(text)); len(others) != 1 || others[0] != self {
		return fmt.Errorf("other processes are in the gateway's cgroup %s", c.dir)
	}
	own := filepath.Join(c.dir, "gateway")
	if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return write(filepath.Join(own, "cgroup.procs"), self)
}

// cgroup is that of one process.
type cgroup struct {
	path   string
	folder *os.File
	limits bool
}

// make makes one, which bounds memory and threads.
func (c *cgroups) make(memoryMiB int) (*cgroup, error) {
	g := &cgroup{path: filepath.Join(c.dir, fmt.Sprintf("%s%d-%d", cgroupPrefix, os.Getpid(), c.next.Add(1))), limits: c.limits}
	if err := os.Mkdir(g.path, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	if err := g.limit(memoryMiB); err != nil {
		g.remove()
		return nil, err
	}
	var err error
	if g.folder, err = os.Open(g.path); err != nil {
		g.remove()
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return g, nil
}

func (g *cgroup) limit(memoryMiB int) error {
	if !g.limits {
		return nil
	}
	for _, l := range []struct{ file, value string }{
		{"memory.max", strconv.Itoa(memoryMiB<<20 + cgroupRoom)},
		{"memory.oom.group", "1"},
		{"pids.max", strconv.Itoa(maxThreads)},
	} {
		if err := write(filepath.Join(g.path, l.file), l.value); err != nil {
			return err
		}
	}
	// Not every kernel accounts swap.
	_ = write(filepath.Join(g.path, "memory.swap.max"), "0")
	return nil
}

// slow bounds the processor time. A process starts without that.
func (g *cgroup) slow() error {
	if g == nil || !g.limits {
		return nil
	}
	return write(filepath.Join(g.path, "cpu.max"), fmt.Sprintf("%d %d", processorQuota, processorPeriod))
}

// ranOut says that the kernel ended the process for its memory.
func (g *cgroup) ranOut() bool {
	if g == nil || !g.limits {
		return false
	}
	text, err := os.ReadFile(filepath.Join(g.path, "memory.events"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			return n != "0"
		}
	}
	return false
}

// remove removes the group of an ended process; the kernel may need a moment.
func (g *cgroup) remove() {
	if g == nil {
		return
	}
	if g.folder != nil {
		_ = g.folder.Close() // only opened to start a process in it
	}
	for range 50 {
		if err := os.Remove(g.path); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func write(file, text string) error {
	if err := os.WriteFile(file, []byte(text), 0); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}
