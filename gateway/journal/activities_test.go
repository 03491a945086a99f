package journal_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestActivities(t *testing.T) {
	dir, c := t.TempDir(), newClock(noon)
	j := open(t, dir, c)
	first := journal.Activity{
		Account: account, At: noon.Add(-time.Hour), By: "dev@example.com", Action: journal.Update, Noun: journal.Lambda, ID: shop, Name: "shop",
		RequestID: "r-1", Changes: []journal.Change{{Field: "description", Before: "a \x00 \"b\"", After: "ü"}, {Field: "code", Diff: "-a\n+b\n"}},
	}
	second := journal.Activity{Account: account, At: noon, By: "operator", Action: journal.Create, Noun: journal.User, ID: "u1", Name: "Ann"}
	third := journal.Activity{Account: account, By: "operator", Action: journal.Delete, Noun: journal.Lambda, ID: other, Name: "gone"}
	foreign := journal.Activity{Account: "99", At: noon, By: "operator", Action: journal.Delete, Noun: journal.Lambda}
	for _, a := range []journal.Activity{first, second, third, foreign} {
		require.NoError(t, j.Note(t.Context(), a))
	}
	third.At = noon
	closeJournal(t, j)
	j = open(t, dir, c)

	for name, test := range map[string]struct {
		q    journal.ActivityQuery
		want []journal.Activity
	}{
		"all, the newest first": {journal.ActivityQuery{}, []journal.Activity{third, second, first}},
		"by noun":               {journal.ActivityQuery{Noun: journal.Lambda}, []journal.Activity{third, first}},
		"without nouns":         {journal.ActivityQuery{Without: []journal.Noun{journal.User, journal.App}}, []journal.Activity{third, first}},
		"by thing":              {journal.ActivityQuery{ID: shop}, []journal.Activity{first}},
		"by who did it":         {journal.ActivityQuery{By: "operator"}, []journal.Activity{third, second}},
		"by action":             {journal.ActivityQuery{Action: journal.Create}, []journal.Activity{second}},
		"by time":               {journal.ActivityQuery{From: noon.Add(-time.Hour), To: noon}, []journal.Activity{first}},
		"nothing":               {journal.ActivityQuery{By: "' OR 1=1 --"}, []journal.Activity{}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.q.To.IsZero() {
				test.q.From, test.q.To = noon.Add(-24*time.Hour), noon.Add(24*time.Hour)
			}
			test.q.Account = account
			page, err := j.Activities(t.Context(), test.q)
			require.NoError(t, err)
			require.Empty(t, page.Next)
			require.Empty(t, page.Missing)
			require.Equal(t, test.want, normal(page.Activities))
		})
	}
}

// normal makes no difference between no changes and none.
func normal(all []journal.Activity) []journal.Activity {
	for i := range all {
		if len(all[i].Changes) == 0 {
			all[i].Changes = nil
		}
	}
	return all
}

func TestPagesOfActivities(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	const n = 25
	for i := range n {
		require.NoError(t, j.Note(t.Context(), activity(noon.Add(time.Duration(i/10)*time.Second), fmt.Sprint(i))))
	}
	q := journal.ActivityQuery{Account: account, From: noon, To: noon.Add(time.Hour), Limit: 7}
	var names []string
	for {
		page, err := j.Activities(t.Context(), q)
		require.NoError(t, err)
		for _, a := range page.Activities {
			names = append(names, a.Name)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	require.Len(t, names, n)
	for i, name := range names {
		require.Equal(t, fmt.Sprint(n-1-i), name)
	}
}

func TestActivitiesOfAllTheTimeThatTheyAreKept(t *testing.T) {
	c := newClock(noon)
	longest := lambda.DefaultLimits().ActivityRetention
	for _, row := range lambda.LimitTable {
		if row.Name == "activity-retention" {
			longest = time.Duration(row.Most) * time.Second
		}
	}
	j := open(t, t.TempDir(), c, func(l *lambda.Limits) { l.ActivityRetention = longest })
	require.NoError(t, j.Note(t.Context(), activity(noon.Add(-longest), "ten years ago")))
	page, err := j.Activities(t.Context(), journal.ActivityQuery{Account: account, From: noon.Add(-longest), To: noon.Add(time.Millisecond)})
	require.NoError(t, err)
	require.Len(t, page.Activities, 1)
}

func TestAnActivityIsBounded(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	long := strings.Repeat("ä", 1<<20)
	a := activity(noon, long)
	a.By, a.RequestID = long, "a\xffb"
	for i := range 500 {
		a.Changes = append(a.Changes, journal.Change{Field: fmt.Sprint("field ", i), Before: long, After: "new", Diff: long})
	}
	require.NoError(t, j.Note(t.Context(), a))
	require.Len(t, a.Changes, 500, "the caller's own is as it was")
	page, err := j.Activities(t.Context(), journal.ActivityQuery{Account: account, From: noon, To: noon.Add(time.Hour)})
	require.NoError(t, err)
	got := page.Activities[0]
	require.Equal(t, "a\ufffdb", got.RequestID)
	size := len(got.By) + len(got.Name)
	for _, c := range got.Changes {
		size += len(c.Field) + len(c.Before) + len(c.After) + len(c.Diff)
	}
	require.Less(t, size, 80<<10)
	require.Contains(t, got.Changes[0].Before, "… (2080768 more bytes)", "what is missing is said")
	require.Len(t, got.Changes, 100)
	require.Equal(t, "401 more fields changed", got.Changes[99].After)
}

func TestManyNotes(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := j.Note(t.Context(), activity(noon, fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	page, err := j.Activities(t.Context(), journal.ActivityQuery{Account: account, From: noon, To: noon.Add(time.Hour)})
	require.NoError(t, err)
	require.Len(t, page.Activities, 50)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Note(ctx, activity(noon, "x")); err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
}
