package attacks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// attack is a hostile lambda and what must come of it.
type attack struct {
	file  string // in lambdas/
	about string // what it goes for
	// variants are ways of it, each on a process of its own; none: one way.
	variants []string
	// tries are the outcomes of what it tries, by name; a name that ends in * stands
	// for all that begin so. Every outcome that the lambda tells must be here.
	tries tries
	// answer is how the call itself ends when it fails: a pattern of the error's code
	// and message. It must fail, unless it may.
	answer string
	may    bool
	// deploy is how the deployment fails, if it does.
	deploy string
	// notOff says why it is not run without a sandbox.
	notOff string
	// reaches says that connections arrive where the mode is that weak.
	reaches []mode
	// environment is the lambda's.
	environment []client.Pair
	// outside looks at what the lambda claims to have done, from outside, and may
	// correct it.
	outside func(t *testing.T, s *stage, f fight, got map[string]string)
	// prepare changes the account before the lambda is let loose, and gives what
	// changes it back.
	prepare func(t *testing.T, s *stage) (undo func())
	// drive replaces the one call.
	drive func(t *testing.T, s *stage, f fight) (map[string]string, error)
}

// outcomes are patterns by mode: off, weak, required. One that begins with done is
// a success of the attack.
type outcomes [modes]string

type tries map[string]outcomes

// fight is one lambda of an attack, deployed.
type fight struct {
	id      string
	mark    string
	payload map[string]any
}

// holds tells whether nothing of the attack succeeds in a mode.
func (a attack) holds(m mode) bool { return len(a.successes(m)) == 0 }

// successes are the tries that do. Where one is only a step to another, it is
// harmless and none.
func (a attack) successes(m mode) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(a.tries)) {
		if strings.HasPrefix(a.tries[name][m], "done") && !a.tries.harmless(name) {
			names = append(names, name)
		}
	}
	return names
}

// harmless tries prepare another one, which is the attack.
func (tries) harmless(name string) bool { return strings.HasPrefix(name, "write it to ") }

// expected gives the pattern for what the lambda tells under a name.
func (a attack) expected(name string, m mode) (string, bool) {
	if o, ok := a.tries[name]; ok {
		return o[m], true
	}
	best := ""
	for pattern := range a.tries {
		if prefix, star := strings.CutSuffix(pattern, "*"); star && strings.HasPrefix(name, prefix) && (best == "" || len(pattern) > len(best)) {
			best = pattern
		}
	}
	if best == "" {
		return "", false
	}
	return a.tries[best][m], true
}

// run lets the lambda loose and looks at what remains.
func (s *stage) fight(t *testing.T, a attack) {
	t.Helper()
	if a.prepare != nil {
		undo := a.prepare(t, s)
		defer undo()
	}
	arrived := s.world.total()
	stop := s.neighbour.keepCalling()
	variants := a.variants
	if len(variants) == 0 {
		variants = []string{""}
	}
	var wg sync.WaitGroup
	turns := make(chan struct{}, 3)
	for _, variant := range variants {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			name := variant
			if name == "" {
				name = a.file
			}
			got, err := s.one(t, a, variant)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			s.compare(t, a, name, got)
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := s.world.total() - arrived; n > 0 && !slices.Contains(a.reaches, s.mode) {
		t.Errorf("%d connections or datagrams arrived", n)
	}
	s.requireNothingLeft(t)
}

// one runs one variant: deploys it, calls it, removes it.
func (s *stage) one(t *testing.T, a attack, variant string) (got map[string]string, err error) {
	f := fight{mark: fmt.Sprintf("%s-%d", markWord, s.marks.Add(1)), payload: maps.Clone(s.facts)}
	f.payload["mark"], f.payload["variant"] = f.mark, variant
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := s.author.CreateLambda(ctx, client.LambdaSpec{
		Name: strings.ReplaceAll(f.mark, "-", "_"), Description: a.about, Code: code(t, a.file+".js"), Environment: a.environment,
	})
	if err != nil {
		return nil, err
	}
	f.id = l.ID
	_, err = s.author.DeployAndWait(ctx, l.ID)
	switch {
	case err != nil && (a.deploy == "" || !regexp.MustCompile(a.deploy).MatchString(err.Error())):
		return nil, err
	case err != nil:
		return nil, s.author.DeleteLambda(ctx, l.ID)
	case a.deploy != "":
		err = errors.New("it could be deployed")
	}
	drive := a.drive
	if drive == nil {
		drive = call
	}
	got, callErr := drive(t, s, f)
	if want := a.answer; callErr != nil && (want == "" || !regexp.MustCompile(want).MatchString(callErr.Error())) {
		err = errors.Join(err, fmt.Errorf("its call failed: %w", callErr))
	} else if callErr == nil && want != "" && !a.may && len(got) == 0 {
		err = errors.Join(err, fmt.Errorf("its call did not fail, but should with %q", want))
	}
	if a.outside != nil && got != nil {
		a.outside(t, s, f, got)
	}
	_, undeploy := s.author.UndeployAndWait(ctx, l.ID)
	return got, errors.Join(err, undeploy, s.author.DeleteLambda(ctx, l.ID))
}

// call makes one call and reads what the lambda tells.
func call(t *testing.T, s *stage, f fight) (map[string]string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTime+10*time.Second)
	defer cancel()
	result, err := s.caller.Invoke(ctx, f.id, f.payload)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(result, &all); err != nil {
		return nil, nil //nolint:nilerr // it tells nothing
	}
	told := map[string]string{}
	for name, v := range all {
		if text, ok := v.(string); ok {
			told[name] = text
		}
	}
	return told, nil
}

// compare checks the outcomes of a lambda against the table.
func (s *stage) compare(t *testing.T, a attack, name string, got map[string]string) {
	t.Helper()
	for _, try := range slices.Sorted(maps.Keys(got)) {
		want, known := a.expected(try, s.mode)
		switch {
		case !known:
			t.Errorf("%s: %q came to %q, of which the table says nothing", name, try, got[try])
		case !regexp.MustCompile("(?s)^(?:" + want + ")$").MatchString(got[try]):
			t.Errorf("%s: %q came to %q, not to %q", name, try, got[try], want)
		}
	}
}

// tidy ends and removes what an attack without a sandbox leaves behind.
func (s *stage) tidy() {
	for _, folder := range attackable {
		found, _ := filepath.Glob(filepath.Join(folder, markWord+"-*")) // the pattern is well formed
		for _, name := range found {
			_ = os.RemoveAll(name) // the census sees if it stays
		}
	}
	for _, pattern := range []string{"planted", markWord + "-*"} {
		found, _ := filepath.Glob(filepath.Join(s.DataDir(), pattern))
		for _, name := range found {
			_ = os.Remove(name)
		}
	}
	for _, p := range orphans(s) {
		_ = syscall.Kill(p, syscall.SIGKILL) // it may have ended
	}
}

func requireAttacks(t *testing.T, m mode) {
	t.Helper()
	s := openStage(t, m)
	for _, a := range attacks {
		if m == off && a.notOff != "" {
			continue
		}
		t.Run(a.file, func(t *testing.T) {
			begin := time.Now()
			s.fight(t, a)
			t.Logf("%.1f s", time.Since(begin).Seconds())
			require.NoError(t, s.neighbour.call(t.Context()))
		})
	}
}

func TestWithoutASandboxTheAttacksSucceed(t *testing.T)  { requireAttacks(t, off) }
func TestAttacksUnderRequired(t *testing.T)              { requireAttacks(t, required) }
func TestAttacksUnderAutoWithoutNamespaces(t *testing.T) { requireAttacks(t, weak) }
