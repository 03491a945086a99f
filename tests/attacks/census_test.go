package attacks_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/tests/dev"
)

// census is all that an attack might leave behind, counted from outside.
type census struct {
	processes   map[string]int // below the gateway, by command
	orphans     []string       // that lost their parent
	descriptors map[string]int // of the gateway, by kind
	sockets     []string       // unix sockets with a name that is the gateway's or an attack's
	run         int            // entries of the run folder
	files       []string       // below the data folder, without numbers
	elsewhere   []string       // names of attacks in /tmp and the like
	mounts      string         // the gateway's
	own         string         // the test's
	goroutines  int
}

func (c census) String() string {
	return fmt.Sprintf("processes %v, descriptors %v, %d sockets, %d folders of processes, %d files, %d goroutines",
		c.processes, c.descriptors, len(c.sockets), c.run, len(c.files), c.goroutines)
}

// markWord begins every name that an attack of this run makes.
var markWord = fmt.Sprintf("attack%d", os.Getpid())

// attackable are folders of the host in which an attack might leave something.
var attackable = []string{"/tmp", "/dev/shm", "/var/tmp", "/run", "/"}

func (s *stage) census(t *testing.T) census {
	t.Helper()
	c := census{processes: map[string]int{}, descriptors: map[string]int{}}
	for _, p := range s.Processes() {
		c.processes[commandOf(p.PID)]++
	}
	for _, p := range dev.Descendants(os.Getpid()) {
		if p.PID != s.PID() && parentOf(p.PID) == os.Getpid() && !strings.Contains(commandOf(p.PID), "sluice") && !s.world.owns(p.PID) {
			c.orphans = append(c.orphans, fmt.Sprintf("%d %s", p.PID, commandOf(p.PID)))
		}
	}
	c.descriptors = descriptors(s.PID())
	c.sockets = s.sockets(t)
	entries, err := os.ReadDir(s.run)
	require.NoError(t, err)
	c.run = len(entries)
	c.files = filesBelow(t, s.dir)
	for _, folder := range attackable {
		found, _ := filepath.Glob(filepath.Join(folder, markWord+"-*")) // the pattern is well formed
		c.elsewhere = append(c.elsewhere, found...)
	}
	c.mounts, c.own = read(fmt.Sprintf("/proc/%d/mountinfo", s.PID())), read("/proc/self/mountinfo")
	c.goroutines = s.goroutines(t)
	return c
}

// leftovers says what there is now that was not there before.
func (before census) leftovers(now census) []string {
	var left []string
	note := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	for kind, n := range now.processes {
		if n > before.processes[kind] {
			note("%d more processes of %q", n-before.processes[kind], kind)
		}
	}
	for _, o := range now.orphans {
		note("an orphan: %s", o)
	}
	for kind, n := range now.descriptors {
		if n > before.descriptors[kind]+slack[kind] {
			note("%d more descriptors: %s", n-before.descriptors[kind], kind)
		}
	}
	if len(now.sockets) > len(before.sockets) {
		note("more unix sockets: %v", missingFrom(before.sockets, now.sockets))
	}
	if now.run > before.run {
		note("%d more folders of processes", now.run-before.run)
	}
	for _, f := range missingFrom(before.files, now.files) {
		note("a file: %s", f)
	}
	for _, f := range now.elsewhere {
		note("a file: %s", f)
	}
	if now.mounts != before.mounts || now.own != before.own {
		note("the mounts are others")
	}
	if now.goroutines > before.goroutines+20 {
		note("%d more goroutines", now.goroutines-before.goroutines)
	}
	return left
}

// slack is what comes and goes: connections of clients, and files that a database
// opens when it writes.
var slack = map[string]int{"tcp": 8, "file": 6, "other": 2}

// calm waits until two censuses, a moment apart, are the same, and the processes
// that the gateway keeps ready are there.
func (s *stage) calm(t *testing.T) census {
	t.Helper()
	last := s.census(t)
	for end := time.Now().Add(10 * time.Second); ; {
		time.Sleep(700 * time.Millisecond)
		now := s.census(t)
		changes := append(last.leftovers(now), now.leftovers(last)...)
		if len(changes) == 0 {
			return now
		}
		if time.Now().After(end) {
			t.Fatalf("the gateway does not come to rest: %.4000s", strings.Join(changes, "; "))
		}
		last = now
	}
}

// requireNothingLeft waits a while for what an attack left to go.
func (s *stage) requireNothingLeft(t *testing.T) {
	t.Helper()
	var left []string
	for end := time.Now().Add(15 * time.Second); ; {
		if s.mode == off {
			s.tidy()
		}
		if left = s.before.leftovers(s.census(t)); len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("the attack left behind: %s", strings.Join(left, "; "))
}

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "" // it has ended
	}
	return string(text)
}

// commandOf is what a process runs: the program's name and its script's, not its
// numbers, and not a title that it gave itself.
func commandOf(pid int) string {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return "one that ends"
	}
	return strings.TrimSuffix(filepath.Base(exe), " (deleted)")
}

func parentOf(pid int) int {
	stat := read(fmt.Sprintf("/proc/%d/stat", pid))
	var state string
	var parent int
	_, _ = fmt.Sscan(stat[strings.LastIndexByte(stat, ')')+1:], &state, &parent) // 0 for one that has ended
	return parent
}

var memfd = regexp.MustCompile(`^/memfd:(\w+)`)

// descriptors counts a process's open files by kind.
func descriptors(pid int) map[string]int {
	kinds := map[string]int{}
	tcp := tcpSockets(pid)
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // the pattern is well formed
	for _, link := range links {
		name, err := os.Readlink(link)
		if err != nil {
			continue
		}
		kind := "file"
		switch {
		case strings.HasPrefix(name, "socket:"):
			kind = "socket"
			if tcp[strings.Trim(strings.TrimPrefix(name, "socket:"), "[]")] {
				kind = "tcp"
			}
		case strings.HasPrefix(name, "pipe:"):
			kind = "pipe"
		case memfd.MatchString(name):
			kind = "memory " + memfd.FindStringSubmatch(name)[1]
		case strings.HasPrefix(name, "anon_inode:[pidfd]"), strings.HasPrefix(name, "pidfd:"):
			kind = "pidfd"
		case strings.HasPrefix(name, "anon_inode:"):
			kind = "other"
		case strings.HasPrefix(name, "/proc/"):
			kind = "/proc"
		case strings.HasPrefix(name, "/sys/fs/cgroup/"):
			kind = "cgroup"
		}
		kinds[kind]++
	}
	return kinds
}

// tcpSockets are the inodes of TCP sockets that a process's network has.
func tcpSockets(pid int) map[string]bool {
	found := map[string]bool{}
	for _, file := range []string{"tcp", "tcp6"} {
		for _, line := range strings.Split(read(fmt.Sprintf("/proc/%d/net/%s", pid, file)), "\n") {
			if fields := strings.Fields(line); len(fields) > 9 {
				found[fields[9]] = true
			}
		}
	}
	return found
}

// sockets lists the names of unix sockets below the gateway's folder, and those
// that begin like an attack's.
func (s *stage) sockets(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, line := range strings.Split(read("/proc/net/unix"), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		name := fields[7]
		if strings.HasPrefix(name, s.dir) && fields[3] == "00010000" || strings.Contains(name, markWord+"-") { // it listens
			found = append(found, name)
		}
	}
	sort.Strings(found)
	return found
}

var numbers = regexp.MustCompile(`js-\d+-[0-9a-z]+|[0-9a-f]*[0-9][0-9a-f]*`)

// filesBelow lists the files of the gateway, kinds rather than names: where it
// numbers its own, another number is none of an attack's doing.
func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has gone meanwhile
		}
		if strings.Contains(path, "/etcd/") && !strings.Contains(path, markWord) {
			return nil // its log and its snapshots come and go
		}
		name := numbers.ReplaceAllString(strings.TrimPrefix(path, dir), "#")
		if strings.Contains(path, markWord+"-") || !slices.Contains(files, name) {
			files = append(files, name)
		}
		return nil
	})
	require.NoError(t, err)
	return files
}

func missingFrom(before, now []string) []string {
	return slices.DeleteFunc(slices.Clone(now), func(v string) bool { return slices.Contains(before, v) })
}

var goroutineCount = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

func (s *stage) goroutines(t *testing.T) int {
	t.Helper()
	resp, err := http.Get(s.Info.URLs["admin"] + "/metrics")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text := make([]byte, 1<<20)
	n := 0
	for n < len(text) {
		m, err := resp.Body.Read(text[n:])
		n += m
		if err != nil {
			break
		}
	}
	found := goroutineCount.FindSubmatch(text[:n])
	require.NotNil(t, found, "the gateway does not tell its goroutines")
	var count int
	_, err = fmt.Sscan(string(found[1]), &count)
	require.NoError(t, err)
	return count
}
