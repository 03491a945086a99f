package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// maxQueryText is the largest text that a query may look for, in characters.
const maxQueryText = 500

// query reads the parameters of a request that asks for something. An empty
// parameter is an absent one, and one that is not asked for is let pass: clients
// send v and userId with everything. The first fault is kept, so that a handler
// reads all that it knows and then looks once.
type query struct {
	values url.Values
	fault  error
}

func queryOf(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.fail("query", "the query of the URL cannot be read: write name=value pairs with & between them, and encode them")
	}
	return q
}

func (q *query) fail(field, format string, args ...any) {
	if q.fault == nil {
		q.fault = lambda.Invalid(field, format, args...)
	}
}

// text reads a parameter that may be given once.
func (q *query) text(name string) string {
	given := slices.DeleteFunc(slices.Clone(q.values[name]), func(s string) bool { return s == "" })
	switch {
	case len(given) == 0:
		return ""
	case len(given) > 1:
		q.fail(name, "%s is given %d times: give one", name, len(given))
	case !utf8.ValidString(given[0]):
		q.fail(name, "%s is not valid UTF-8", name)
	case utf8.RuneCountInString(given[0]) > maxQueryText:
		q.fail(name, "%s has %d characters: the limit is %d", name, utf8.RuneCountInString(given[0]), maxQueryText)
	}
	return given[0]
}

// number reads a whole number within its bounds.
func (q *query) number(name string, fallback, least, most int) int {
	text := q.text(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		q.fail(name, "%s must be a whole number from %d to %d, not %.40q", name, least, most, text)
	}
	return n
}

// flag reads true or false.
func (q *query) flag(name string) bool {
	switch text := q.text(name); text {
	case "", "false":
	case "true":
		return true
	default:
		q.fail(name, "%s must be true or false, not %.40q", name, text)
	}
	return false
}

// choice reads one of the words that it may be; the first of them is the default
// and may be empty.
func choice[T ~string](q *query, name string, words ...T) T {
	text := T(q.text(name))
	switch {
	case text == "":
		return words[0]
	case !slices.Contains(words, text):
		q.fail(name, "%s must be %s, not %.40q", name, oneOf(words), string(text))
	}
	return text
}

// choices reads a parameter that may be repeated.
func choices[T ~string](q *query, name string, words []T) []T {
	var chosen []T
	for _, text := range q.values[name] {
		switch {
		case text == "" || slices.Contains(chosen, T(text)):
		case !slices.Contains(words, T(text)):
			q.fail(name, "%s holds %.40q, which is none: use %s", name, text, oneOf(words))
		default:
			chosen = append(chosen, T(text))
		}
	}
	return chosen
}

func oneOf[T ~string](words []T) string {
	var names []string
	for _, w := range words {
		if w != "" {
			names = append(names, string(w))
		}
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

const (
	startParameter = "startTimestamp"
	endParameter   = "endTimestamp"
	// lastMoment is the largest time that a query can name, the end of the year 9999.
	lastMoment = 253_402_300_799_999
)

// period is a stretch of time that a query names. Its end does not belong to it,
// so that one can follow another.
type period struct{ from, to time.Time }

func (p period) length() time.Duration { return p.to.Sub(p.from) }

// period reads startTimestamp and endTimestamp. Without an end it ends now,
// without a start it has the usual length. At most it is longest.
func (q *query) period(now time.Time, usual, longest time.Duration) period {
	p := period{to: now.UTC().Truncate(time.Millisecond).Add(time.Millisecond)} // what is just now belongs to it
	if ms, ok := q.moment(endParameter); ok {
		p.to = time.UnixMilli(ms).UTC()
	}
	p.from = p.to.Add(-usual)
	if ms, ok := q.moment(startParameter); ok {
		p.from = time.UnixMilli(ms).UTC()
	}
	switch {
	case !p.from.Before(p.to):
		q.fail(startParameter, "%s is not before %s: they are %s and %s", startParameter, endParameter, wireTime(p.from), wireTime(p.to))
	case p.length() > longest:
		q.fail(startParameter, "%s and %s are %s apart: the limit is %s, ask for one part after the other",
			startParameter, endParameter, spell(p.length()), spell(longest))
	}
	return p
}

func (q *query) moment(name string) (ms int64, ok bool) {
	text := q.text(name)
	if text == "" {
		return 0, false
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 || ms > lastMoment {
		q.fail(name, "%s must be a time in milliseconds since 1970, such as 1626330360217, not %.40q", name, text)
		return 0, false
	}
	return ms, true
}

// spell says a length of time as people do, in its largest unit.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	plural := func(n time.Duration, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return strconv.FormatInt(int64(n), 10) + " " + unit + "s"
	}
	switch {
	case d >= 2*day && d%day == 0:
		return plural(d/day, "day")
	case d >= 2*day:
		return "more than " + plural(d/day, "day")
	case d%time.Hour == 0:
		return plural(d/time.Hour, "hour")
	case d%time.Minute == 0:
		return plural(d/time.Minute, "minute")
	}
	return d.String()
}
