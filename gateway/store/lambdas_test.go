package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

func TestLambdas(t *testing.T) {
	t.Run("what was created is read back unchanged", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		created := create(t, s, l)
		require.Equal(t, l, created.Lambda)
		read, err := s.Record(t.Context(), l.Account, l.ID)
		require.NoError(t, err)
		require.Equal(t, created, read)
		require.Equal(t, lambda.Draft, read.State())
		byName, err := s.RecordByName(t.Context(), l.Account, "hello")
		require.NoError(t, err)
		require.Equal(t, read, byName)
	})
	t.Run("a name is taken once in an account, and free in another", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		_, err := s.CreateLambda(t.Context(), newLambda(l.Account, "hello"), nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaConflict)
		require.Equal(t, "name", lambda.As(err).Field)
		create(t, s, newLambda(newAccount(), "hello"))
	})
	t.Run("an id is taken once", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "one")
		create(t, s, l)
		l.Name = "two"
		_, err := s.CreateLambda(t.Context(), l, nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaConflict)
		require.Equal(t, "uuid", lambda.As(err).Field)
	})
	t.Run("an account cannot have more lambdas than its limit", func(t *testing.T) {
		s, account := open(t), newAccount()
		s.Limits.Lambdas = 2
		first := newLambda(account, "one")
		create(t, s, first)
		create(t, s, newLambda(account, "two"))
		_, err := s.CreateLambda(t.Context(), newLambda(account, "three"), nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaLimit)
		require.NoError(t, s.DeleteLambda(t.Context(), account, first.ID, 0))
		create(t, s, newLambda(account, "three"))
	})
	t.Run("what is not there is missing, whatever it is called", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		for _, id := range []string{"", "nope", "a/b", "../" + l.ID, l.ID + "/", "\x00", string([]byte{0xff})} {
			_, err := s.Record(t.Context(), l.Account, id)
			requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
			_, err = s.RecordByName(t.Context(), l.Account, id)
			requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
			_, _, err = s.UpdateLambda(t.Context(), l.Account, id, 1, func(*lambda.Lambda) (bool, error) { return true, nil })
			requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
			requireKind(t, s.DeleteLambda(t.Context(), l.Account, id, 0), lambda.KindNotFound, lambda.CodeMissingLambda)
			_, err = s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: id, Kind: lambda.Deploy, By: "dev"})
			requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
		}
		_, err := s.Record(t.Context(), newAccount(), l.ID)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
	})
	t.Run("a list is the oldest first and holds no other account's, not even of an id that begins alike", func(t *testing.T) {
		s, account := open(t), newAccount()
		now := time.Now().UTC()
		var want []string
		for i := range 5 {
			l := newLambda(account, fmt.Sprintf("f%d", i))
			l.CreatedAt = now.Add(time.Duration(i) * time.Second)
			create(t, s, l)
			want = append(want, l.Name)
		}
		create(t, s, newLambda(account+"1", "other"))
		records, err := s.Records(t.Context(), account)
		require.NoError(t, err)
		var got []string
		for _, r := range records {
			got = append(got, r.Lambda.Name)
		}
		require.Equal(t, want, got)
		for _, none := range []string{newAccount(), "", "a/b"} {
			records, err := s.Records(t.Context(), none)
			require.NoError(t, err)
			require.Empty(t, records)
		}
	})
	t.Run("a list of more lambdas than a page holds each once", func(t *testing.T) {
		if testing.Short() {
			t.Skip("writes 700 lambdas")
		}
		s, account := open(t), newAccount()
		s.Limits.Lambdas = 0
		var wait sync.WaitGroup
		var failed atomic.Int32
		for i := range 7 {
			wait.Go(func() {
				for j := range 100 {
					if _, err := s.CreateLambda(t.Context(), newLambda(account, fmt.Sprintf("f%d_%d", i, j)), nil); err != nil {
						failed.Add(1)
					}
				}
			})
		}
		wait.Wait()
		require.Zero(t, failed.Load())
		records, err := s.Records(t.Context(), account)
		require.NoError(t, err)
		seen := map[string]bool{}
		for _, r := range records {
			seen[r.Lambda.Name] = true
		}
		require.Len(t, records, 700)
		require.Len(t, seen, 700)
		total, deployed, err := s.Counts(t.Context(), account)
		require.NoError(t, err)
		require.Equal(t, 700, total)
		require.Zero(t, deployed)
	})
}

func TestUpdateLambda(t *testing.T) {
	rename := func(to string) func(*lambda.Lambda) (bool, error) {
		return func(l *lambda.Lambda) (bool, error) { l.Name = to; return true, nil }
	}
	t.Run("a change is stored under the next version", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		r, changed, err := s.UpdateLambda(t.Context(), l.Account, l.ID, 1, func(n *lambda.Lambda) (bool, error) {
			n.Code, n.Version, n.ID, n.Account, n.CreatedBy = "changed", 99, "x", "y", "z"
			n.Environment[0].Value = "2"
			return true, nil
		})
		require.NoError(t, err)
		require.True(t, changed)
		want := *l
		want.Code, want.Version, want.Environment = "changed", 2, []lambda.Pair{{Key: "A", Value: "2"}}
		require.Equal(t, &want, r.Lambda)
		read, err := s.Record(t.Context(), l.Account, l.ID)
		require.NoError(t, err)
		require.Equal(t, r, read)
	})
	t.Run("no change stores nothing", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		r, changed, err := s.UpdateLambda(t.Context(), l.Account, l.ID, 1, func(n *lambda.Lambda) (bool, error) {
			n.Code = "not stored"
			return false, nil
		})
		require.NoError(t, err)
		require.False(t, changed)
		require.Equal(t, l, r.Lambda)
	})
	t.Run("the error of a change stores nothing and is returned", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		mine := errors.New("mine")
		_, _, err := s.UpdateLambda(t.Context(), l.Account, l.ID, 1, func(*lambda.Lambda) (bool, error) { return true, mine })
		require.ErrorIs(t, err, mine)
		r, err := s.Record(t.Context(), l.Account, l.ID)
		require.NoError(t, err)
		require.Equal(t, 1, r.Lambda.Version)
	})
	t.Run("a version other than the saved one is a conflict", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		for _, version := range []int{0, 2, -1} {
			_, _, err := s.UpdateLambda(t.Context(), l.Account, l.ID, version, rename("other"))
			requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaConflict)
		}
	})
	t.Run("a new name is taken and the old one becomes free", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		other := newLambda(l.Account, "other")
		create(t, s, other)
		_, _, err := s.UpdateLambda(t.Context(), l.Account, l.ID, 1, rename("other"))
		requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaConflict)
		_, _, err = s.UpdateLambda(t.Context(), l.Account, l.ID, 1, rename("third"))
		require.NoError(t, err)
		create(t, s, newLambda(l.Account, "hello"))
		r, err := s.RecordByName(t.Context(), l.Account, "third")
		require.NoError(t, err)
		require.Equal(t, l.ID, r.Lambda.ID)
	})
}

func TestLambdaRaces(t *testing.T) {
	const many = 8
	race := func(f func(i int) error) (won int, lost []error) {
		var wait sync.WaitGroup
		var mu sync.Mutex
		for i := range many {
			wait.Go(func() {
				err := f(i)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else {
					lost = append(lost, err)
				}
			})
		}
		wait.Wait()
		return won, lost
	}
	t.Run("of several creates of one name exactly one wins", func(t *testing.T) {
		s, account := open(t), newAccount()
		won, lost := race(func(int) error {
			_, err := s.CreateLambda(t.Context(), newLambda(account, "hello"), nil)
			return err
		})
		require.Equal(t, 1, won)
		for _, err := range lost {
			requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaConflict)
		}
		records, err := s.Records(t.Context(), account)
		require.NoError(t, err)
		require.Len(t, records, 1)
	})
	t.Run("of several creates at the limit only those below it win", func(t *testing.T) {
		s, account := open(t), newAccount()
		s.Limits.Lambdas = 3
		won, lost := race(func(i int) error {
			_, err := s.CreateLambda(t.Context(), newLambda(account, fmt.Sprintf("f%d", i)), nil)
			return err
		})
		require.Equal(t, 3, won)
		for _, err := range lost {
			requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaLimit)
		}
	})
	t.Run("of several updates of one version exactly one wins", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		won, lost := race(func(i int) error {
			_, _, err := s.UpdateLambda(t.Context(), l.Account, l.ID, 1, func(n *lambda.Lambda) (bool, error) {
				n.Code = fmt.Sprint(i)
				return true, nil
			})
			return err
		})
		require.Equal(t, 1, won)
		for _, err := range lost {
			requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaConflict)
		}
	})
	t.Run("of several deployments of one lambda exactly one starts", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		won, lost := race(func(int) error {
			_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
			return err
		})
		require.Equal(t, 1, won)
		for _, err := range lost {
			requireKind(t, err, lambda.KindConflict, lambda.CodeDeploymentConflict)
			require.Equal(t, lambda.TextDeploymentActive, lambda.As(err).Message)
		}
	})
	t.Run("of several deployments at the limit only those below it start", func(t *testing.T) {
		s, account := open(t), newAccount()
		s.Limits.DeployedLambdas = 3
		var ls [many]*lambda.Lambda
		for i := range ls {
			ls[i] = newLambda(account, fmt.Sprintf("f%d", i))
			create(t, s, ls[i])
		}
		won, lost := race(func(i int) error {
			_, err := s.StartDeployment(t.Context(), store.Start{Account: account, LambdaID: ls[i].ID, Kind: lambda.Deploy, By: "dev"})
			return err
		})
		require.Equal(t, 3, won)
		for _, err := range lost {
			requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaLimit)
		}
	})
	t.Run("of a delete and a deployment exactly one wins", func(t *testing.T) {
		s := open(t)
		for range 5 {
			l := newLambda(newAccount(), "hello")
			create(t, s, l)
			won, _ := race(func(i int) error {
				if i%2 == 0 {
					return s.DeleteLambda(t.Context(), l.Account, l.ID, 0)
				}
				_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
				return err
			})
			require.Equal(t, 1, won)
		}
	})
}

func TestDeleteLambda(t *testing.T) {
	t.Run("nothing of a deleted lambda is left", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		require.NoError(t, s.DeleteLambda(t.Context(), l.Account, l.ID, 0))
		_, err := s.Record(t.Context(), l.Account, l.ID)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
		require.Empty(t, keysWith(t, l.Account))
		create(t, s, newLambda(l.Account, "hello"))
	})
	t.Run("a lambda that is live or being deployed cannot be deleted", func(t *testing.T) {
		s, l := open(t), newLambda(newAccount(), "hello")
		create(t, s, l)
		_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Deploy, By: "dev"})
		require.NoError(t, err)
		requireKind(t, s.DeleteLambda(t.Context(), l.Account, l.ID, 0), lambda.KindConflict, lambda.CodeDeploymentConflict)
		p := register(t, s)
		deploy(t, s, p, l)
		requireKind(t, s.DeleteLambda(t.Context(), l.Account, l.ID, 0), lambda.KindConflict, lambda.CodeLambdaConflict)
		undeploy(t, s, p, l)
		require.NoError(t, s.DeleteLambda(t.Context(), l.Account, l.ID, 0))
		require.Empty(t, keysWith(t, l.Account))
	})
}
