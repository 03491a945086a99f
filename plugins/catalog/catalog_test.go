package catalog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/catalog"
)

// install writes a manifest and an executable "run" into dir/name.
func install(t testing.TB, dir, name, manifest string) string {
	t.Helper()
	folder := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(folder, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "run"), []byte("#!/bin/sh\n"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "text"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, catalog.ManifestFile), []byte(manifest), 0o600))
	return folder
}

func TestOpenReadsEveryManifest(t *testing.T) {
	dir := t.TempDir()
	python := install(t, dir, "b", `{name: python, command: run, args: ["${dir}/main.py", "--heap=${memory_mib}"], protocol: 1, prestart: 2}`)
	node := install(t, dir, "a", `{name: javascript, command: `+filepath.Join(python, "run")+`, protocol: 1}`)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "no-runtime"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), nil, 0o600))

	c, err := catalog.Open(dir)
	require.NoError(t, err)
	all := c.Runtimes()
	require.Equal(t, []catalog.Runtime{
		{Name: "javascript", Dir: node, Command: filepath.Join(python, "run"), Protocol: 1},
		{Name: "python", Dir: python, Command: filepath.Join(python, "run"), Protocol: 1, Prestart: 2,
			Args: []string{filepath.Join(python, "main.py"), "--heap=${memory_mib}"}},
	}, all)
	require.Equal(t, []string{filepath.Join(python, "main.py"), "--heap=300"}, all[1].Arguments(300))
	require.Equal(t, "javascript", c.Default().Name, "the first by name")
	r, ok := c.Runtime("python")
	require.True(t, ok)
	require.Equal(t, all[1], r)
	_, ok = c.Runtime("cobol")
	require.False(t, ok)
	all[0].Name = "changed"
	require.Equal(t, "javascript", c.Default().Name, "the catalog is not the caller's to change")
}

func TestTheDefaultIsMarked(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "a", `{name: a, command: run, protocol: 1}`)
	install(t, dir, "b", `{name: b, command: run, protocol: 1, default: true}`)
	c, err := catalog.Open(dir)
	require.NoError(t, err)
	require.Equal(t, "b", c.Default().Name)
	install(t, dir, "c", `{name: c, command: run, protocol: 1, default: true}`)
	_, err = catalog.Open(dir)
	require.ErrorContains(t, err, `runtimes "b" and "c" both say default: true`)
}

func TestAFaultyManifestIsNamed(t *testing.T) {
	for name, test := range map[string]struct{ manifest, want string }{
		"an unknown key":                     {`{name: x, command: run, protocol: 1, pre_start: 2}`, "pre_start"},
		"no name":                            {`{command: run, protocol: 1}`, `name ""`},
		"a name with a slash":                {`{name: ../x, command: run, protocol: 1}`, "lower case letters"},
		"no command":                         {`{name: x, protocol: 1}`, "command is missing"},
		"a command that is not there":        {`{name: x, command: bin/x, protocol: 1}`, "no such file"},
		"a command that is only on PATH":     {`{name: x, command: sh, protocol: 1}`, "no such file"},
		"a command that is a folder":         {`{name: x, command: ., protocol: 1}`, "is not a file"},
		"a command that is not executable":   {`{name: x, command: text, protocol: 1}`, "is not executable"},
		"no protocol":                        {`{name: x, command: run}`, "protocol is 0, this gateway speaks 1"},
		"a newer protocol":                   {`{name: x, command: run, protocol: 2}`, "this gateway speaks 1"},
		"a prestart below zero":              {`{name: x, command: run, protocol: 1, prestart: -1}`, "it must be 0 to 64"},
		"a prestart that eats the machine":   {`{name: x, command: run, protocol: 1, prestart: 1000}`, "it must be 0 to 64"},
		"a word for a number":                {`{name: x, command: run, protocol: one}`, "cannot unmarshal"},
		"args that are no list":              {`{name: x, command: run, args: main.js, protocol: 1}`, "cannot unmarshal"},
		"a zero byte in an argument":         {`{name: x, command: run, args: ["a\0b"], protocol: 1}`, "zero byte"},
		"nothing":                            {``, "is empty"},
		"two documents":                      {"{name: x, command: run, protocol: 1}\n---\n{}", "more than one document"},
		"no YAML":                            {"\tname", "yaml"},
		"a file that is far too large":       {strings.Repeat("# x\n", 20_000), "larger than"},
		"a relative file":                    {`{name: x, command: run, protocol: 1, files: [data]}`, `files[0]: "data" is not an absolute path`},
		"a file that is not there":           {`{name: x, command: run, protocol: 1, files: [/nonexistent]}`, "files[0]: stat /nonexistent"},
		"the settings of the machine":        {`{name: x, command: run, protocol: 1, files: [/usr, /etc/]}`, "files[1]: /etc cannot be shown as a whole"},
		"all that is wrong with it, at once": {`{name: X, command: run, protocol: 7}`, "lower case letters"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			folder := install(t, dir, "x", test.manifest)
			_, err := catalog.Open(dir)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, filepath.Join(folder, catalog.ManifestFile))
			if strings.HasPrefix(name, "all") {
				require.ErrorContains(t, err, "protocol is 7")
			}
		})
	}
}

func TestAFaultyFolderIsAnError(t *testing.T) {
	_, err := catalog.Open(filepath.Join(t.TempDir(), "nonexistent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = catalog.Open(t.TempDir())
	require.ErrorContains(t, err, "no runtime found")

	dir := t.TempDir()
	install(t, dir, "a", `{name: same, command: run, protocol: 1}`)
	install(t, dir, "b", `{name: same, command: run, protocol: 1}`)
	_, err = catalog.Open(dir)
	require.ErrorContains(t, err, `runtime "same" is installed twice`)

	dir = t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", catalog.ManifestFile), 0o700))
	_, err = catalog.Open(dir)
	require.ErrorContains(t, err, "not a regular file")
}

func FuzzManifest(f *testing.F) {
	f.Add(`{name: x, command: run, protocol: 1}`)
	f.Add("name: &a [*a]")
	f.Fuzz(func(t *testing.T, manifest string) {
		dir := t.TempDir()
		install(t, dir, "x", manifest)
		if c, err := catalog.Open(dir); err == nil {
			r := c.Default()
			require.True(t, filepath.IsAbs(r.Command))
			require.Equal(t, 1, r.Protocol)
		}
	})
}

func TestTheFilesThatAProcessMayRead(t *testing.T) {
	dir := t.TempDir()
	folder := install(t, dir, "x", `{name: x, command: run, protocol: 1, files: ["/usr/share", "${dir}"]}`)
	c, err := catalog.Open(dir)
	require.NoError(t, err)
	require.Equal(t, []string{folder, "/usr/share", folder}, c.Default().Shown())
	require.Nil(t, catalog.Runtime{}.Shown())
}
