package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/sluice-faas/sluice/tests/dev"
)

// row is one line of the table.
type row struct {
	measure string
	ours    string
	peer    string // name and figure; empty without one
	ratio   string
	aim     string // empty without one
	met     bool
}

// report collects what the sections measured.
type report struct {
	rows     []row
	commands []string
	notes    []string
}

func (r *report) add(rows ...row) { r.rows = append(r.rows, rows...) }

// command notes a command for the reader to repeat, once.
func (r *report) command(text string) {
	if !slices.Contains(r.commands, text) {
		r.commands = append(r.commands, text)
	}
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *report) print(w io.Writer, b *bench) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "machine   %s, %d cores, %s\n", processor(), runtime.NumCPU(), kernel())
	fmt.Fprintf(&out, "versions  %s\n\n", strings.Join(versions(b), ", "))
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "measure\tours\tpeer\tratio\taim\t")
	for _, row := range r.rows {
		verdict := ""
		switch {
		case row.aim == "":
		case row.met:
			verdict = "met"
		default:
			verdict = "MISSED"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", row.measure, row.ours, row.peer, row.ratio, row.aim, verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, title := range []struct {
		name  string
		lines []string
	}{{"notes", r.notes}, {"commands", r.commands}} {
		if len(title.lines) > 0 {
			fmt.Fprintf(&out, "\n%s\n  %s\n", title.name, strings.Join(title.lines, "\n  "))
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(text))
}

// versions names every program that took part.
func versions(b *bench) []string {
	list := []string{runtime.Version(), "Node.js " + first(b.node, "--version")}
	if binary, err := dev.Binary(); err == nil {
		list = append([]string{first(binary, "--version")}, list...)
	}
	if b.needsPeers() {
		list = append(list, first(b.workerd(), "--version"), "functions-framework "+frameworkVersion(b.peers), strings.TrimSuffix(first("wrk", "-v"), " Copyright (C) 2012 Will Glozer"))
	}
	return list
}

// frameworkVersion is what npm installed; the program itself does not tell.
func frameworkVersion(peers string) string {
	text, err := os.ReadFile(filepath.Join(peers, "node_modules", "@google-cloud", "functions-framework", "package.json"))
	var installed struct {
		Version string `json:"version"`
	}
	if err != nil || json.Unmarshal(text, &installed) != nil || installed.Version == "" {
		return "of unknown version"
	}
	return installed.Version
}

// first is the first line that a command prints; some print it to stderr and
// exit with a code, which does not matter here.
func first(command string, args ...string) string {
	out, _ := exec.Command(command, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return filepath.Base(command)
	}
	return line
}
