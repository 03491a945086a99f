package schedule_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/schedule"
)

func at(text string) time.Time {
	t, err := time.Parse(time.DateTime, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestNextIsTheFirstTimeThatTheLineNames(t *testing.T) {
	for _, c := range []struct{ line, after, next string }{
		{"* * * * *", "2026-11-24 10:00:00", "2026-11-24 10:01:00"},
		{"* * * * *", "2026-11-24 10:00:59", "2026-11-24 10:01:00"},
		{"*/5 * * * *", "2026-11-24 10:00:00", "2026-11-24 10:05:00"},
		{"7/20 * * * *", "2026-11-24 10:28:00", "2026-11-24 10:47:00"},
		{"0 2 * * *", "2026-12-31 02:00:00", "2027-01-01 02:00:00"},
		{"30 22-1 * * *", "2026-11-24 22:30:00", "2026-11-24 23:30:00"},
		{"30 22-1 * * *", "2026-11-24 23:30:00", "2026-11-25 00:30:00"},
		{"0 0 31 * *", "2026-11-24 00:00:00", "2026-12-31 00:00:00"},
		{"0 0 29 2 *", "2026-11-24 00:00:00", "2028-02-29 00:00:00"},
		{"0 0 29 2 *", "2096-02-29 00:00:00", "2104-02-29 00:00:00"},
		{"0 12 * * 7", "2026-11-24 00:00:00", "2026-11-29 12:00:00"},
		{"0 12 * * 0", "2026-11-24 00:00:00", "2026-11-29 12:00:00"},
		{"0 12 * * sun", "2026-11-24 00:00:00", "2026-11-29 12:00:00"},
		{"0 12 * * 6-7", "2026-11-29 12:00:00", "2026-12-05 12:00:00"},
		{"0 12 * * THU", "2026-11-24 00:00:00", "2026-11-26 12:00:00"},
		{"0 12 * * FRI-MON", "2026-11-24 00:00:00", "2026-11-27 12:00:00"},
		{"0 12 * MAR,SEP *", "2026-11-24 00:00:00", "2027-03-01 12:00:00"},
		{"0 0 13 * 5", "2026-11-24 00:00:00", "2026-11-27 00:00:00"}, // either day is enough
		{"0 0 13 * 5", "2026-12-12 00:00:00", "2026-12-13 00:00:00"},
		{"*/3 * * 0-12 *", "2026-11-24 10:00:00", "2026-11-24 10:03:00"}, // the example of lpf
		{"0 0 1 0-11 *", "2026-11-24 10:00:00", "2026-12-01 00:00:00"},
		{" 0\t0  1 1 * ", "2026-11-24 10:00:00", "2027-01-01 00:00:00"},
	} {
		t.Run(c.line+" after "+c.after, func(t *testing.T) {
			l, err := schedule.Parse(c.line)
			require.NoError(t, err)
			require.Equal(t, at(c.next), l.Next(at(c.after)))
			require.Equal(t, strings.Join(strings.Fields(c.line), " "), l.String())
			again, err := schedule.Parse(l.String())
			require.NoError(t, err)
			require.Equal(t, l.Next(at(c.after)), again.Next(at(c.after)))
		})
	}
	t.Run("whatever the zone of the time that is given", func(t *testing.T) {
		l, err := schedule.Parse("30 2 * * *")
		require.NoError(t, err)
		berlin, err := time.LoadLocation("Europe/Berlin") // the clock there goes from 2 to 3
		require.NoError(t, err)
		require.Equal(t, at("2026-03-29 02:30:00"), l.Next(at("2026-03-29 00:00:00").In(berlin)))
	})
}

func TestALineThatIsNoneIsRefusedWithItsFieldAndWhatItTakes(t *testing.T) {
	for line, says := range map[string]string{
		"":                             "cronExpression is missing: give 5: minute, hour, day of month, month and day of week, such as */5 * * * *",
		"   ":                          "is missing",
		"* * * *":                      "has 4 fields: give 5",
		"* * * * * *":                  "has 6 fields: seconds and years cannot be given, give 5",
		"* * * * * * *":                "has 7 fields",
		"@hourly":                      `"@hourly" is no line of 5 fields: write 0 * * * *`,
		"@Daily":                       "write 0 0 * * *",
		"@every 1s":                    `"@every" is no line of 5 fields: give 5`,
		"@reboot":                      "is no line of 5 fields",
		"TZ=Asia/Tokyo * * * * *":      "names a time zone: leave it out, all times are in UTC",
		"CRON_TZ=UTC * * * * *":        "names a time zone",
		"60 * * * *":                   `has "60" as its minute: "60" is no value of it; give *, or values, ranges and steps of 0-59, such as 0, */5 or 10,40`,
		"-1 * * * *":                   "as its minute: a value is missing",
		"1- * * * *":                   "as its minute: a value is missing",
		"1,,2 * * * *":                 "as its minute: a value is missing",
		", * * * *":                    "as its minute: a value is missing",
		"+5 * * * *":                   "as its minute",
		"0x5 * * * *":                  "as its minute",
		"5.5 * * * *":                  "as its minute",
		"٥ * * * *":                    "as its minute",
		"*-5 * * * *":                  `"*" is no value of it`,
		"1-2-3 * * * *":                `"2-3" is no value of it`,
		"*/0 * * * *":                  `the step "0" is not from 1 to 59`,
		"*/60 * * * *":                 `the step "60" is not from 1 to 59`,
		"*/-1 * * * *":                 `the step "-1" is not from 1 to 59`,
		"*/2/2 * * * *":                `the step "2/2" is not`,
		"*/ * * * *":                   `the step "" is not`,
		"H * * * *":                    "as its minute",
		"* 24 * * *":                   "as its hour",
		"* 22-2/2 * * *":               `the range "22-2" goes over the end and has a step`,
		"* * 0 * *":                    "as its day of month",
		"* * 32 * *":                   "as its day of month",
		"* * L * *":                    "as its day of month",
		"* * 15W * *":                  "as its day of month",
		"* * ? * *":                    "as its day of month",
		"* * * 0 *":                    "as its month: \"0\" is no value of it; give *, or values, ranges and steps of 1-12 or JAN-DEC",
		"* * * 13 *":                   "as its month",
		"* * * 0-11/2 *":               "as its month",
		"* * * JANUARY *":              "as its month",
		"* * * * 8":                    "as its day of week",
		"* * * * FRI#3":                "as its day of week",
		"* * * * MONDAY":               "as its day of week",
		"0 0 30 2 *":                   `"0 0 30 2 *" never comes`,
		"0 0 31 2,4,6,9,11 *":          "never comes",
		"*\n* * * *":                   "has 4 fields",
		"* * * * \x00":                 "as its day of week",
		strings.Repeat("1,", 200):      "has 400 characters: the limit is 256",
		strings.Repeat("é ", 129):      "has 258 characters: the limit is 256",
		"99999999999999999999 * * * *": "as its minute",
	} {
		t.Run(line[:min(len(line), 40)], func(t *testing.T) {
			_, err := schedule.Parse(line)
			e := lambda.As(err)
			require.NotNil(t, e, "%v", err)
			require.Equal(t, lambda.KindInvalid, e.Kind)
			require.Equal(t, "cronExpression", e.Field)
			require.Contains(t, e.Message, says)
			require.True(t, strings.HasPrefix(e.Message, "cronExpression "), e.Message)
		})
	}
}

// span is a field of a line, and what it matches, worked out without the parser.
type span struct {
	text    string
	matches []int
	star    bool
}

func drawField(t *rapid.T, name string, low, high int, names ...string) span {
	if rapid.Bool().Draw(t, name+" is *") {
		return span{text: "*", star: true}
	}
	var f span
	var items []string
	word := func(v int) string {
		if i := v - low; i < len(names) && rapid.Bool().Draw(t, name+" by name") {
			return names[i]
		}
		return strconv.Itoa(v)
	}
	for range rapid.IntRange(1, 3).Draw(t, name+" items") {
		from := rapid.IntRange(low, high).Draw(t, name+" from")
		to := rapid.IntRange(from, high).Draw(t, name+" to")
		text, step := word(from), 1
		switch form := rapid.IntRange(0, 3).Draw(t, name+" form"); {
		case form == 0 || to == from:
			to = from
		case form == 1:
			text += "-" + word(to)
		case form == 2 && to-from > 1:
			step = rapid.IntRange(1, to-from).Draw(t, name+" step")
			text += "-" + word(to) + "/" + strconv.Itoa(step)
		default:
			to, step = high, rapid.IntRange(1, high-from).Draw(t, name+" step")
			text += "/" + strconv.Itoa(step)
		}
		items = append(items, text)
		for v := from; v <= to; v += step {
			f.matches = append(f.matches, v)
		}
	}
	f.text = strings.Join(items, ",")
	return f
}

func (f span) has(v int) bool { return f.star || slices.Contains(f.matches, v) }

// TestNextMatchesEveryFieldAndLeavesNoTimeOut compares the line with its fields.
func TestNextMatchesEveryFieldAndLeavesNoTimeOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minute, hour := drawField(t, "minute", 0, 59), drawField(t, "hour", 0, 23)
		day := drawField(t, "day", 1, 31)
		month := drawField(t, "month", 1, 12, "JAN", "feb", "Mar", "APR", "MAY", "JUN", "jul", "AUG", "SEP", "OCT", "NOV", "DEC")
		weekday := drawField(t, "weekday", 0, 7, "SUN", "mon", "TUE", "WED", "THU", "Fri", "SAT")
		text := strings.Join([]string{minute.text, hour.text, day.text, month.text, weekday.text}, " ")
		matches := func(at time.Time) bool {
			onDay := day.has(at.Day())
			onWeekday := weekday.has(int(at.Weekday())) || at.Weekday() == time.Sunday && weekday.has(7)
			days := onDay && onWeekday
			if !day.star && !weekday.star {
				days = onDay || onWeekday
			}
			return minute.has(at.Minute()) && hour.has(at.Hour()) && month.has(int(at.Month())) && days
		}
		l, err := schedule.Parse(text)
		if err != nil {
			if !strings.Contains(err.Error(), "never comes") {
				t.Fatalf("%q: %v", text, err)
			}
			for at := at("2026-01-01 00:00:00"); at.Year() < 2034; at = at.AddDate(0, 0, 1) {
				if month.has(int(at.Month())) && day.has(at.Day()) && weekday.star {
					t.Fatalf("%q: it comes on %s", text, at)
				}
			}
			return
		}
		after := time.Unix(rapid.Int64Range(1_500_000_000, 4_000_000_000).Draw(t, "after"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		next := l.Next(after)
		if !next.After(after) || next.Second() != 0 || next.Nanosecond() != 0 || next.Location() != time.UTC || !matches(next) {
			t.Fatalf("%q: %s does not follow on %s", text, next, after)
		}
		between := after.UTC().Truncate(time.Minute)
		for range 3000 { // two days of minutes
			if between = between.Add(time.Minute); !between.Before(next) {
				break
			}
			if matches(between) {
				t.Fatalf("%q: %s is left out after %s", text, between, after)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"* * * * *", "*/5 0-23/2 1,15 JAN-DEC MON", "@every 1h", "TZ=UTC * * * * *", "0 0 30 2 *", "1-2-3 * * * *", "*/3 * * 0-12 *", "22-2 * * * FRI-MON", "H H * * *", "* * L * 5#3",
	} {
		f.Add(line, int64(1_795_000_000))
	}
	f.Fuzz(func(t *testing.T, line string, after int64) {
		l, err := schedule.Parse(line)
		if err != nil {
			e := lambda.As(err)
			require.NotNil(t, e)
			require.Equal(t, "cronExpression", e.Field)
			require.NotContains(t, e.Message, "is not understood", "our own check lets through what the parser does not take")
			return
		}
		from := time.Unix(after%4_000_000_000, 0)
		next := l.Next(from)
		require.True(t, next.After(from), "%q after %s: %s", line, from, next)
		require.Zero(t, next.Second())
		require.False(t, next.Sub(from) > 8*366*24*time.Hour)
		again, err := schedule.Parse(l.String())
		require.NoError(t, err)
		require.Equal(t, next, again.Next(from), fmt.Sprint(l))
	})
}
