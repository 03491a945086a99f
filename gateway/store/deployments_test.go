package store_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// keysWith lists every key that has the given segment.
func keysWith(t *testing.T, segment string) []string {
	t.Helper()
	r, err := client.Get(t.Context(), "/sluice/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	require.NoError(t, err)
	var found []string
	for _, kv := range r.Kvs {
		if strings.Contains(string(kv.Key)+"/", "/"+segment+"/") {
			found = append(found, string(kv.Key))
		}
	}
	return found
}

// workOf finds the work of a lambda as a fresh reader sees it.
func workOf(t *testing.T, s *store.Store, l *lambda.Lambda) store.Work {
	t.Helper()
	r, err := s.OpenRollouts(t.Context())
	require.NoError(t, err)
	defer r.Close()
	w, ok := r.Of(l.Account, l.ID)
	require.True(t, ok, "no work for lambda %s", l.Name)
	return w
}

func claim(t *testing.T, s *store.Store, p *store.Presence, l *lambda.Lambda) store.Work {
	t.Helper()
	w, err := s.Claim(t.Context(), p, workOf(t, s, l))
	require.NoError(t, err)
	return w
}

// deploy takes l to Deploy Finish, starting a deployment if none is under way.
func deploy(t *testing.T, s *store.Store, p *store.Presence, l *lambda.Lambda) int64 {
	t.Helper()
	if _, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"}); err != nil {
		requireKind(t, err, lambda.KindConflict, lambda.CodeDeploymentConflict)
	}
	w := rollOut(t, s, p, l)
	revision, err := s.FinishDeployment(t.Context(), w)
	require.NoError(t, err)
	return revision
}

// rollOut claims the work of l and takes it to Deploy Start.
func rollOut(t *testing.T, s *store.Store, p *store.Presence, l *lambda.Lambda) store.Work {
	t.Helper()
	w := claim(t, s, p, l)
	w, err := s.Built(t.Context(), w, []byte("built"))
	require.NoError(t, err)
	w, err = s.RolledOut(t.Context(), w)
	require.NoError(t, err)
	return w
}

func undeploy(t *testing.T, s *store.Store, p *store.Presence, l *lambda.Lambda) {
	t.Helper()
	_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Undeploy, By: "dev"})
	require.NoError(t, err)
	_, err = s.FinishUndeployment(t.Context(), claim(t, s, p, l))
	require.NoError(t, err)
}

func save(t *testing.T, s *store.Store, l *lambda.Lambda, code string) {
	t.Helper()
	r, _, err := s.UpdateLambda(t.Context(), l.Account, l.ID, l.Version, func(n *lambda.Lambda) (bool, error) {
		n.Code = code
		return true, nil
	})
	require.NoError(t, err)
	*l = *r.Lambda
}

func record(t *testing.T, s *store.Store, l *lambda.Lambda) store.Record {
	t.Helper()
	r, err := s.Record(t.Context(), l.Account, l.ID)
	require.NoError(t, err)
	return r
}

func TestDeployment(t *testing.T) {
	t.Run("a deployment goes through its states and makes its version live", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		p := register(t, s)

		d, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
		require.NoError(t, err)
		require.Equal(t, lambda.BuildStart, d.State)
		require.Equal(t, 1, d.Version)
		require.Regexp(t, `^[a-z]+_[a-z]+\d$`, d.Name)
		r := record(t, s, l)
		require.Equal(t, d, r.Last)
		require.Equal(t, lambda.Draft, r.State())

		w := claim(t, s, p, l)
		require.Equal(t, p.ID, w.Claimant)
		w, err = s.Built(t.Context(), w, []byte("built"))
		require.NoError(t, err)
		require.Equal(t, lambda.BuildFinish, record(t, s, l).Last.State)
		artifact, err := s.Artifact(t.Context(), l.Account, l.ID, d.Digest)
		require.NoError(t, err)
		require.Equal(t, "built", string(artifact))
		w, err = s.RolledOut(t.Context(), w)
		require.NoError(t, err)
		require.Equal(t, lambda.DeployStart, record(t, s, l).Last.State)
		require.Zero(t, record(t, s, l).Last.DeployedAt)
		require.Equal(t, lambda.Draft, record(t, s, l).State())

		v := view(t, s)
		require.NoError(t, s.Acknowledge(t.Context(), p, w, nil))
		revision, err := s.FinishDeployment(t.Context(), w)
		require.NoError(t, err)
		r = record(t, s, l)
		require.Equal(t, lambda.Productive, r.State())
		require.Equal(t, lambda.DeployFinish, r.Last.State)
		require.Equal(t, d.ID, r.Last.ID)
		require.NotZero(t, r.Last.DeployedAt)
		require.Equal(t, d.ID, r.Live.DeploymentID)
		require.Equal(t, "javascript", r.Live.Runtime)
		require.Equal(t, "hello", r.Live.Name)
		require.NoError(t, v.WaitFor(t.Context(), revision))
		live, ok := v.Live(l.Account, l.ID)
		require.True(t, ok)
		require.Equal(t, r.Live, live)
		require.Equal(t, revision, s.Written())

		version, err := s.Version(t.Context(), l.Account, l.ID, 1)
		require.NoError(t, err)
		require.Equal(t, l.Code, version.Code)
		require.Equal(t, d.Digest, version.Digest)
		require.Empty(t, keysWith(t, d.ID), "acknowledgements are left")
		for _, k := range keysWith(t, l.ID) {
			require.NotContains(t, k, "/rollout/")
		}
	})
	t.Run("a save after a deployment makes the lambda modified, and the live version stays as it was", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		p := register(t, s)
		deploy(t, s, p, l)
		before := l.Code
		save(t, s, l, "changed")
		r := record(t, s, l)
		require.Equal(t, lambda.Modified, r.State())
		version, err := s.Version(t.Context(), l.Account, l.ID, r.Live.Version)
		require.NoError(t, err)
		require.Equal(t, before, version.Code)
	})
	t.Run("a save during a deployment does not change what is deployed", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		p := register(t, s)
		w := func() store.Work {
			_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
			require.NoError(t, err)
			return rollOut(t, s, p, l)
		}()
		save(t, s, l, "changed")
		_, err := s.FinishDeployment(t.Context(), w)
		require.NoError(t, err)
		r := record(t, s, l)
		require.Equal(t, 1, r.Live.Version)
		require.Equal(t, lambda.Modified, r.State())
	})
	t.Run("a failed redeployment leaves what was live, and says why", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		p := register(t, s)
		deploy(t, s, p, l)
		live := record(t, s, l).Live
		failure := &lambda.Failure{Code: lambda.CodeLambdaContract, Message: "1:2: no"}
		for _, state := range []lambda.DeploymentState{lambda.BuildError, lambda.DeployError} {
			save(t, s, l, string(state))
			_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
			require.NoError(t, err)
			w := claim(t, s, p, l)
			if state == lambda.DeployError {
				w, err = s.Built(t.Context(), w, []byte("x"))
				require.NoError(t, err)
				w, err = s.RolledOut(t.Context(), w)
				require.NoError(t, err)
			}
			_, err = s.FailDeployment(t.Context(), w, failure)
			require.NoError(t, err)
			r := record(t, s, l)
			require.Equal(t, state, r.Last.State)
			require.Equal(t, failure, r.Last.Failure)
			require.Zero(t, r.Last.DeployedAt)
			require.Equal(t, live, r.Live)
			require.Equal(t, lambda.Modified, r.State())
		}
	})
	t.Run("an undeployment marks the lambda, then takes it away", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Undeploy, By: "dev"})
		requireKind(t, err, lambda.KindConflict, lambda.CodeDeploymentConflict)
		p := register(t, s)
		deploy(t, s, p, l)
		d, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Undeploy, By: "dev"})
		require.NoError(t, err)
		require.Equal(t, lambda.DeployStart, d.State)
		require.Equal(t, lambda.MarkedUndeployed, record(t, s, l).State())
		_, err = s.FinishUndeployment(t.Context(), claim(t, s, p, l))
		require.NoError(t, err)
		r := record(t, s, l)
		require.Equal(t, lambda.Draft, r.State())
		require.Nil(t, r.Live)
		require.Equal(t, lambda.DeployFinish, r.Last.State)
		deploy(t, s, p, l)
		require.Equal(t, lambda.Productive, record(t, s, l).State())
	})
	t.Run("a kind of deployment that does not exist is refused", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: "redeploy", By: "dev"})
		requireKind(t, err, lambda.KindInvalid, lambda.CodeBadInput)
	})
	t.Run("a redeployment does not count against the limit of deployed lambdas", func(t *testing.T) {
		s, account := open(t), newAccount()
		s.Limits.DeployedLambdas = 1
		one, two := newLambda(account, "one"), newLambda(account, "two")
		create(t, s, one)
		create(t, s, two)
		p := register(t, s)
		deploy(t, s, p, one)
		_, err := s.StartDeployment(t.Context(), store.Start{Account: account, LambdaID: two.ID, Kind: lambda.Deploy, By: "dev"})
		requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaLimit)
		deploy(t, s, p, one)
		undeploy(t, s, p, one)
		deploy(t, s, p, two)
	})
	t.Run("an artifact that etcd cannot hold is refused", func(t *testing.T) {
		s, account := open(t), newAccount()
		err := s.PutArtifact(t.Context(), account, "l", "d", make([]byte, store.MaxArtifact+1))
		requireKind(t, err, lambda.KindTooLarge, lambda.CodeDeploymentFailed)
		require.NoError(t, s.PutArtifact(t.Context(), account, "l", "d", make([]byte, store.MaxArtifact)))
		require.NoError(t, s.PutArtifact(t.Context(), account, "l", "d", []byte("again")))
		artifact, err := s.Artifact(t.Context(), account, "l", "d")
		require.NoError(t, err)
		require.Equal(t, "again", string(artifact))
		_, err = s.Artifact(t.Context(), account, "l", "../d")
		requireKind(t, err, lambda.KindNotFound, lambda.CodeGeneral)
	})
	t.Run("a lambda that etcd cannot hold is too large, not unavailable", func(t *testing.T) {
		l := newLambda(newAccount(), "huge")
		l.Code = strings.Repeat("x", 2<<20)
		_, err := open(t).CreateLambda(t.Context(), l, nil)
		requireKind(t, err, lambda.KindTooLarge, lambda.CodeBadInput)
	})
	t.Run("the largest lambda that validates can be saved and deployed", func(t *testing.T) {
		widest, err := lambda.ParseLimits(largest("code", "environment-variables", "environment-name", "environment-value", "dependencies"))
		require.NoError(t, err)
		for name, limits := range map[string]lambda.Limits{"by default": lambda.DefaultLimits(), "whatever an operator sets": widest} {
			t.Run(name, func(t *testing.T) {
				s, l := open(t), newLambda(newAccount(), "large")
				l.Code = strings.Repeat("\U0001F600", limits.Code)
				l.Environment, l.Dependencies = nil, nil
				for i := range limits.Environment {
					key := strings.Repeat("K", limits.EnvironmentName-3) + string(rune('A'+i/26)) + string(rune('A'+i%26))
					l.Environment = append(l.Environment, lambda.Pair{Key: key, Value: strings.Repeat("\u0001", limits.EnvironmentValue)})
				}
				for range limits.Dependencies {
					d := strings.Repeat("\U0001F600", lambda.MaxDependencyLength)
					l.Dependencies = append(l.Dependencies, lambda.Pair{Key: d, Value: d})
				}
				require.NoError(t, l.Validate(limits))
				create(t, s, l)
				deploy(t, s, register(t, s), l)
			})
		}
	})
}

// largest are the settings that give these limits their bounds.
func largest(names ...string) []string {
	var settings []string
	for _, row := range lambda.LimitTable {
		if slices.Contains(names, row.Name) {
			settings = append(settings, row.Name+"="+strconv.FormatInt(row.Most, 10))
		}
	}
	return settings
}

func TestRollback(t *testing.T) {
	start := func(s *store.Store, l *lambda.Lambda, version int) (*lambda.Deployment, error) {
		return s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, Version: version, By: "dev"})
	}
	t.Run("a version that was deployed before becomes live again, as it was", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		p := register(t, s)
		deploy(t, s, p, l)
		first, code := record(t, s, l).Live, l.Code
		save(t, s, l, "other code")
		deploy(t, s, p, l)
		require.Equal(t, lambda.Productive, record(t, s, l).State())
		d, err := start(s, l, 1)
		require.NoError(t, err)
		require.Equal(t, first.Digest, d.Digest, "the very same text")
		w := rollOut(t, s, p, l)
		_, err = s.FinishDeployment(t.Context(), w)
		require.NoError(t, err)
		r := record(t, s, l)
		require.Equal(t, lambda.Modified, r.State(), "what is saved is another version")
		require.Equal(t, 1, r.Live.Version)
		v, err := s.Version(t.Context(), l.Account, l.ID, r.Live.Version)
		require.NoError(t, err)
		require.Equal(t, code, v.Code)
		history, err := s.History(t.Context(), l.Account, l.ID)
		require.NoError(t, err)
		require.Len(t, history, 3)
		require.Equal(t, []int{1, 2, 1}, []int{history[0].Version, history[1].Version, history[2].Version})
	})
	t.Run("the saved version can be asked for by its number", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		d, err := start(s, l, 1)
		require.NoError(t, err)
		require.Equal(t, 1, d.Version)
	})
	t.Run("a version that was never deployed or is forgotten is not there", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		p := register(t, s)
		save(t, s, l, "second")
		_, err := start(s, l, 1)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
		s.Limits.History = 2
		for i := range 4 {
			deploy(t, s, p, l)
			save(t, s, l, fmt.Sprint("more ", i))
		}
		_, err = start(s, l, 2)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
		_, err = start(s, l, 99)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
		history, err := s.History(t.Context(), l.Account, l.ID)
		require.NoError(t, err)
		require.Len(t, history, 2, "as many as the limit says")
	})
}

func TestHistory(t *testing.T) {
	t.Run("the last five deployments are kept with their versions, and the live version for ever", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		p := register(t, s)
		deploy(t, s, p, l) // version 1 goes live and stays so
		for i := range 8 {
			save(t, s, l, "broken "+string(rune('a'+i)))
			_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
			require.NoError(t, err)
			w := rollOut(t, s, p, l)
			_, err = s.FailDeployment(t.Context(), w, &lambda.Failure{Code: lambda.CodeDeploymentFailed, Message: "no"})
			require.NoError(t, err)
		}
		history, err := s.History(t.Context(), l.Account, l.ID)
		require.NoError(t, err)
		var versions []int
		for _, d := range history {
			versions = append(versions, d.Version)
		}
		require.Equal(t, []int{9, 8, 7, 6, 5}, versions)
		for version, kept := range map[int]bool{1: true, 2: false, 4: false, 5: true, 9: true} {
			v, err := s.Version(t.Context(), l.Account, l.ID, version)
			require.Equal(t, kept, err == nil, "version %d: %v", version, err)
			if kept {
				_, err = s.Artifact(t.Context(), l.Account, l.ID, v.Digest)
				require.NoError(t, err, "artifact of version %d", version)
			}
		}
		save(t, s, l, "mended")
		deploy(t, s, p, l)
		_, err = s.Version(t.Context(), l.Account, l.ID, 1)
		require.NoError(t, err, "what was live until now may still be started elsewhere")
		save(t, s, l, "mended again")
		deploy(t, s, p, l)
		_, err = s.Version(t.Context(), l.Account, l.ID, 1)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
		artifacts := 0
		for _, k := range keysWith(t, l.ID) {
			if strings.Contains(k, "/artifacts/") {
				artifacts++
			}
		}
		require.Equal(t, 5, artifacts)
	})
	t.Run("what cannot be a lambda has no history", func(t *testing.T) {
		history, err := open(t).History(t.Context(), "1", "a/b")
		require.NoError(t, err)
		require.Empty(t, history)
	})
}

func TestClaims(t *testing.T) {
	started := func(t *testing.T) (*store.Store, *lambda.Lambda) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
		require.NoError(t, err)
		return s, l
	}
	t.Run("work is one gateway's, who may claim it again", func(t *testing.T) {
		s, l := started(t)
		a, b := register(t, s), register(t, s)
		first := claim(t, s, a, l)
		lost, err := s.Claim(t.Context(), b, first)
		require.True(t, store.Lost(err), "%v", err)
		require.NotZero(t, lost.Revision)
		again, err := s.Claim(t.Context(), a, first)
		require.NoError(t, err)
		require.Equal(t, first, again)
	})
	t.Run("a claim ends with its gateway, and what that gateway still tries is refused", func(t *testing.T) {
		s, l := started(t)
		a, b := register(t, s), register(t, s)
		stale := claim(t, s, a, l)
		a.Close(t.Context())
		<-a.Lost()
		_, err := s.Built(t.Context(), stale, []byte("x"))
		require.True(t, store.Lost(err), "%v", err)
		fresh := claim(t, s, b, l)
		fresh, err = s.Built(t.Context(), fresh, []byte("x"))
		require.NoError(t, err)
		for _, step := range []func() error{
			func() error { _, err := s.Built(t.Context(), stale, []byte("x")); return err },
			func() error { _, err := s.FailDeployment(t.Context(), stale, nil); return err },
			func() error { stale := fresh; stale.Revision--; _, err := s.RolledOut(t.Context(), stale); return err },
		} {
			require.True(t, store.Lost(step()))
		}
		_, err = s.RolledOut(t.Context(), fresh)
		require.NoError(t, err)
	})
	t.Run("a step that the state table does not have is refused and changes nothing", func(t *testing.T) {
		s, l := started(t)
		w := claim(t, s, register(t, s), l)
		_, err := s.FinishDeployment(t.Context(), w)
		requireKind(t, err, lambda.KindConflict, lambda.CodeDeploymentConflict)
		require.False(t, store.Lost(err))
		_, err = s.RolledOut(t.Context(), w)
		requireKind(t, err, lambda.KindConflict, lambda.CodeDeploymentConflict)
		require.Equal(t, lambda.BuildStart, record(t, s, l).Last.State)
	})
	t.Run("ended work cannot be claimed, finished or acknowledged again", func(t *testing.T) {
		s, l := started(t)
		p := register(t, s)
		w := rollOut(t, s, p, l)
		_, err := s.FinishDeployment(t.Context(), w)
		require.NoError(t, err)
		_, err = s.FinishDeployment(t.Context(), w)
		require.True(t, store.Lost(err))
		_, err = s.Claim(t.Context(), p, w)
		require.True(t, store.Lost(err))
		require.True(t, store.Lost(s.Acknowledge(t.Context(), p, w, nil)))
		require.Empty(t, keysWith(t, w.Deployment.ID))
	})
}

func TestRollouts(t *testing.T) {
	wait := func(t *testing.T, r *store.Rollouts, what string, is func() bool) {
		t.Helper()
		deadline := time.After(10 * time.Second)
		for {
			changed := r.Changed()
			if is() {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				require.Fail(t, "never seen: "+what)
			}
		}
	}
	t.Run("work, claims, acknowledgements and gateways are followed to their end", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		r := rollouts(t, s)
		p := register(t, s)
		wait(t, r, "gateway", func() bool { return contains(r.Gateways(), p.ID) })
		d, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
		require.NoError(t, err)
		wait(t, r, "work", func() bool { _, ok := r.Of(l.Account, l.ID); return ok })
		rolled := rollOut(t, s, p, l)
		require.NoError(t, r.WaitFor(t.Context(), rolled.Revision))
		seen, _ := r.Of(l.Account, l.ID)
		require.Equal(t, rolled, seen)
		failure := &lambda.Failure{Code: "c", Message: "m"}
		require.NoError(t, s.Acknowledge(t.Context(), p, rolled, failure))
		wait(t, r, "ack", func() bool { _, ok := r.Ack(d.ID, p.ID); return ok })
		ack, _ := r.Ack(d.ID, p.ID)
		require.Equal(t, failure, ack.Failure)
		p.Close(t.Context())
		wait(t, r, "end of the gateway", func() bool {
			w, _ := r.Of(l.Account, l.ID)
			_, acked := r.Ack(d.ID, p.ID)
			return !contains(r.Gateways(), p.ID) && w.Claimant == "" && !acked
		})
	})
	t.Run("work is told oldest first, as it came and as it is read anew", func(t *testing.T) {
		s, account := open(t), newAccount()
		early := rollouts(t, s)
		var want []string
		for _, name := range []string{"one", "two", "three", "four"} {
			l := newLambda(account, name)
			create(t, s, l)
			d, err := s.StartDeployment(t.Context(), store.Start{Account: account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
			require.NoError(t, err)
			want = append(want, d.ID)
		}
		of := func(r *store.Rollouts) (ids []string) {
			r.Each(func(w store.Work) bool {
				if w.Deployment.Account == account {
					ids = append(ids, w.Deployment.ID)
				}
				return true
			})
			return ids
		}
		wait(t, early, "all work", func() bool { return len(of(early)) == 4 })
		require.Equal(t, want, of(early))
		require.Equal(t, want, of(rollouts(t, s)))
		n := 0
		early.Each(func(store.Work) bool { n++; return false })
		require.Equal(t, 1, n)
	})
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

func TestGateways(t *testing.T) {
	t.Run("a gateway id is in use once", func(t *testing.T) {
		s := open(t)
		p := register(t, s)
		_, err := s.Register(t.Context(), p.ID, time.Second)
		requireKind(t, err, lambda.KindConflict, lambda.CodeGeneral)
		p.Close(t.Context())
		again, err := s.Register(t.Context(), p.ID, time.Second)
		require.NoError(t, err)
		again.Close(t.Context())
	})
	t.Run("a gateway stays while it lives, beyond its lease", func(t *testing.T) {
		s := open(t)
		p, err := s.Register(t.Context(), "g1-"+newAccount(), time.Second)
		require.NoError(t, err)
		defer p.Close(t.Context())
		select {
		case <-p.Lost():
			require.Fail(t, "lost a gateway that lives")
		case <-time.After(2500 * time.Millisecond):
		}
		gateways, err := s.Gateways(t.Context())
		require.NoError(t, err)
		found := false
		for _, g := range gateways {
			found = found || g.ID == p.ID
		}
		require.True(t, found)
	})
	t.Run("gateways of a killed predecessor can be forgotten at once", func(t *testing.T) {
		s := open(t)
		p := register(t, s)
		require.NoError(t, s.ForgetGateways(t.Context()))
		gateways, err := s.Gateways(t.Context())
		require.NoError(t, err)
		require.Empty(t, gateways)
		select {
		case <-p.Lost():
		case <-time.After(5 * time.Second):
			require.Fail(t, "a forgotten gateway does not notice")
		}
	})
}
