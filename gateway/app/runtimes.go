package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-faas/sluice/gateway/config"
	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
)

// openRuntimes reads which languages there are and begins to start processes
// ahead, which come up while the start goes on.
func (a *App) openRuntimes(context.Context) (err error) {
	if a.catalog, err = catalog.Open(a.config.RuntimesDir); err != nil {
		return err
	}
	if a.runDir, err = openRunDir(a.config.DataDir, a.sandbox.ByMachinePaths()); err != nil {
		return err
	}
	a.closers.push("the run folder", func(context.Context) error { return closeRunDir(a.runDir) })
	a.pool = pool.New(pool.Config{
		Prestart: a.prestart(), MaxCallsPerProcess: a.limits.CallsPerProcess, MaxProcessesPerKey: a.limits.Processes,
		MaxProcesses: a.limits.AllProcesses, MaxWaiting: a.limits.Waiting,
	}, a.launch, a.log)
	a.closers.push("the runtime processes", a.pool.Close)
	a.metrics.MustRegister(poolCollector(a.pool.Stats))
	a.ready.checks = append(a.ready.checks, check{name: "runtimes", probe: a.checkRuntimes})
	return nil
}

func (a *App) prestart() map[string]int {
	counts := map[string]int{}
	for _, r := range a.catalog.Runtimes() {
		counts[r.Name] = r.Prestart
		if a.config.Prestart != config.ManifestPrestart {
			counts[r.Name] = a.config.Prestart
		}
	}
	return counts
}

// launch starts one process, for the pool.
func (a *App) launch(ctx context.Context, name string) (pool.Process, error) {
	r, ok := a.catalog.Runtime(name)
	if !ok {
		return nil, fmt.Errorf("the runtime %q is not installed: there is none in %s", name, a.config.RuntimesDir)
	}
	p, err := host.Launch(ctx, host.Options{
		Runtime: r, RunDir: a.runDir, MemoryMiB: a.limits.Memory, Sandbox: a.sandbox, Log: a.log.With().Str("runtime", name).Logger(),
	})
	if err != nil {
		return nil, err // not p: a nil *host.Process is no nil Process
	}
	return p, nil
}

// checkRuntimes asks whether a process of the default runtime has ever come up.
func (a *App) checkRuntimes(ctx context.Context) error {
	_, err := a.pool.Describe(ctx, a.catalog.Default().Name)
	if errors.Is(err, context.DeadlineExceeded) {
		return errNoRuntime
	}
	return err
}

// names are the installed runtimes, the default first.
func (a *App) runtimeNames() []string {
	names := []string{a.catalog.Default().Name}
	for _, r := range a.catalog.Runtimes() {
		if r.Name != names[0] {
			names = append(names, r.Name)
		}
	}
	return names
}

// templates are those of all installed runtimes, the default's first. One of an
// event that this gateway does not know is left out: its language may be newer.
func (a *App) templates() []lambda.Template {
	var all []lambda.Template
	for _, name := range a.runtimeNames() {
		r, _ := a.catalog.Runtime(name)
		for _, t := range r.Templates {
			input, err := templateInput(t)
			if err != nil {
				a.log.Warn().Err(err).Str("runtime", name).Str("template", t.Name).Msg("a template is left out")
				continue
			}
			environment := make([]lambda.Pair, len(t.Environment))
			for i, v := range t.Environment {
				environment[i] = lambda.Pair{Key: v.Key, Value: v.Value}
			}
			all = append(all, lambda.Template{
				ID: t.UUID, Name: t.Name, Description: t.Description, EventID: t.Event, Runtime: name, Code: t.Code,
				Environment: environment, Input: input,
			})
		}
	}
	return all
}

// templateInput is an example of what a lambda of t is called with.
func templateInput(t catalog.Template) (json.RawMessage, error) {
	if err := lambda.CheckEvent(t.Event); err != nil {
		return nil, err
	}
	e, known := lambda.EventByID(t.Event)
	switch {
	case known: // it has an example of its own
	case t.Payload != nil:
		e.Payload = t.Payload
	default:
		e.Payload = json.RawMessage(`{}`)
	}
	return e.Input(), nil
}

// prepare gets this gateway ready to run a deployment before it is live.
func (a *App) prepare(ctx context.Context, d *lambda.Deployment) error {
	v, err := a.store.Version(ctx, d.Account, d.LambdaID, d.Version)
	if err != nil {
		return err
	}
	return a.pool.Warm(ctx, a.specs.SpecFor(lambda.Live{
		Account: d.Account, LambdaID: d.LambdaID, Version: d.Version, DeploymentID: d.ID, Digest: d.Digest, Runtime: v.Runtime,
	}))
}

// discard ends what was prepared for a deployment that did not become live.
func (a *App) discard(d *lambda.Deployment) {
	a.pool.Retire(invoke.PoolKey(d.Account, d.LambdaID, d.ID))
}

// retire drains the processes of a deployment that is not live any more, and has
// those of its successor kept ready.
func (a *App) retire(old, live *lambda.Live) {
	if old != nil && (live == nil || live.DeploymentID != old.DeploymentID) {
		a.pool.Retire(invoke.PoolKey(old.Account, old.LambdaID, old.DeploymentID))
	}
	if live != nil {
		a.keepWarm(live.Account, live.LambdaID)
	}
}

// keepWarm has the pool keep as many processes of what is live of a lambda as are
// set for it. Whoever comes last knows what was written last.
func (a *App) keepWarm(account, lambdaID string) {
	a.warming.Lock()
	defer a.warming.Unlock()
	live, ok := a.views.Live(account, lambdaID)
	if !ok {
		return // or retired, which ends them
	}
	n := a.views.MinWarm(account, lambdaID)
	err := a.pool.Keep(a.specs.SpecFor(*live), n)
	if err != nil && !errors.Is(err, pool.ErrRetired) && !errors.Is(err, pool.ErrClosed) {
		a.log.Warn().Err(err).Str("accountId", account).Str("lambdaId", lambdaID).Int("minWarm", n).Msg("no process is kept ready for a lambda")
	}
}

// condition tells how the processes of what is live of a lambda are.
func (a *App) condition(live *lambda.Live) pool.Status {
	return invoke.MaskStatus(a.pool.Status(invoke.PoolKey(live.Account, live.LambdaID, live.DeploymentID)))
}

// openRunDir makes the folder for the sockets of the runtime processes. Its path
// is short, whatever the data folder's is, because the kernel takes no long ones
// for sockets, and the same at every start, so that it is found and emptied after
// a crash.
func openRunDir(dataDir string, forAll bool) (string, error) {
	sum := sha256.Sum256([]byte(dataDir))
	name := fmt.Sprintf("sluice-%d-%s", os.Geteuid(), hex.EncodeToString(sum[:5]))
	dir := filepath.Join(runBase(name, forAll), name)
	if err := host.PrepareRunDir(dir); err != nil {
		return "", err
	}
	return dir, nil
}

// runBase is the user's own folder for sockets, if there is one and it is short
// enough, or the one for temporary files. forAll says that other users must come
// there.
func runBase(name string, forAll bool) string {
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir()} {
		info, err := os.Stat(base)
		if err == nil && info.IsDir() && filepath.IsAbs(base) && len(filepath.Join(base, name)) <= host.MaxRunDir && (!forAll || isOpen(base)) {
			return base
		}
	}
	return "/tmp"
}

// isOpen says that every user may go to a folder.
func isOpen(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

func closeRunDir(dir string) error {
	if err := host.PrepareRunDir(dir); err != nil {
		return err
	}
	return os.Remove(dir)
}
