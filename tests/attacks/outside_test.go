package attacks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

var endingPort = regexp.MustCompile(`^done: (?:ws://127\.0\.0\.1:)?(\d+)`)

// knock tries the doors that a lambda says it has opened.
func knock(_ *testing.T, _ *stage, f fight, got map[string]string) {
	for name, outcome := range got {
		if !strings.HasPrefix(outcome, "done") {
			continue
		}
		network, address := "tcp", ""
		switch port := endingPort.FindStringSubmatch(outcome); {
		case port != nil:
			address = net.JoinHostPort("127.0.0.1", port[1])
		case name == "abstract":
			network, address = "unix", "@"+f.mark
		default:
			network, address = "unix", "/tmp/"+f.mark
		}
		conn, err := net.DialTimeout(network, address, 2*time.Second)
		if err != nil {
			got[name] = "out of reach"
			continue
		}
		_ = conn.Close() // nothing was sent
	}
}

// lookForMark looks for files that a lambda says it has left, and removes them.
func lookForMark(_ *testing.T, s *stage, f fight, got map[string]string) {
	var found []string
	for _, pattern := range []string{"/tmp/", "/dev/shm/", "/run/", "/var/tmp/", s.run + "/*/"} {
		names, _ := filepath.Glob(pattern + f.mark + "*") // the pattern is well formed
		found = append(found, names...)
	}
	for name, outcome := range got {
		if strings.HasPrefix(outcome, "done") && len(found) == 0 {
			got[name] = "private"
		}
	}
	for _, name := range found {
		_ = os.Remove(name) // those in the run folder go with the process
	}
}

// listLocalhost puts this host on the whitelist by its name; that it has a private
// address is for the proxy to see.
func listLocalhost(t *testing.T, s *stage) func() {
	t.Helper()
	return list(t, s, s.admin.AddDomain)
}

// allowLocalhost permits its address, too.
func allowLocalhost(t *testing.T, s *stage) func() {
	t.Helper()
	return list(t, s, s.admin.AddPrivateDomain)
}

func list(t *testing.T, s *stage, add func(context.Context, string) (*client.Domain, error)) func() {
	t.Helper()
	d, err := add(t.Context(), "localhost")
	require.NoError(t, err)
	return func() { require.NoError(t, s.admin.DeleteDomain(t.Context(), d.ID)) }
}

// requireOwnEnvironment looks at the variables that a process started with, which
// are not the lambda's: those it finds in process.env only.
func requireOwnEnvironment(t *testing.T, s *stage, f fight) (map[string]string, error) {
	t.Helper()
	before := map[int]bool{}
	for _, p := range s.Processes() {
		before[p.PID] = true
	}
	result, err := s.caller.Invoke(t.Context(), f.id, f.payload)
	if err != nil {
		return nil, err
	}
	var told struct {
		Env   map[string]string `json:"env"`
		Flags []string          `json:"flags"`
	}
	if err := json.Unmarshal(result, &told); err != nil {
		return nil, err
	}
	got := map[string]string{}
	for _, v := range attackEnvironment {
		if told.Env[v.Key] != v.Value {
			got["process.env."+v.Key] = "is missing"
		}
	}
	for name := range told.Env {
		if strings.Contains(name, "ATTACK_SECRET") {
			got["process.env."+name] = "is the gateway's"
		}
	}
	for _, p := range s.Processes() {
		if commandOf(p.PID) != "node" {
			continue // between its start and its program it has the gateway's own
		}
		real := read(fmt.Sprintf("/proc/%d/environ", p.PID))
		for _, name := range append([]client.Pair{{Key: "ATTACK_SECRET"}, {Key: "HOME"}}, attackEnvironment...) {
			if strings.Contains("\x00"+real, "\x00"+name.Key+"=") {
				got["the environment of the process"] = "has " + name.Key
			}
		}
	}
	if len(got) == 0 {
		got["the environment of the process"] = "as it was"
	}
	return got, nil
}

// requireSameProgram tells a process that became a shell, which ends with code 7,
// from one that only died of the attempt.
func requireSameProgram(t *testing.T, s *stage, f fight) (map[string]string, error) {
	t.Helper()
	_, err := s.caller.Invoke(t.Context(), f.id, f.payload)
	switch {
	case err == nil:
		return map[string]string{"become a shell": "an answer"}, nil
	case strings.Contains(err.Error(), "exit status 7"):
		return map[string]string{"become a shell": "done"}, nil
	}
	return map[string]string{"become a shell": err.Error()}, nil
}

// requireOwnAnswers makes many calls at once: each must have its own answer.
func requireOwnAnswers(t *testing.T, s *stage, f fight) (map[string]string, error) {
	t.Helper()
	outcome := "its own"
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			payload := maps.Clone(f.payload)
			payload["name"] = fmt.Sprintf("caller %d", i)
			result, err := s.caller.Invoke(t.Context(), f.id, payload)
			mu.Lock()
			defer mu.Unlock()
			if want := fmt.Sprintf("%q", payload["name"]); err != nil {
				outcome = err.Error()
			} else if string(result) != want {
				outcome = fmt.Sprintf("%s instead of %s", result, want)
			}
		})
	}
	wg.Wait()
	return map[string]string{"the answer of a call": outcome}, nil
}

// requireEcho calls twice: the call that breaks the language may fail with it, but
// must be answered, in time and not with another's answer, and so must the next.
func requireEcho(t *testing.T, s *stage, f fight) (map[string]string, error) {
	t.Helper()
	variant := f.payload["variant"].(string)
	for i := range 3 {
		payload := map[string]any{"variant": variant, "echo": fmt.Sprintf("call %d", i)}
		result, err := s.caller.Invoke(t.Context(), f.id, payload)
		var failed *client.Error
		switch {
		case errors.As(err, &failed) && failed.Function():
			return map[string]string{variant: "its own fault: " + err.Error()}, nil
		case err != nil:
			return map[string]string{variant: err.Error()}, nil
		case string(result) != fmt.Sprintf("%q", payload["echo"]):
			return map[string]string{variant: fmt.Sprintf("another answer: %s", result)}, nil
		}
	}
	return map[string]string{variant: "kept out"}, nil
}

// orphans are processes that an attack left without a parent.
func orphans(s *stage) (found []int) {
	for _, p := range dev.Descendants(os.Getpid()) {
		if p.PID != s.PID() && parentOf(p.PID) == os.Getpid() && !s.world.owns(p.PID) {
			found = append(found, p.PID)
		}
	}
	return found
}
