package catalog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/catalog"
)

const (
	oneUUID     = "6d0f1a52-7c3e-4b98-a1d4-0e5f92c8b763"
	anotherUUID = "c2a94e07-518d-4f3b-9b60-7d1e83fa2546"
)

// withTemplates installs a runtime with a file of templates, and code beside it.
func withTemplates(t testing.TB, dir, name, list string) string {
	t.Helper()
	folder := filepath.Join(install(t, dir, name, fmt.Sprintf(`{name: %s, command: run, protocol: 1}`, name)), catalog.TemplatesDir)
	require.NoError(t, os.Mkdir(folder, 0o700))
	for file, text := range map[string]string{
		catalog.TemplatesFile: list, "a.js": "// grüße\n", "empty.js": " \n", "binary.js": "\xff", "large.js": strings.Repeat("x", 500<<10),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600))
	}
	return folder
}

func TestALanguageBringsItsTemplates(t *testing.T) {
	dir := t.TempDir()
	withTemplates(t, dir, "x", `
- {uuid: `+oneUUID+`, name: One, description: the first, file: a.js, payload: {n: 1, list: [true, null]}, environment: [{key: A, value: "1"}]}
- {uuid: `+anotherUUID+`, name: Two, description: the second, file: a.js, event: an_event}
`)
	install(t, dir, "y", `{name: y, command: run, protocol: 1}`)
	c, err := catalog.Open(dir)
	require.NoError(t, err)
	r, ok := c.Runtime("x")
	require.True(t, ok)
	require.Equal(t, []catalog.Template{
		{UUID: oneUUID, Name: "One", Description: "the first", Code: "// grüße\n", Payload: []byte(`{"list":[true,null],"n":1}`),
			Environment: []catalog.Variable{{Key: "A", Value: "1"}}},
		{UUID: anotherUUID, Name: "Two", Description: "the second", Code: "// grüße\n", Event: "an_event"},
	}, r.Templates)
	r, ok = c.Runtime("y")
	require.True(t, ok)
	require.Empty(t, r.Templates)
}

func TestNoTemplatesAtAll(t *testing.T) {
	for _, list := range []string{"", "# none yet\n", "[]"} {
		dir := t.TempDir()
		withTemplates(t, dir, "x", list)
		c, err := catalog.Open(dir)
		require.NoError(t, err)
		require.Empty(t, c.Default().Templates)
	}
}

func TestAFaultyTemplateIsNamed(t *testing.T) {
	entry := func(change string) string {
		fields := map[string]string{"uuid": oneUUID, "name": "One", "description": "the first", "file": "a.js"}
		name, value, _ := strings.Cut(change, "=")
		fields[name] = value
		var b strings.Builder
		for k, v := range fields {
			fmt.Fprintf(&b, ", %s: %s", k, v)
		}
		return "- {" + b.String()[2:] + "}\n"
	}
	for name, c := range map[string]struct{ list, want string }{
		"an unknown field":                  {entry("colour=red"), "colour"},
		"no UUID":                           {entry("uuid=7"), "uuid"},
		"a UUID in capitals":                {entry("uuid=" + strings.ToUpper(oneUUID)), "in lower case"},
		"no name":                           {entry(`name=""`), "name has 0 characters"},
		"a name that is too long":           {entry("name=" + strings.Repeat("n", 101)), "name has 101 characters: give 1 to 100"},
		"a blank description":               {entry(`description=" "`), "description"},
		"an event that cannot be one":       {entry("event=No Event"), "no id of an event"},
		"an event with a payload":           {entry("event=e, payload: {}"), "remove one"},
		"a payload that JSON cannot say":    {entry("payload=.inf"), "nothing that JSON can say"},
		"a payload with keys of all kinds":  {entry("payload={1: 2, x: 3}"), "nothing that JSON can say"},
		"a payload that is too large":       {entry("payload=" + strings.Repeat("x", 20<<10)), "the limit is 16384"},
		"a variable without a name":         {entry("environment=[{value: x}]"), "environment[0] has no key"},
		"no file":                           {entry(`file=""`), "must be the name of a file"},
		"a file elsewhere":                  {entry("file=../runtime.yaml"), "must be the name of a file"},
		"a file at an absolute path":        {entry("file=/etc/passwd"), "must be the name of a file"},
		"a hidden file":                     {entry("file=.."), "must be the name of a file"},
		"a file that is not there":          {entry("file=b.js"), "no such file"},
		"a file that is a pipe":             {entry("file=pipe"), "not a regular file"},
		"a file that is empty":              {entry("file=empty.js"), "is empty"},
		"a file that is no text":            {entry("file=binary.js"), "is not UTF-8"},
		"a file that is too large":          {entry("file=large.js"), "large.js is larger than"},
		"a UUID that is there twice":        {entry("name=One") + entry("name=Two"), oneUUID + `" is there twice`},
		"a name that is there twice":        {entry("name=One") + entry("uuid="+anotherUUID), `"One" is there twice`},
		"a list that is none":               {"{}", "cannot unmarshal"},
		"no YAML":                           {"\tx", "yaml"},
		"a list that is too long":           {strings.Repeat("- {}\n", 201), "has 201 templates: the limit is 200"},
		"a file of templates that is huge":  {strings.Repeat("# x\n", 80_000), "templates.yaml is larger than"},
		"all that is wrong with it at once": {entry("uuid=7") + entry("file=b.js"), "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			folder := withTemplates(t, dir, "x", c.list)
			require.NoError(t, syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o600))
			_, err := catalog.Open(dir)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, filepath.Join(folder, catalog.TemplatesFile))
			if strings.HasPrefix(name, "all") {
				require.ErrorContains(t, err, `uuid "7" is none`)
			}
		})
	}
}

func TestATemplateOfTwoLanguages(t *testing.T) {
	dir := t.TempDir()
	list := "- {uuid: " + oneUUID + ", name: One, description: the first, file: a.js}\n"
	withTemplates(t, dir, "x", list)
	withTemplates(t, dir, "y", list)
	_, err := catalog.Open(dir)
	require.ErrorContains(t, err, `runtimes "x" and "y" both have a template `+oneUUID)
}
