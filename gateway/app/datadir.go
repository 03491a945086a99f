package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-faas/sluice/gateway/certs"
	"github.com/sluice-faas/sluice/gateway/secret/sealed"
)

// lockFile is in the data folder for as long as it lives; only its lock comes
// and goes, with the process that holds it.
const lockFile = "sluice.lock"

// dataDir is the folder with a gateway's state, locked for this process.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir makes the folder if need be, for this user alone, and takes its
// lock. The kernel frees the lock when the process ends, however it ends.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, unusable(path, err)
	}
	if err := checkOwner(path, os.Geteuid()); err != nil {
		return nil, unusable(path, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(path, err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = sign(lock)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("the data folder %s is in use by another sluice%s: stop that one, or choose another folder with --data-dir", path, holder(lock))
	} else if err != nil {
		err = unusable(path, err)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.removeLeftovers(); err != nil {
		return nil, errors.Join(unusable(path, err), lock.Close())
	}
	return d, nil
}

// checkOwner refuses a folder of another user, such as one in /tmp that waits for
// whoever names it: its owner may have put credentials and links there, and can
// replace what is put there. Root may use any folder, as it does in containers.
func checkOwner(path string, uid int) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || uid == 0 || stat.Uid == 0 || int(stat.Uid) == uid {
		return nil
	}
	return fmt.Errorf("it belongs to user %d, who could replace everything in it", stat.Uid)
}

// warning says what is wrong with the rights of the folder, if anything.
func (d *dataDir) warning() string {
	info, err := os.Stat(d.path)
	if err != nil || info.Mode().Perm()&0o002 == 0 {
		return ""
	}
	return "every user of this machine can replace what is in " + d.path + ": run chmod 700 " + quote(d.path)
}

// removeLeftovers deletes what a killed process left of writing its files: each
// is written under a name that os.CreateTemp makes of its own.
func (d *dataDir) removeLeftovers() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isLeftover(e.Name()) {
			continue
		}
		if err := os.Remove(d.file(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func isLeftover(name string) bool {
	for _, file := range []string{infoFile, demoFile, certs.CertificateFile, certs.KeyFile, sealed.KeyFile, extraFile, rootsFile} {
		number, ok := strings.CutPrefix(name, "."+file+".")
		if ok && number != "" && strings.Trim(number, "0123456789") == "" {
			return true
		}
	}
	return false
}

func unusable(path string, err error) error {
	return fmt.Errorf("the data folder %s cannot be used: %w: choose another with --data-dir", path, err)
}

// sign says in the lock file who holds it, for the text that others show.
func sign(lock *os.File) error {
	text := fmt.Sprintf("process %d, since %s\n", os.Getpid(), time.Now().Format(time.DateTime))
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(text), 0)
	return err
}

func holder(lock *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(lock, 0, 200))
	if who := strings.TrimSpace(string(text)); err == nil && who != "" {
		return " (" + who + ")"
	}
	return "" // it has just begun
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *dataDir) close(context.Context) error { return d.lock.Close() }

// writeFile replaces a file of the folder: whoever reads it, after a crash too,
// sees the old text or the new one.
func (d *dataDir) writeFile(name string, text []byte) error {
	path := d.file(name)
	f, err := os.CreateTemp(d.path, "."+name+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		_ = os.Remove(f.Name()) // gone already if it was renamed
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// sync makes a rename outlive a power failure.
func (d *dataDir) sync() error {
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// remove deletes a file of the folder, if it is there.
func (d *dataDir) remove(name string) error {
	if err := os.Remove(d.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what the last run left: %w", err)
	}
	return nil
}
