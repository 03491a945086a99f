package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is the file system that a process sees: a small one in memory, read-only,
// with what is mounted into it.
type Root struct {
	// Base is a folder to build on; it is covered for a moment.
	Base  string
	Binds []Bind // an outer one before what lies in it
	Links []Link
	Files []File
	// Scratch is the folder that a process may write to, in memory, of so many
	// bytes and files. It exists before what is bound into it.
	Scratch      string
	ScratchBytes int
	ScratchFiles int
	Proc         bool // mount /proc, of this process only
}

// Bind shows a file or folder of the machine, without device files, set-user-id
// and writing.
type Bind struct {
	From, To string
	Write    bool `json:",omitempty"` // but run nothing in it
	Device   bool `json:",omitempty"` // a device file, to read and write
	Optional bool `json:",omitempty"` // leave it out if it cannot be
}

// Link is a symbolic link.
type Link struct{ Path, Target string }

// File is a file with that text.
type File struct{ Path, Text string }

// oldRoot is where the machine's file system is meanwhile.
const oldRoot = "/.old"

// enter replaces the file system of this mount namespace.
func (r *Root) enter() error {
	// Nothing of what follows shows outside, and nothing from outside shows here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("root", r.Base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m,nr_inodes=4096"); err != nil {
		return fmt.Errorf("mount a file system in memory: %w", err)
	}
	if err := os.Mkdir(r.Base+oldRoot, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(r.Base, r.Base+oldRoot); err != nil {
		return fmt.Errorf("change the root folder: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := r.fill(); err != nil {
		return err
	}
	if r.Proc { // while the machine's can be seen: the kernel wants that
		if err := mountProc(); err != nil {
			return &stepError{StepProc, err}
		}
	}
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the old root folder: %w", err)
	}
	if err := os.Remove(oldRoot); err != nil {
		return err
	}
	// It was writable to be filled.
	return restrict("/", 0, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

func (r *Root) fill() error {
	if err := r.mountScratch(); err != nil {
		return err
	}
	for _, b := range r.Binds {
		if err := b.mount(); err != nil && !b.Optional {
			return fmt.Errorf("show %s: %w", b.From, err)
		}
	}
	for _, l := range r.Links {
		if err := os.MkdirAll(filepath.Dir(l.Path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(l.Target, l.Path); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for _, f := range r.Files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.Path, []byte(f.Text), 0o444); err != nil {
			return err
		}
	}
	if r.Proc {
		return os.MkdirAll("/proc", 0o555)
	}
	return nil
}

func (r *Root) mountScratch() error {
	if r.Scratch == "" {
		return nil
	}
	if err := os.MkdirAll(r.Scratch, 0o755); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=1777,size=%d,nr_inodes=%d", r.ScratchBytes, r.ScratchFiles)
	if err := unix.Mount("scratch", r.Scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount %s: %w", r.Scratch, err)
	}
	return nil
}

func (b Bind) mount() error {
	from := oldRoot + b.From
	info, err := os.Lstat(from)
	if err != nil {
		return noOldRoot(err)
	}
	if info.IsDir() {
		err = os.MkdirAll(b.To, 0o755)
	} else {
		err = touch(b.To)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, b.To, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	attributes := uint64(unix.MOUNT_ATTR_NOSUID)
	switch {
	case b.Device:
		attributes |= unix.MOUNT_ATTR_NOEXEC
	case b.Write:
		attributes |= unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODEV
	default:
		attributes |= unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV
	}
	return restrict(b.To, unix.AT_RECURSIVE, attributes)
}

// noOldRoot tells people the path that they know.
func noOldRoot(err error) error {
	var e *os.PathError
	if errors.As(err, &e) {
		e.Path = strings.TrimPrefix(e.Path, oldRoot)
	}
	return err
}

func restrict(path string, flags uint, attributes uint64) error {
	if err := unix.MountSetattr(unix.AT_FDCWD, path, flags, &unix.MountAttr{Attr_set: attributes}); err != nil {
		return fmt.Errorf("restrict the mount (needs Linux 5.12): %w", err)
	}
	return nil
}

func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

// mountProc shows the process itself and nothing of the machine.
func mountProc() error {
	return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "subset=pid,hidepid=invisible")
}
