package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
)

const (
	commands = "conversational_command"      // takes 30 lambdas
	ttr      = "controllerbot_messaging_ttr" // takes one
	hook     = "bot_connectors_pre_hook"     // takes 15
)

// listener is a lambda that is bound to an event, and to skills.
func listener(account, name, event string, skills ...string) *lambda.Lambda {
	l := newLambda(account, name)
	l.EventID, l.Skills = event, skills
	return l
}

// keysBelow tells what there is below a folder of etcd.
func keysBelow(t *testing.T, c *clientv3.Client, folder string) []string {
	t.Helper()
	r, err := c.Get(t.Context(), folder, clientv3.WithPrefix())
	require.NoError(t, err)
	var keys []string
	for _, kv := range r.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

func TestAnEventIsFull(t *testing.T) {
	t.Run("at its limit of saved lambdas, and has room again when one is deleted", func(t *testing.T) {
		s, account := open(t), newAccount()
		first := listener(account, "first", ttr)
		create(t, s, first)
		_, err := s.CreateLambda(t.Context(), listener(account, "second", ttr), nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeEventLimit)
		e := lambda.As(err)
		require.Equal(t, "eventId", e.Field)
		require.Equal(t, "event Messaging TTR (controllerbot_messaging_ttr) is full: the account has 1 lambda of it and the limit is 1: delete one of them, or choose another event", e.Message)
		_, err = s.RecordByName(t.Context(), account, "second")
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)

		create(t, s, listener(account, "other", hook))
		create(t, s, newLambda(account, "none"))
		create(t, s, listener(newAccount(), "first", ttr))
		require.NoError(t, s.DeleteLambda(t.Context(), account, first.ID, 0))
		create(t, s, listener(account, "second", ttr))
		require.Len(t, keysBelow(t, client, "/sluice/events/"+account+"/"), 2)
	})
	t.Run("for any number of lambdas from before there were limits, which can be changed", func(t *testing.T) {
		s, account := open(t), newAccount()
		old := []*lambda.Lambda{listener(account, "a", ttr), listener(account, "b", ttr)}
		for _, l := range old {
			saveAsBefore(t, client, l)
			_, changed, err := s.UpdateLambda(t.Context(), account, l.ID, 1, func(n *lambda.Lambda) (bool, error) { n.Code, n.EventID = "new", hook; return true, nil })
			require.NoError(t, err)
			require.True(t, changed)
			r, err := s.Record(t.Context(), account, l.ID)
			require.NoError(t, err)
			require.Equal(t, ttr, r.Lambda.EventID, "an event stays")
		}
		_, err := s.CreateLambda(t.Context(), listener(account, "c", ttr), nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeEventLimit)
		require.Contains(t, err.Error(), "has 2 lambdas of it and the limit is 1")
	})
	t.Run("but not of lambdas that a gateway from before deleted", func(t *testing.T) {
		s, account := open(t), newAccount()
		gone := listener(account, "gone", ttr, "1")
		create(t, s, gone)
		deleteAsBefore(t, client, gone)
		create(t, s, listener(account, "next", ttr))

		gone = listener(account, "lost", commands, "1", "2")
		create(t, s, gone)
		deleteAsBefore(t, client, gone)
		create(t, s, listener(account, "heir", commands, "2"))
	})
	t.Run("never of an event that is none: nobody can ask for a new lambda of it", func(t *testing.T) {
		s, account := open(t), newAccount()
		for i := range 3 {
			create(t, s, listener(account, fmt.Sprint("f", i), "unknown"))
		}
		for i, event := range []string{"a/b", "\x01", string(make([]byte, 300))} {
			l := listener(account, fmt.Sprint("odd", i), event)
			create(t, s, l)
			_, _, err := s.UpdateLambda(t.Context(), account, l.ID, 1, func(n *lambda.Lambda) (bool, error) { n.Code = "x"; return true, nil })
			require.NoError(t, err)
			_, _, err = s.UpdateLambda(t.Context(), account, l.ID, 2, func(n *lambda.Lambda) (bool, error) { n.Skills = []string{"1"}; return true, nil })
			requireKind(t, err, lambda.KindInvalid, lambda.CodeBadInput)
			require.NoError(t, s.DeleteLambda(t.Context(), account, l.ID, 0))
		}
	})
}

// saveAsBefore writes a lambda as gateways did that kept no folder of events.
func saveAsBefore(t *testing.T, c *clientv3.Client, l *lambda.Lambda) {
	t.Helper()
	value, err := json.Marshal(l)
	require.NoError(t, err)
	for k, v := range map[string]string{"lambdas/" + l.Account + "/" + l.ID: string(value), "names/" + l.Account + "/" + l.Name: l.ID} {
		_, err := c.Put(t.Context(), "/sluice/"+k, v)
		require.NoError(t, err)
	}
}

// deleteAsBefore leaves what such a gateway did not know.
func deleteAsBefore(t *testing.T, c *clientv3.Client, l *lambda.Lambda) {
	t.Helper()
	for _, k := range []string{"lambdas/" + l.Account + "/" + l.ID, "names/" + l.Account + "/" + l.Name} {
		_, err := c.Delete(t.Context(), "/sluice/"+k)
		require.NoError(t, err)
	}
}

func TestLambdasFromBeforeAreCountedOnceAGatewayHasStarted(t *testing.T) {
	server := etcdtest.Start(t)
	c := server.Client(t)
	s := store.New(c, zerolog.New(zerolog.NewTestWriter(t)))
	account := newAccount()
	old := listener(account, "old", ttr)
	saveAsBefore(t, c, old)
	saveAsBefore(t, c, newLambda(account, "plain"))
	saveAsBefore(t, c, listener(account, "odd", "a/b"))
	for k, v := range map[string]string{"/sluice/schema": store.Schema, "/sluice/lambdas/" + account + "/broken": "{"} {
		_, err := c.Put(t.Context(), k, v)
		require.NoError(t, err)
	}
	require.NoError(t, s.Open(t.Context()))
	require.Equal(t, []string{"/sluice/events/" + account + "/" + ttr + "/" + old.ID}, keysBelow(t, c, "/sluice/events/"))
	_, err := s.CreateLambda(t.Context(), listener(account, "new", ttr), nil)
	requireKind(t, err, lambda.KindConflict, lambda.CodeEventLimit)
	require.NoError(t, s.DeleteLambda(t.Context(), account, old.ID, 0))
	require.Empty(t, keysBelow(t, c, "/sluice/events/"))
	require.NoError(t, s.Open(t.Context()))
	create(t, s, listener(account, "new", ttr))
}

// twoGateways are two stores on one etcd, each with a connection of its own.
func twoGateways(t *testing.T) [2]*store.Store {
	t.Helper()
	server := etcdtest.Start(t)
	var both [2]*store.Store
	for i := range both {
		both[i] = store.New(server.Client(t), zerolog.New(zerolog.NewTestWriter(t)))
		both[i].Limits.Lambdas = 0 // whose guard would hide that of events
		require.NoError(t, both[i].Open(t.Context()))
	}
	return both
}

// raced runs f many times at once and gives the errors, nil ones too.
func raced(many int, f func(i int) error) []error {
	errs := make([]error, many)
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { errs[i] = f(i) })
	}
	wait.Wait()
	return errs
}

func TestTwoGatewaysRaceForAnEvent(t *testing.T) {
	gateways := twoGateways(t)
	t.Run("and no more lambdas are created than it takes", func(t *testing.T) {
		for event, limit := range map[string]int{ttr: 1, hook: 15} {
			account := newAccount()
			errs := raced(limit+9, func(i int) error {
				_, err := gateways[i%2].CreateLambda(t.Context(), listener(account, fmt.Sprint("f", i), event), nil)
				return err
			})
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
					continue
				}
				requireKind(t, err, lambda.KindConflict, lambda.CodeEventLimit)
			}
			require.Equal(t, limit, won)
			records, err := gateways[0].Records(t.Context(), account)
			require.NoError(t, err)
			require.Len(t, records, limit)
		}
	})
	t.Run("and a skill goes to one lambda, new or changed", func(t *testing.T) {
		account := newAccount()
		var saved []*lambda.Lambda
		for i := range 4 {
			l := listener(account, fmt.Sprint("saved", i), commands)
			_, err := gateways[0].CreateLambda(t.Context(), l, nil)
			require.NoError(t, err)
			saved = append(saved, l)
		}
		errs := raced(8, func(i int) error {
			skills := []string{"shared", fmt.Sprint("own", i)}
			if i < len(saved) {
				_, _, err := gateways[i%2].UpdateLambda(t.Context(), account, saved[i].ID, 1, func(l *lambda.Lambda) (bool, error) { l.Skills = skills; return true, nil })
				return err
			}
			_, err := gateways[i%2].CreateLambda(t.Context(), listener(account, fmt.Sprint("new", i), commands, skills...), nil)
			return err
		})
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			requireKind(t, err, lambda.KindConflict, lambda.CodeSkillConflict)
		}
		require.Equal(t, 1, won)
	})
}

func TestSkills(t *testing.T) {
	t.Run("a skill is bound to one lambda of an event", func(t *testing.T) {
		s, account := open(t), newAccount()
		first := listener(account, "first", commands, "1", "2")
		create(t, s, first)
		_, err := s.CreateLambda(t.Context(), listener(account, "second", commands, "3", "2"), nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeSkillConflict)
		require.Equal(t, "skills", lambda.As(err).Field)
		require.Contains(t, err.Error(), "skill 2 is bound to lambda first ("+first.ID+")")
		create(t, s, listener(account, "elsewhere", hook, "2"))
		create(t, s, listener(newAccount(), "foreign", commands, "2"))

		second := listener(account, "second", commands, "3")
		create(t, s, second)
		give := func(l *lambda.Lambda, version int, skills ...string) error {
			_, _, err := s.UpdateLambda(t.Context(), account, l.ID, version, func(n *lambda.Lambda) (bool, error) {
				n.Skills = skills
				return true, nil
			})
			return err
		}
		requireKind(t, give(second, 1, "3", "1"), lambda.KindConflict, lambda.CodeSkillConflict)
		require.NoError(t, give(first, 1, "2", "4"), "its own are no conflict")
		require.NoError(t, give(second, 1, "3", "1"), "what was taken away is free")
		require.NoError(t, give(first, 2))
		require.NoError(t, give(second, 2, "2", "4"))
		require.NoError(t, s.DeleteLambda(t.Context(), account, second.ID, 0))
		require.NoError(t, give(first, 3, "4", "3"))
		r, err := s.Record(t.Context(), account, first.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"4", "3"}, r.Lambda.Skills)
		require.Equal(t, 4, r.Lambda.Version)
	})
	t.Run("the views tell whom a skill's calls go to, as soon as it is saved", func(t *testing.T) {
		s, account := open(t), newAccount()
		v := view(t, s)
		bound := func(skill string) []string {
			require.NoError(t, v.WaitFor(t.Context(), s.Written()))
			names := []string{}
			for _, l := range v.Bound(account, commands, skill) {
				names = append(names, l.Name)
			}
			require.Equal(t, len(names) > 0, v.Implemented(account, commands, skill))
			return names
		}
		require.Empty(t, bound(""))
		any, sales, saved := listener(account, "b_any", commands), listener(account, "c_sales", commands, "sales", "more"), listener(account, "d", commands, "saved")
		for _, l := range []*lambda.Lambda{sales, any, saved} {
			create(t, s, l)
		}
		for _, l := range []*lambda.Lambda{sales, any} {
			live := newLive(account, commands)
			live.LambdaID, live.Name = l.ID, l.Name
			require.NoError(t, v.WaitFor(t.Context(), putNamed(t, live)))
		}
		require.Equal(t, []string{"b_any", "c_sales"}, bound(""), "in the order of names")
		require.Equal(t, []string{"b_any", "c_sales"}, bound("sales"))
		require.Equal(t, []string{"b_any"}, bound("saved"), "it is not deployed")
		require.Equal(t, []string{"b_any"}, bound("nobody's"))

		_, _, err := s.UpdateLambda(t.Context(), account, any.ID, 1, func(l *lambda.Lambda) (bool, error) { l.Skills = []string{"support"}; return true, nil })
		require.NoError(t, err)
		require.Equal(t, []string{"c_sales"}, bound("sales"))
		require.Empty(t, bound("nobody's"))
		_, _, err = s.UpdateLambda(t.Context(), account, sales.ID, 1, func(l *lambda.Lambda) (bool, error) { l.Skills = nil; return true, nil })
		require.NoError(t, err)
		require.Equal(t, []string{"b_any", "c_sales"}, bound("support"))

		again := view(t, s) // that begins with what it lists
		require.Len(t, again.Bound(account, commands, "support"), 2)
		require.Len(t, again.Bound(account, commands, "sales"), 1)

		held := v.Bound(account, commands, "")
		names := slices.Clone(held)
		gone, err := client.Delete(t.Context(), "/sluice/view/live/"+account+"/"+any.ID)
		require.NoError(t, err)
		require.NoError(t, v.WaitFor(t.Context(), gone.Header.Revision))
		require.Len(t, v.Bound(account, commands, ""), 1)
		require.Equal(t, names, held, "what was given out stays as it was")
	})
}

// putNamed writes a live pointer with its name.
func putNamed(t *testing.T, l *lambda.Live) int64 {
	t.Helper()
	value, err := json.Marshal(l)
	require.NoError(t, err)
	k := "/sluice/view/live/" + l.Account + "/" + l.LambdaID
	r, err := client.Put(t.Context(), k, string(value))
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = client.Delete(context.Background(), k) })
	return r.Header.Revision
}
