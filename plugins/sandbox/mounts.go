package sandbox

import (
	"cmp"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

// Where things are inside.
const (
	insideRun     = "/run/sluice"
	insideScratch = "/tmp"
	hostname      = "sluice"
)

// Bounds of what a process may write to, in memory.
const (
	scratchBytes = 16 << 20
	scratchFiles = 1024
)

// libraries are where programs find theirs, as far as they exist.
var libraries = []string{
	"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64",
	"/etc/ld.so.cache", "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
}

// devices are those that every program expects.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// view is what a process sees of the machine's files.
type view struct {
	binds   []launch.Bind
	links   []launch.Link
	read    []string // for Landlock
	execute []string
}

// newView finds the files of a command. Each is shown under the path that the
// command names it by.
func newView(command string, files []string) (*view, error) {
	v := &view{}
	interpreter, err := interpreterOf(command)
	if err != nil {
		return nil, err
	}
	v.execute = []string{command}
	if interpreter != "" {
		v.execute = append(v.execute, interpreter)
		files = append(slices.Clone(files), libraries...)
	}
	for _, path := range append([]string{command}, files...) {
		if err := v.show(path); err != nil {
			return nil, err
		}
	}
	v.sort()
	return v, nil
}

// show adds a file or folder. A symbolic link on the way to it is shown as one,
// with what it leads to.
func (v *view) show(path string) error {
	path = filepath.Clean(path)
	if !filepath.IsAbs(path) || path == "/" {
		return fmt.Errorf("%s: name a file or folder by its absolute path", path)
	}
	for links := 0; ; links++ {
		link, err := firstLink(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if link == "" {
			break
		}
		if links > 40 {
			return fmt.Errorf("%s: too many symbolic links", path)
		}
		target, err := os.Readlink(link)
		if err != nil {
			return err
		}
		v.links = append(v.links, launch.Link{Path: link, Target: target})
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		path = filepath.Join(target, strings.TrimPrefix(path, link))
	}
	v.binds = append(v.binds, launch.Bind{From: path, To: path})
	v.read = append(v.read, path)
	return nil
}

// firstLink is the first part of the path that is a symbolic link; empty if none.
func firstLink(path string) (string, error) {
	at := ""
	for part := range strings.SplitSeq(path[1:], "/") {
		at += "/" + part
		info, err := os.Lstat(at)
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeSymlink != 0 {
			return at, nil
		}
	}
	return "", nil
}

// sort puts outer folders first, and leaves out what lies in another one.
func (v *view) sort() {
	slices.SortFunc(v.binds, func(a, b launch.Bind) int { return cmp.Compare(a.To, b.To) })
	kept := v.binds[:0]
	for _, b := range v.binds {
		if !slices.ContainsFunc(kept, func(k launch.Bind) bool { return b.To == k.To || strings.HasPrefix(b.To, k.To+"/") }) {
			kept = append(kept, b)
		}
	}
	v.binds = kept
	// A link that lies in a folder that is shown is there already.
	v.links = slices.DeleteFunc(v.links, func(l launch.Link) bool {
		return slices.ContainsFunc(kept, func(k launch.Bind) bool { return strings.HasPrefix(l.Path, k.To+"/") })
	})
}

// interpreterOf is the dynamic loader of a program; empty for a static one.
func interpreterOf(program string) (string, error) {
	f, err := elf.Open(program)
	if err != nil {
		if _, bad := err.(*elf.FormatError); bad { //nolint:errorlint // as package elf returns it
			return "", fmt.Errorf("%s is no program of this kernel: a script cannot be a runtime's command in a sandbox; name its interpreter", program)
		}
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read from
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err != nil {
				return "", fmt.Errorf("%s: %w", program, err)
			}
			return strings.TrimRight(string(text), "\x00"), nil
		}
	}
	return "", nil
}

// root is the file system of a process whose own folder is dir.
func (v *view) root(dir string, trusted certificates, uid int, proc bool) *launch.Root {
	r := &launch.Root{
		Base: dir, Binds: slices.Clone(v.binds), Links: v.links, Proc: proc,
		Scratch: insideScratch, ScratchBytes: scratchBytes, ScratchFiles: scratchFiles,
		Files: []launch.File{
			{Path: "/etc/hosts", Text: "127.0.0.1 localhost\n::1 localhost\n"},
			{Path: "/etc/resolv.conf"}, // there is no name server: names are the proxy's work
			{Path: "/etc/nsswitch.conf", Text: "passwd: files\ngroup: files\nhosts: files\n"},
			{Path: "/etc/passwd", Text: fmt.Sprintf("lambda:x:%d:%d::%s:/nonexistent\n", uid, uid, insideScratch)},
			{Path: "/etc/group", Text: fmt.Sprintf("lambda:x:%d:\n", uid)},
		},
	}
	for _, d := range devices {
		r.Binds = append(r.Binds, launch.Bind{From: d, To: d, Device: true, Optional: true})
	}
	if trusted.extra != "" {
		r.Binds = append(r.Binds, launch.Bind{From: trusted.extra, To: insideCA}, launch.Bind{From: trusted.roots, To: insideRoots})
	}
	r.Binds = append(r.Binds, launch.Bind{From: dir, To: insideRun, Write: true})
	return r
}
