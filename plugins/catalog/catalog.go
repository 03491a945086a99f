// Package catalog knows which language runtimes are installed. A runtime is a
// folder with a manifest, runtime.yaml:
//
//	name: javascript            # lower case letters, digits and dashes
//	command: bin/node           # absolute, or relative to this folder
//	args: ["${dir}/main.js"]    # ${dir} is this folder, ${memory_mib} a process's memory limit
//	protocol: 1                 # of faas.runtime.v1
//	prestart: 2                 # processes kept started ahead; optional
//	default: true               # taken when a lambda names none; optional
//	files: [/opt/data]          # what its processes may read in a sandbox, beside this
//	                            # folder and the system's libraries; optional
//
// and, if it likes, with templates, see Template.
//
// The command is looked for where the manifest says and nowhere else: PATH is
// never searched. A process does not start in this folder, so arguments that
// name files in it need ${dir}.
package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-faas/sluice/plugins"
)

// ManifestFile is the name of a runtime's manifest in its folder.
const ManifestFile = "runtime.yaml"

// Bounds of a manifest.
const (
	maxManifest = 64 << 10 // bytes
	maxPrestart = 64
	maxFiles    = 64
)

var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Runtime is one installed runtime.
type Runtime struct {
	Name     string
	Dir      string   // the manifest's folder, absolute
	Command  string   // absolute
	Args     []string // ${dir} replaced, ${memory_mib} not yet: see Arguments
	Protocol int
	Prestart int // processes to keep started ahead, 0 to 64
	// IsDefault marks the runtime of lambdas that name none.
	IsDefault bool
	// Templates are in the order of their file. They are shared: do not change them.
	Templates []Template
	Files     []string // absolute; there
}

// Shown are the files and folders that a process needs to read: its runtime's own
// folder, if it has one, and Files.
func (r Runtime) Shown() []string {
	if r.Dir == "" {
		return r.Files
	}
	return append([]string{r.Dir}, r.Files...)
}

// Arguments returns the arguments of a process with that memory limit.
func (r Runtime) Arguments(memoryMiB int) []string {
	replace := strings.NewReplacer("${memory_mib}", fmt.Sprint(memoryMiB))
	args := make([]string, len(r.Args))
	for i, a := range r.Args {
		args[i] = replace.Replace(a)
	}
	return args
}

// Catalog is the set of installed runtimes, read once. It is safe for
// concurrent use.
type Catalog struct {
	runtimes []Runtime // by name
}

// Open reads every dir/*/runtime.yaml. All faulty manifests are named in the
// error, each with its file. A folder without a manifest is not a runtime; a
// dir without any runtime is an error, because nothing could run.
func Open(dir string) (*Catalog, error) {
	files, err := manifests(dir)
	if err != nil {
		return nil, err
	}
	var c Catalog
	var errs []error
	for _, file := range files {
		r, err := read(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("runtime manifest %s: %w", file, err))
			continue
		}
		c.runtimes = append(c.runtimes, r)
	}
	if err := errors.Join(append(errs, c.check()...)...); err != nil {
		return nil, err
	}
	if len(c.runtimes) == 0 {
		return nil, fmt.Errorf("no runtime found: %s holds no folder with a %s", dir, ManifestFile)
	}
	return &c, nil
}

func manifests(dir string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("runtimes folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("runtimes folder: %w", err)
	}
	var files []string
	for _, e := range entries {
		file := filepath.Join(dir, e.Name(), ManifestFile)
		info, err := os.Stat(file)
		switch {
		case err == nil && info.Mode().IsRegular():
			files = append(files, file)
		case err == nil:
			return nil, fmt.Errorf("runtime manifest %s is not a regular file", file)
		case !errors.Is(err, os.ErrNotExist) && e.IsDir():
			return nil, fmt.Errorf("runtime manifest: %w", err)
		}
	}
	return files, nil
}

// check finds faults between manifests and sorts them by name.
func (c *Catalog) check() (errs []error) {
	slices.SortFunc(c.runtimes, func(a, b Runtime) int { return strings.Compare(a.Name, b.Name) })
	var def string
	templates := map[string]string{} // runtime that has it
	for i, r := range c.runtimes {
		for _, t := range r.Templates {
			if other, ok := templates[t.UUID]; ok && other != r.Name {
				errs = append(errs, fmt.Errorf("runtimes %q and %q both have a template %s", other, r.Name, t.UUID))
			}
			templates[t.UUID] = r.Name
		}
		if i > 0 && c.runtimes[i-1].Name == r.Name {
			errs = append(errs, fmt.Errorf("runtime %q is installed twice: in %s and %s", r.Name, c.runtimes[i-1].Dir, r.Dir))
		}
		if r.IsDefault && def != "" {
			errs = append(errs, fmt.Errorf("runtimes %q and %q both say default: true", def, r.Name))
		}
		if r.IsDefault {
			def = r.Name
		}
	}
	return errs
}

// Runtime returns the runtime of that name.
func (c *Catalog) Runtime(name string) (Runtime, bool) {
	for _, r := range c.runtimes {
		if r.Name == name {
			return r, true
		}
	}
	return Runtime{}, false
}

// Runtimes returns all runtimes, sorted by name.
func (c *Catalog) Runtimes() []Runtime { return slices.Clone(c.runtimes) }

// Default returns the runtime that says default: true, else the first by name.
func (c *Catalog) Default() Runtime {
	for _, r := range c.runtimes {
		if r.IsDefault {
			return r
		}
	}
	return c.runtimes[0]
}

// manifest is runtime.yaml as written.
type manifest struct {
	Name     string   `yaml:"name"`
	Command  string   `yaml:"command"`
	Args     []string `yaml:"args"`
	Protocol int      `yaml:"protocol"`
	Prestart int      `yaml:"prestart"`
	Default  bool     `yaml:"default"`
	Files    []string `yaml:"files"`
}

func read(file string) (Runtime, error) {
	text, err := readBounded(file, maxManifest)
	if err != nil {
		return Runtime{}, err
	}
	var m manifest
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&m); errors.Is(err, io.EOF) {
		return Runtime{}, errors.New("is empty")
	} else if err != nil {
		return Runtime{}, err
	}
	if err := d.Decode(new(manifest)); !errors.Is(err, io.EOF) {
		return Runtime{}, errors.New("holds more than one document")
	}
	return m.runtime(filepath.Dir(file))
}

// readBounded reads a file of at most limit bytes. One that is no regular file is
// an error, rather than a wait for who writes into it.
func readBounded(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", filepath.Base(file), limit)
	}
	return text, nil
}

// runtime checks m and resolves what is relative to dir, telling all faults at once.
func (m manifest) runtime(dir string) (Runtime, error) {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !validName.MatchString(m.Name) {
		fault("name %q must be lower case letters, digits and dashes, beginning with a letter, at most 63 characters", m.Name)
	}
	if m.Protocol != plugins.ProtocolVersion {
		fault("protocol is %d, this gateway speaks %d", m.Protocol, plugins.ProtocolVersion)
	}
	if m.Prestart < 0 || m.Prestart > maxPrestart {
		fault("prestart is %d, it must be 0 to %d", m.Prestart, maxPrestart)
	}
	expand := strings.NewReplacer("${dir}", dir)
	command, err := resolveCommand(dir, expand.Replace(m.Command))
	if err != nil {
		errs = append(errs, err)
	}
	r := Runtime{
		Name: m.Name, Dir: dir, Command: command,
		Protocol: m.Protocol, Prestart: m.Prestart, IsDefault: m.Default,
	}
	for _, a := range m.Args {
		if strings.ContainsRune(a, 0) {
			fault("an argument holds a zero byte")
		}
		r.Args = append(r.Args, expand.Replace(a))
	}
	if len(m.Files) > maxFiles {
		fault("files has %d entries: the limit is %d", len(m.Files), maxFiles)
	}
	for i, file := range m.Files {
		file = filepath.Clean(expand.Replace(file))
		if err := checkFile(file); err != nil {
			fault("files[%d]: %w", i, err)
		}
		r.Files = append(r.Files, file)
	}
	if r.Templates, err = readTemplates(dir); err != nil {
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// reserved are the folders that a sandbox makes itself.
var reserved = []string{"/", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp"}

func checkFile(file string) error {
	switch {
	case !filepath.IsAbs(file):
		return fmt.Errorf("%.200q is not an absolute path", file)
	case slices.Contains(reserved, file):
		return fmt.Errorf("%s cannot be shown as a whole: name what is needed in it", file)
	}
	_, err := os.Stat(file)
	return err
}

func resolveCommand(dir, command string) (string, error) {
	if command == "" {
		return "", errors.New("command is missing")
	}
	if !filepath.IsAbs(command) {
		command = filepath.Join(dir, command)
	}
	info, err := os.Stat(command)
	switch {
	case err != nil:
		return "", fmt.Errorf("command: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("command %s is not a file", command)
	case info.Mode().Perm()&0o111 == 0:
		return "", fmt.Errorf("command %s is not executable", command)
	}
	return filepath.Clean(command), nil
}
