package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/netresearch/go-cron"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Times tells when something is to happen.
type Times interface {
	// Next is the first time after that one, in UTC and at the begin of a minute.
	Next(after time.Time) time.Time
}

// Line is a cron line.
type Line struct {
	text  string
	times cron.Schedule
}

var _ Times = (*Line)(nil)

// Parse reads a line of five fields: minute, hour, day of month, month and day of
// week, in UTC. A field is * or a list, separated by commas, of values and ranges,
// each with an optional step after a slash; a value with a step is the range from
// there to the field's end. Months and days of the week may be named by their
// first three letters, and Sunday is 0 and 7. A range may go over the end of its
// field (22-2, FRI-MON) if it has no step. When neither day field is *, a day that
// either names is enough. There are no seconds, so a line names at most one run in
// a minute, and no names of whole lines such as @hourly.
//
// The month 0-11 or 0-12 is every month: so wrote early pages, and the example of
// the public CLI.
//
// What is no such line, or names a day that never comes, is lambda.Invalid, which
// names the field of the line, what it takes and an example.
func Parse(text string) (*Line, error) {
	if n := utf8.RuneCountInString(text); n > lambda.MaxCron {
		return nil, invalid("has %d characters: the limit is %d", n, lambda.MaxCron)
	}
	given := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' })
	if err := checkForm(given); err != nil {
		return nil, err
	}
	known := make([]string, len(given))
	for i, f := range fields {
		if err := f.check(given[i]); err != nil {
			return nil, err
		}
		known[i] = strings.ToLower(given[i]) // the parser takes the H of THU for one of Jenkins
	}
	if m := known[month]; m == "0-11" || m == "0-12" {
		known[month] = "*"
	}
	times, err := parser.Parse(strings.Join(known, " "))
	if err != nil {
		return nil, invalid("%.60q is not understood: %s", text, err)
	}
	l := &Line{text: strings.Join(given, " "), times: times}
	if l.Next(time.Now()).IsZero() {
		return nil, invalid("%q never comes: no year has such a day in such a month, give another day of month or month, such as 0 6 28 2 *", l.text)
	}
	return l, nil
}

// searchYears is more than two leap days are ever apart.
const searchYears = 8

var parser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom).WithMaxSearchYears(searchYears)

// String is the line with one blank between its fields.
func (l *Line) String() string { return l.text }

// Next is the first time after that one which the line names.
func (l *Line) Next(after time.Time) time.Time {
	next := l.times.Next(after.Round(0).UTC())
	if next.IsZero() {
		return next
	}
	return next.Truncate(time.Minute)
}

// invalid is about the line as clients send it.
func invalid(format string, args ...any) *lambda.Error {
	return lambda.Invalid("cronExpression", "cronExpression "+format, args...)
}

// instead are the lines that people mean by names.
var instead = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// checkForm is about the line as a whole.
func checkForm(given []string) error {
	const want = "give 5: minute, hour, day of month, month and day of week, such as */5 * * * *"
	switch n := len(given); {
	case n == 0:
		return invalid("is missing: %s", want)
	case instead[strings.ToLower(given[0])] != "":
		return invalid("%.20q is no line of 5 fields: write %s", given[0], instead[strings.ToLower(given[0])])
	case strings.HasPrefix(given[0], "@"):
		return invalid("%.20q is no line of 5 fields: %s", given[0], want)
	case strings.Contains(given[0], "TZ="):
		return invalid("names a time zone: leave it out, all times are in UTC")
	case n == len(fields)+1:
		return invalid("has 6 fields: seconds and years cannot be given, %s", want)
	case n != len(fields):
		return invalid("has %d fields: %s", n, want)
	}
	return nil
}

// field is one of the five.
type field struct {
	name     string
	min, max int
	names    []string // of the values from min on
	takes    string
}

// month is the place of the one field that has a rule of its own.
const month = 3

var fields = [...]field{
	{name: "minute", max: 59, takes: "0-59, such as 0, */5 or 10,40"},
	{name: "hour", max: 23, takes: "0-23, such as 6, 8-18 or */2"},
	{name: "day of month", min: 1, max: 31, takes: "1-31, such as 1, 1-7 or 1,15"},
	{
		name: "month", min: 1, max: 12, takes: "1-12 or JAN-DEC, such as 1, 6-8 or */3",
		names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"},
	},
	{
		name: "day of week", max: 7, takes: "0-7 or SUN-SAT, where 0 and 7 are Sunday, such as 1-5 or MON,FRI",
		names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"},
	},
}

// check looks at the text of a field.
func (f *field) check(text string) error {
	if f.name == fields[month].name && (text == "0-11" || text == "0-12") {
		return nil
	}
	for item := range strings.SplitSeq(text, ",") {
		if fault := f.fault(item); fault != "" {
			return invalid("has %.60q as its %s: %s; give *, or values, ranges and steps of %s", text, f.name, fault, f.takes)
		}
	}
	return nil
}

// fault says what is wrong with an item of the field's list, or nothing.
func (f *field) fault(item string) string {
	span, step, stepped := strings.Cut(item, "/")
	low, high, ranged := strings.Cut(span, "-")
	from, to := f.min, f.max
	if low != "*" || ranged {
		var ok bool
		if from, ok = f.value(low); !ok {
			return notTaken(low)
		}
		if to = from; stepped {
			to = f.max
		}
		if ranged {
			if to, ok = f.value(high); !ok {
				return notTaken(high)
			}
		}
	}
	if !stepped {
		return ""
	}
	size := to - from + 1
	n, ok := digits(step)
	switch {
	case size < 1:
		return fmt.Sprintf("the range %.20q goes over the end and has a step", span)
	case !ok || n < 1 || n > 1 && n >= size:
		return fmt.Sprintf("the step %.20q is not from 1 to %d", step, max(1, size-1))
	}
	return ""
}

func notTaken(value string) string {
	if value == "" {
		return "a value is missing"
	}
	return fmt.Sprintf("%.20q is no value of it", value)
}

// value reads a number or a name.
func (f *field) value(text string) (int, bool) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.min + i, true
		}
	}
	n, ok := digits(text)
	return n, ok && n >= f.min && n <= f.max
}

// digits reads one or two of them.
func digits(text string) (int, bool) {
	if len(text) < 1 || len(text) > 2 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
