package dev

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// starts takes commands to the one goroutine that starts them: a parent-death
// signal fires when the thread that started the child ends, so that thread must
// live as long as the program.
var starts = sync.OnceValue(func() chan<- func() {
	queue := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range queue {
			f()
		}
	}()
	return queue
})

// start starts cmd in a process group of its own; it dies with this program.
func start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	result := make(chan error)
	starts() <- func() { result <- cmd.Start() }
	return <-result
}

// StartProcess starts any other server as a child that dies with this program
// and gives a function that ends it.
func StartProcess(cmd *exec.Cmd) (pid int, end func(), err error) {
	if err := start(cmd); err != nil {
		return 0, nil, err
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is of no interest
		close(done)
	}()
	return cmd.Process.Pid, func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its group, which is its own
		<-done
	}, nil
}

// tick is the unit of CPU time in /proc: Linux tells programs 100 a second on
// every machine.
const tick = 10 * time.Millisecond

// CPUTime is the processor time that a process and those below it have used,
// apart; processes that have ended do not count.
func CPUTime(pid int) (own, below time.Duration) {
	if s, err := stat(pid); err == nil {
		own = s.cpu
	}
	for _, p := range Descendants(pid) {
		if s, err := stat(p.PID); err == nil {
			below += s.cpu
		}
	}
	return own, below
}

// Process is a process below a gateway.
type Process struct {
	PID  int
	Name string // comm: what process.title sets
	born string // start time: with the PID it is unique
}

// Alive reports whether the process, and not another with its PID, still runs.
// A zombie does not.
func (p Process) Alive() bool {
	s, err := stat(p.PID)
	return err == nil && s.born == p.born && s.state != "Z" && s.state != "X"
}

// Kill ends the process at once.
func (p Process) Kill() error { return syscall.Kill(p.PID, syscall.SIGKILL) }

// PrivateBytes is the memory that the process shares with no other.
func (p Process) PrivateBytes() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
	if err != nil {
		return 0, err
	}
	return sumFields(text, "Private_Clean:", "Private_Dirty:")
}

// Processes lists the processes below the gateway, children of children too.
func (g *Gateway) Processes() []Process { return Descendants(g.PID()) }

// Named gives the process below the gateway with that name, which a lambda sets
// by process.title. Only the first 15 characters count.
func (g *Gateway) Named(name string) (Process, error) {
	for _, p := range g.Processes() {
		if p.Name == name[:min(15, len(name))] {
			return p, nil
		}
	}
	return Process{}, fmt.Errorf("no process below the gateway is named %s", name)
}

// ResidentBytes is the resident memory of the gateway's own process.
func (g *Gateway) ResidentBytes() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.PID()))
	if err != nil {
		return 0, err
	}
	return sumFields(text, "VmRSS:")
}

// sumFields adds up lines of the form "Name:   12 kB".
func sumFields(text []byte, names ...string) (int64, error) {
	var sum int64
	found := 0
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		for _, name := range names {
			if len(fields) < 2 || fields[0] != name {
				continue
			}
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += kb << 10
			found++
		}
	}
	if found != len(names) {
		return 0, fmt.Errorf("the kernel did not tell %v", names)
	}
	return sum, nil
}

// Descendants lists the processes below pid, without zombies.
func Descendants(pid int) []Process {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	children := map[int][]status{}
	for _, dir := range dirs {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if s, err := stat(child); err == nil {
			children[s.parent] = append(children[s.parent], s)
		}
	}
	var found []Process
	queue := []int{pid}
	for len(queue) > 0 {
		for _, s := range children[queue[0]] {
			queue = append(queue, s.pid)
			if s.state != "Z" {
				found = append(found, Process{PID: s.pid, Name: s.name, born: s.born})
			}
		}
		queue = queue[1:]
	}
	return found
}

// status is the part of /proc/PID/stat that we read.
type status struct {
	pid, parent int
	name        string
	state       string
	born        string
	cpu         time.Duration
}

func stat(pid int) (status, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return status{}, err
	}
	open, shut := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return status{}, errors.New("unreadable /proc stat")
	}
	fields := strings.Fields(string(text[shut+1:]))
	if len(fields) < 20 {
		return status{}, errors.New("short /proc stat")
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return status{}, err
	}
	var ticks time.Duration
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return status{}, err
		}
		ticks += time.Duration(n)
	}
	return status{pid: pid, parent: parent, name: string(text[open+1 : shut]), state: fields[0], born: fields[19], cpu: ticks * tick}, nil
}

// WaitGone waits until none of the processes is alive and gives those that
// still are after the time.
func WaitGone(processes []Process, within time.Duration) []Process {
	deadline := time.Now().Add(within)
	for {
		var left []Process
		for _, p := range processes {
			if p.Alive() {
				left = append(left, p)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(10 * time.Millisecond)
	}
}
