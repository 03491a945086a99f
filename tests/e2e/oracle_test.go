package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// oracleInput is what every lambda of the oracle is called with.
var oracleInput = map[string]any{
	"headers": []client.Pair{{Key: "X-Test", Value: "grüße"}},
	"payload": map[string]any{"n": 1.5, "text": "ü€𝄞", "list": []any{1, nil, "a"}, "deep": map[string]any{"yes": true}},
}

// verdict is what came of one call, in a form that both can be brought to.
type verdict struct {
	Code    string   `json:"code,omitempty"` // without com.liveperson.faas.handler.
	Message any      `json:"message,omitempty"`
	Result  any      `json:"result,omitempty"` // nil is null and undefined
	Logs    []logged `json:"logs,omitempty"`
}

type logged struct {
	Level   string `json:"level"`
	Message any    `json:"message"`
	Extras  []any  `json:"extras"`
}

// TestOutcomesAreThoseOfThePublicCLIsLocalRunner runs small lambdas, for every row
// of the contract's result, failure and logging rules, with the local runner of
// liveperson-functions-cli and by a manual invocation of the gateway, and compares.
// Where the contract wants another outcome than the runner's, the case has both.
func TestOutcomesAreThoseOfThePublicCLIsLocalRunner(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(oracleCases), 40)
	g := sharedGateway(t)
	install(t, "lpf")
	theirs := runLocally(t)
	author := developer(t, g)
	turns := make(chan struct{}, 4)
	for _, c := range oracleCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			l, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("oracle"), Description: c.name, Code: c.code, Environment: c.env})
			require.NoError(t, err)
			_, err = author.DeployAndWait(t.Context(), l.ID)
			require.NoError(t, err)
			headers := oracleInput["headers"].([]client.Pair)
			result, err := author.InvokeManual(t.Context(), l.ID, oracleInput["payload"], client.WithHeaders(headers...))
			ours := ourVerdict(t, result, err)
			theirs := theirVerdict(t, theirs[c.id()])
			if c.why == "" {
				require.NotNil(t, theirs, "the local runner printed nothing, so it has no outcome to compare")
				requireVerdict(t, *theirs, ours)
				return
			}
			t.Log("differs by the contract: " + c.why)
			requireSays(t, c.ours, ours)
			if c.runner == "" {
				require.Nil(t, theirs, "the local runner prints nothing")
				return
			}
			require.NotNil(t, theirs)
			requireSays(t, c.runner, *theirs)
		})
	}
}

// testLPFInvokeLocally holds the short way to the runner (clients/local-runner.js)
// against the command itself.
func testLPFInvokeLocally(t *testing.T, cli *lpf) {
	theirs := runLocally(t)
	d := cli.desk(t, developerRole)
	var cases []oracleCase
	for _, c := range oracleCases {
		if slices.Contains([]string{"callback with a result", "callback with a TypeError", "throws a string", "environment variables"}, c.name) {
			cases = append(cases, c)
		}
	}
	require.Len(t, cases, 4)
	localProject(t, d, cases)
	for _, c := range cases {
		got := d.run(t, "invoke", c.id(), "--local")
		require.Zero(t, got.code, "%+v", got)
		require.Empty(t, got.stderr)
		requireVerdict(t, *theirVerdict(t, theirs[c.id()]), *theirVerdict(t, got.stdout))
		require.Equal(t, c.code, d.read(t, "project/functions/"+c.id()+"/index.js"), "the source is as it was")
	}
}

// id names the case's function in a project.
func (c oracleCase) id() string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, c.name)
}

var localRuns struct {
	sync.Once
	printed map[string]string
	err     error
}

// runLocally runs all cases with the local runner, once, and gives what it printed.
func runLocally(t *testing.T) map[string]string {
	t.Helper()
	localRuns.Do(func() { localRuns.printed, localRuns.err = runAllLocally(t) })
	require.NoError(t, localRuns.err)
	return localRuns.printed
}

func runAllLocally(t *testing.T) (map[string]string, error) {
	d := &desk{dir: t.TempDir()}
	localProject(t, d, oracleCases)
	node, err := dev.Node()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	arguments := []string{filepath.Join(here, "clients", "local-runner.js"), localCLI(t)}
	for _, c := range oracleCases {
		arguments = append(arguments, c.id())
	}
	cmd := exec.CommandContext(ctx, node, arguments...)
	cmd.Dir = filepath.Join(d.dir, "project")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TZ=UTC", "HOME=" + d.dir}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	printed := map[string]string{}
	lines := bufio.NewReader(bytes.NewReader(out))
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		var line struct{ Name, Printed string }
		// A lambda's own print, past its console, is none of the runner's.
		if json.Unmarshal(text, &line) == nil && line.Name != "" {
			printed[line.Name] = line.Printed
		}
	}
	if len(printed) != len(oracleCases) {
		return nil, fmt.Errorf("the local runner ran %d of %d functions: %s", len(printed), len(oracleCases), stderr.String())
	}
	return printed, nil
}

func localCLI(t *testing.T) string {
	t.Helper()
	here, err := os.Getwd()
	require.NoError(t, err)
	return filepath.Join(here, "lpf", "node_modules", "liveperson-functions-cli")
}

// localProject makes the project at a desk what `lpf init` makes of it, without the
// packages that it installs, and a function for each case.
func localProject(t *testing.T, d *desk, cases []oracleCase) {
	t.Helper()
	rewire, err := os.ReadFile(filepath.Join(localCLI(t), "bin", "example", "bin", "rewire.js"))
	require.NoError(t, err)
	d.write(t, "project/bin/rewire.js", string(rewire))
	for _, c := range cases {
		config := map[string]any{"name": c.id(), "input": oracleInput, "environmentVariables": c.env}
		if c.env == nil {
			config["environmentVariables"] = []client.Pair{{}}
		}
		text, err := json.Marshal(config)
		require.NoError(t, err)
		d.write(t, "project/functions/"+c.id()+"/config.json", string(text))
		d.write(t, "project/functions/"+c.id()+"/index.js", c.code)
	}
}

// incorrectFormat is what the log says of a failure that is no error; INCORRECT in
// a case.
const incorrectFormat = "Received error in an incorrect format. Please provide an error object to the callback."

const handlerCode = "com.liveperson.faas.handler."

// theirVerdict reads what the local runner printed; nil is nothing.
func theirVerdict(t *testing.T, printed string) *verdict {
	t.Helper()
	if strings.TrimSpace(printed) == "" {
		return nil
	}
	var p struct {
		Result    any
		Logs      []logged
		ErrorCode string
		ErrorMsg  any
		ErrorLogs []logged
	}
	require.NoError(t, json.Unmarshal([]byte(printed), &p), printed)
	return &verdict{strings.TrimPrefix(p.ErrorCode, handlerCode), p.ErrorMsg, p.Result, append(p.Logs, p.ErrorLogs...)}
}

func ourVerdict(t *testing.T, r *client.ManualResult, err error) verdict {
	t.Helper()
	var o verdict
	var logs []client.LogRecord
	var failed *client.Error
	switch {
	case errors.As(err, &failed):
		require.Equal(t, client.StatusLambdaFailed, failed.Status, "%v", err)
		o.Code, o.Message, logs = strings.TrimPrefix(failed.Code, handlerCode), failed.Message, failed.Logs
	default:
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(r.Result, &o.Result))
		logs = r.Logs
	}
	for _, l := range logs {
		line := logged{Level: l.Level, Message: l.Message}
		require.NoError(t, json.Unmarshal(l.Extras, &line.Extras))
		o.Logs = append(o.Logs, line)
	}
	return o
}

func requireVerdict(t *testing.T, want, got verdict) {
	t.Helper()
	require.JSONEq(t, said(t, want), said(t, got))
}

// requireSays checks an outcome against its JSON.
func requireSays(t *testing.T, want string, got verdict) {
	t.Helper()
	require.JSONEq(t, strings.ReplaceAll(want, `"INCORRECT"`, `"`+incorrectFormat+`"`), said(t, got))
}

func said(t *testing.T, o verdict) string {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	return string(text)
}
