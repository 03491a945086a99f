package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// TestALambdaChoosesItsSetOfPackages has a gateway with two sets: the runtime's own,
// and one that an operator made of a package of ours.
func TestALambdaChoosesItsSetOfPackages(t *testing.T) {
	t.Parallel()
	root, err := dev.ModuleRoot()
	require.NoError(t, err)
	runtimes := filepath.Join(sharedTemp(t), "runtimes")
	own := filepath.Join(runtimes, "javascript")
	require.NoError(t, os.CopyFS(own, os.DirFS(filepath.Join(root, "bin", "runtimes", "javascript"))))

	set := t.TempDir()
	for name, text := range map[string]string{
		"package.json":                       `{"name": "javascript-reports", "sluice": {"label": "reports"}, "dependencies": {"greeting": "1.2.3"}}`,
		"node_modules/greeting/package.json": `{"name": "greeting", "version": "1.2.3", "main": "index.js"}`,
		"node_modules/greeting/index.js":     `module.exports = (name) => 'Hello ' + name;`,
	} {
		path := filepath.Join(set, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	made := exec.Command(filepath.Join(own, "node"), filepath.Join(root, "runtimes", "javascript", "build.mjs"), "--set", set, "--out", filepath.Join(runtimes, "javascript-reports")) //nolint:gosec // the test's own paths
	out, err := made.CombinedOutput()
	require.NoError(t, err, "%s", out)

	g := ownGateway(t, t.TempDir(), "--no-sample", "--runtimes-dir", runtimes)
	author, app := developer(t, g), brand(t, g)
	installed, err := author.Runtimes(t.Context())
	require.NoError(t, err)
	require.Len(t, installed, 2)
	require.Equal(t, "Node.js 24 (reports)", installed[1].Name, "%+v", installed)

	create := func(word, code string, runtime *client.Runtime) (*client.Lambda, error) {
		l, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName(word), Description: "made by " + t.Name(), Code: code, Runtime: runtime})
		if err != nil {
			return nil, err
		}
		return author.DeployAndWait(t.Context(), l.ID)
	}
	const greets = `const greet = require('greeting'); function lambda(input, callback) { callback(null, greet(input.payload)) }`
	const sorts = `const _ = require('lodash'); function lambda(input, callback) { callback(null, _.VERSION) }`
	l, err := create("greets", greets, &installed[1])
	require.NoError(t, err)
	require.Equal(t, `"Hello Ada"`, invoked(t, app, l.ID, "Ada"))
	l, err = create("sorts", sorts, &installed[0])
	require.NoError(t, err)
	require.Equal(t, `"4.18.1"`, invoked(t, app, l.ID, nil))

	_, err = create("greets", greets, &installed[0])
	require.ErrorContains(t, err, "Cannot find module 'greeting'")
	require.ErrorContains(t, err, "lodash", "what there is")
	_, err = create("sorts", sorts, &installed[1])
	require.ErrorContains(t, err, "Cannot find module 'lodash'")
	require.ErrorContains(t, err, "greeting")
}

// sharedTemp is a folder for one test to which every user may go, as the folders of
// runtimes need it where the gateway is root.
func sharedTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-e2e")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // that is what is wanted
	return dir
}
