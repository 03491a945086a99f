package api_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// called puts an invocation of a lambda in the journal; change makes it what a
// test needs.
func (g *gateway) called(id string, at time.Time, change func(*journal.Entry)) {
	g.t.Helper()
	e := journal.Entry{
		Account: account, LambdaID: id, LambdaName: "first", Version: 3, RequestID: uuid.NewString(), Caller: "app-1", Trigger: lambda.TriggerCall,
		At: at, Queue: time.Millisecond, Start: 2 * time.Millisecond, Run: 1500 * time.Microsecond, State: journal.Succeeded,
	}
	if change != nil {
		change(&e)
	}
	g.journal.Add(e)
	require.NoError(g.t, g.journal.Flush(g.t.Context()))
}

func record(at time.Time, level, message, extras string) lambda.LogRecord {
	return lambda.LogRecord{Level: level, Message: message, Extras: json.RawMessage(extras), Timestamp: at.UnixMilli()}
}

func ms(at time.Time) string { return fmt.Sprint(at.UnixMilli()) }

type line struct {
	RequestID, Level, Message, LambdaUUID string
	Timestamp                             int64
	Extras                                json.RawMessage
	Version                               int
}

func TestLogs(t *testing.T) {
	g := newGateway(t)
	dev := g.tokens[lambda.RoleDeveloper]
	one, two := g.create("first")["uuid"].(string), g.create("second")["uuid"].(string)
	now := time.Now()
	g.called(one, now.Add(-3*time.Minute), func(e *journal.Entry) {
		e.RequestID = "r-1"
		e.Logs = []lambda.LogRecord{
			record(now.Add(-3*time.Minute), "Info", "one", `["Extra"]`), record(now.Add(-2*time.Minute), "Warn", "two", `[]`), record(now.Add(-time.Minute), "Error", "three", `[]`),
		}
	})
	g.called(two, now, func(e *journal.Entry) { e.Logs = []lambda.LogRecord{record(now, "Info", "of another", `[]`)} })
	g.called(one, now.Add(-25*time.Hour), func(e *journal.Entry) {
		e.Logs = []lambda.LogRecord{record(now.Add(-25*time.Hour), "Info", "of yesterday", `[]`)}
	})
	g.called(one, now, func(e *journal.Entry) {
		e.Account = other
		e.Logs = []lambda.LogRecord{record(now, "Info", "of another account", `[]`)}
	})

	t.Run("a line has the contract's keys", func(t *testing.T) {
		r := g.do("GET", "/logs?text=one&lambdaUUID="+one, dev, "")
		require.JSONEq(t, fmt.Sprintf(`[{"requestID":"r-1","timestamp":%s,"level":"Info","message":"one","extras":["Extra"],"lambdaUUID":%q,"version":3}]`, ms(now.Add(-3*time.Minute)), one), r.body)
	})
	for query, want := range map[string][]string{
		"":                   {"of another", "three", "two", "one"},
		"?order=oldest":      {"one", "two", "three", "of another"},
		"?lambdaUUID=" + one: {"three", "two", "one"},
		"?lambdaUUID=&text=&requestId=&filterLevels=&v=1&order=":                                                 {"of another", "three", "two", "one"},
		"?filterLevels=Info&filterLevels=Error":                                                                  {"of another", "three", "one"},
		"?text=EXTRA":                                                                                            {"one"},
		"?requestId=r-1&limit=2":                                                                                 {"three", "two"},
		"?startTimestamp=" + ms(now.Add(-26*time.Hour)) + "&text=yesterday":                                      {"of yesterday"},
		"?endTimestamp=" + ms(now.Add(-2*time.Minute).Add(time.Millisecond)):                                     {"two", "one"},
		"?startTimestamp=" + ms(now.Add(-2*time.Minute)) + "&endTimestamp=" + ms(now.Add(-time.Minute)):          {"two"},
		"?startTimestamp=" + ms(now.Add(-7*24*time.Hour)) + "&endTimestamp=" + ms(now) + "&order=oldest&limit=1": {"of yesterday"},
	} {
		t.Run("asked for "+query, func(t *testing.T) {
			var got []string
			for _, l := range get[[]line](t, g, "/logs"+query, dev) {
				got = append(got, l.Message)
			}
			require.Equal(t, want, got)
		})
	}
	t.Run("page by page", func(t *testing.T) {
		var got []string
		cursor := ""
		for range 10 {
			r := g.do("GET", "/logs?limit=3&cursor="+url.QueryEscape(cursor), dev, "")
			require.Equal(t, http.StatusOK, r.StatusCode, r.body)
			var lines []line
			require.NoError(t, json.Unmarshal([]byte(r.body), &lines))
			for _, l := range lines {
				got = append(got, l.Message)
			}
			if cursor = r.Header.Get("X-Sluice-Cursor"); cursor == "" {
				break
			}
		}
		require.Equal(t, []string{"of another", "three", "two", "one"}, got)
	})
	t.Run("of a lambda that is not there", func(t *testing.T) {
		for _, path := range []string{"/logs", "/logs/export", "/logs/tail", "/invocations"} {
			r := g.do("GET", path+"?lambdaUUID="+uuid.NewString(), dev, "")
			require.Equal(t, http.StatusNotFound, r.StatusCode, path)
			require.Equal(t, lambda.CodeMissingLambda, r.code())
		}
	})
}

func TestTheExportIsTheContractsCSV(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.LogExportRows = 4 })
	id := g.create("first")["uuid"].(string)
	at := time.Now().Add(-time.Minute)
	g.called(id, at, func(e *journal.Entry) {
		e.RequestID = "r-1"
		e.Logs = []lambda.LogRecord{record(at, "Info", "hello", `[]`), record(at.Add(1), "Warn", `a "quoted"; text`, `[{"a":1}]`), record(at.Add(2), "Error", "two\nlines", `["x"]`)}
	})
	path := "/logs/export?userId=u&v=1&lambdaUUID=" + id + "&startTimestamp=" + ms(at.Add(-time.Hour)) + "&endTimestamp=" + ms(time.Now())
	r := g.do("GET", path, g.tokens[lambda.RoleInvocation], "", "Accept", "application/json")
	require.Equal(t, http.StatusOK, r.StatusCode, r.body)
	require.Equal(t, "text/csv; charset=utf-8", r.Header.Get("Content-Type"))
	begin := id + ";r-1;" + ms(at) + ";"
	require.Equal(t, "lambdaUUID;requestID;timestamp;level;message;extras\n"+
		begin+"Info;hello;[]\n"+
		begin+`Warn;"a ""quoted""; text";"[{""a"":1}]"`+"\n"+
		begin+"Error;\"two\nlines\";\"[\"\"x\"\"]\"\n", r.body)

	t.Run("with the levels that were asked for", func(t *testing.T) {
		r := g.do("GET", path+"&filterLevels=Warn&filterLevels=Info", g.tokens[lambda.RoleInvocation], "")
		require.Equal(t, 3, strings.Count(r.body, "\n"))
		require.NotContains(t, r.body, "two")
	})
	t.Run("no more rows than the limit, the oldest first", func(t *testing.T) {
		for i := range 5 {
			g.called(id, at, func(e *journal.Entry) {
				e.Logs = []lambda.LogRecord{record(at.Add(time.Second), "Info", fmt.Sprint("late ", i), `[]`)}
			})
		}
		r := g.do("GET", path, g.tokens[lambda.RoleInvocation], "")
		rows, err := csvReader(r.body).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 5)
		require.Equal(t, "hello", rows[1][4])
		require.Equal(t, "late 0", rows[4][4])
	})
	t.Run("the header line alone when there is nothing", func(t *testing.T) {
		r := g.do("GET", path+"&text=nothing+like+it", g.tokens[lambda.RoleInvocation], "")
		require.Equal(t, "lambdaUUID;requestID;timestamp;level;message;extras\n", r.body)
	})
}

func csvReader(text string) *csv.Reader {
	c := csv.NewReader(strings.NewReader(text))
	c.Comma = ';'
	return c
}

func TestNoCellOfAnExportIsAFormula(t *testing.T) {
	for message, want := range map[string]string{
		"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t'=1", "\rx": "'\rx", "\tx": "'\tx",
		`;=1`: `';'=1`, `"=1`: `'"=1`, `,@x`: `','@x`, ` =1`: `' =1`, "\n=1": "'\n'=1", `";"=1`: `'";"'=1`,
		"x,=1+1,": "x,'=1+1,", "a\n=1": "a\n'=1", `x, "-1+1`: `x, "'-1+1`, `a;=1`: `a;'=1`, "a\r@x": "a\r'@x", "a,,\t+x": "a,,\t'+x", `",=1`: `'",'=1`,
		"a,-1": "a,-1", "a,-1 +x": "a,'-1 +x", `[1,-2.5e3,"=1"]`: `[1,-2.5e3,"'=1"]`, `[1, -2]`: `[1, -2]`, "a -b": "a -b", "a,-1+1": "a,'-1+1", "a,\"x=1": "a,\"x=1",
		"a=1": "a=1", "": "", "hello": "hello", "ü-": "ü-", "\x1b[31mred\x07": `\u001b[31mred\u0007`, "nul\x00": `nul\u0000`, "\u009b1m": `\u009b1m`,
	} {
		t.Run(fmt.Sprintf("%q", message), func(t *testing.T) {
			text := api.CSV([]journal.Line{{LambdaID: "l", RequestID: message, LogRecord: lambda.LogRecord{Level: "Info", Message: message}}})
			require.NotContains(t, string(text), "\x1b")
			rows, err := csvReader(strings.ReplaceAll(string(text), "\r", "␍")).ReadAll() // encoding/csv takes \r away
			require.NoError(t, err)
			require.Len(t, rows, 2)
			want = strings.ReplaceAll(want, "\r", "␍")
			require.Equal(t, []string{"l", want, "0", "Info", want, "[]"}, rows[1])
		})
	}
}

func TestReportsSayWhatTheyLack(t *testing.T) {
	g := newGateway(t)
	id := g.create("first")["uuid"].(string)
	at := time.Now().Add(-24 * time.Hour)
	file := at.UTC().Format(time.DateOnly) + ".db"
	g.called(id, at, nil)
	path := filepath.Join(g.diaryDir, file)
	period := "?startTimestamp=" + ms(at.Add(-time.Hour)) + "&endTimestamp=" + ms(at.Add(time.Hour))
	paths := []string{"/reports/invocations/" + id + period, "/reports/latency/" + id + period, "/reports/invocationCounts" + period}
	for _, path := range paths {
		r := g.do("GET", path, g.tokens[lambda.RoleInvocation], "")
		require.Equal(t, http.StatusOK, r.StatusCode, r.body)
		require.Empty(t, r.Header.Get("X-Sluice-Missing"))
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		require.NoError(t, os.Remove(path+suffix))
	}
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("no database "), 2000), 0o600))
	for _, path := range paths {
		r := g.do("GET", path, g.tokens[lambda.RoleInvocation], "")
		require.Equal(t, http.StatusOK, r.StatusCode, r.body)
		require.Contains(t, r.Header.Get("X-Sluice-Missing"), file)
	}
}

func TestReports(t *testing.T) {
	g := newGateway(t)
	invoker := g.tokens[lambda.RoleInvocation]
	id := g.create("first")["uuid"].(string)
	begin := time.Now().Add(-2 * time.Hour).Truncate(time.Hour)
	for i, state := range []journal.State{journal.Unknown, journal.Succeeded, journal.Succeeded, journal.CodingFailure, journal.PlatformFailure, journal.Timeout} {
		g.called(id, begin.Add(time.Duration(i)*time.Second), func(e *journal.Entry) { e.State = state })
	}
	g.called(id, begin.Add(301*time.Second), nil)
	query := "?userId=u&v=1&startTimestamp=" + ms(begin.Add(time.Second)) + "&endTimestamp=" + ms(begin.Add(20*time.Minute)) + "&bucketSize=300"
	bucket := func(n int, counts string) string {
		from := begin.Add(time.Duration(n) * 5 * time.Minute)
		return `{"from":` + ms(from) + `,"to":` + ms(from.Add(5*time.Minute)) + counts + `}`
	}
	t.Run("by state, with the contract's keys in their order", func(t *testing.T) {
		var all string
		for _, state := range journal.States {
			all += "&invocationStates=" + string(state)
		}
		for _, states := range []string{"", all, "&invocationStates="} {
			r := g.do("GET", "/reports/invocations/"+id+query+states, invoker, "")
			require.Equal(t, http.StatusOK, r.StatusCode, r.body)
			none := `,"UNKOWN":0,"SUCCEEDED":0,"CODING_FAILURE":0,"PLATFORM_FAILURE":0,"TIMEOUT":0`
			require.Equal(t, `{"uuid":"`+id+`","name":"first","invocationStatistics":[`+strings.Join([]string{
				bucket(0, `,"UNKOWN":1,"SUCCEEDED":2,"CODING_FAILURE":1,"PLATFORM_FAILURE":1,"TIMEOUT":1`),
				bucket(1, `,"UNKOWN":0,"SUCCEEDED":1,"CODING_FAILURE":0,"PLATFORM_FAILURE":0,"TIMEOUT":0`),
				bucket(2, none), bucket(3, none),
			}, ",")+`]}`, r.body)
		}
	})
	t.Run("of the states that were asked for", func(t *testing.T) {
		r := g.do("GET", "/reports/invocations/"+id+query+"&invocationStates=TIMEOUT&invocationStates=SUCCEEDED", invoker, "")
		require.Contains(t, r.body, bucket(0, `,"SUCCEEDED":2,"TIMEOUT":1`))
	})
	t.Run("at least one bucket, by default of the last hour", func(t *testing.T) {
		for query, least := range map[string]int{"": 12, "?bucketSize=3600": 1, "?bucketSize=86400": 1} {
			var v struct{ InvocationStatistics []struct{ From, To int64 } }
			r := g.do("GET", "/reports/invocations/"+id+query, invoker, "")
			require.NoError(t, json.Unmarshal([]byte(r.body), &v))
			require.GreaterOrEqual(t, len(v.InvocationStatistics), least)
		}
	})
	t.Run("in buckets that begin at multiples of their size", func(t *testing.T) {
		for size, period := range map[int64]time.Duration{300: time.Hour, 3600: 7 * 24 * time.Hour, 86400: 30 * 24 * time.Hour} {
			now := time.Now()
			var v struct{ InvocationStatistics []struct{ From, To int64 } }
			r := g.do("GET", "/reports/invocations/"+id+"?startTimestamp="+ms(now.Add(-period))+"&endTimestamp="+ms(now), invoker, "")
			require.NoError(t, json.Unmarshal([]byte(r.body), &v))
			for _, b := range v.InvocationStatistics {
				require.Zero(t, b.From%(size*1000))
				require.Equal(t, size*1000, b.To-b.From, "the usual size for %s", period)
			}
		}
	})
	t.Run("latency", func(t *testing.T) {
		var v struct {
			UUID, Name string
			Latency    []struct {
				From, To, Count int64
				P50, P95, P99   float64
			}
		}
		r := g.do("GET", "/reports/latency/"+id+query, invoker, "")
		require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
		require.Equal(t, "first", v.Name)
		require.Len(t, v.Latency, 4)
		require.EqualValues(t, 6, v.Latency[0].Count)
		for _, p := range []float64{v.Latency[0].P50, v.Latency[0].P95, v.Latency[0].P99} {
			require.InDelta(t, 4.5, p, 1.2, "4.5 ms each, known roughly")
		}
		require.Zero(t, v.Latency[2].P99)
	})
	t.Run("counts", func(t *testing.T) {
		r := g.do("GET", "/reports/invocationCounts?startTimestamp="+ms(begin)+"&endTimestamp="+ms(time.Now()), invoker, "")
		require.Equal(t, `{"accountId":"`+account+`","successfulInvocations":3,"unsuccessfulInvocations":4}`, r.body)
		require.Equal(t, http.StatusOK, g.do("GET", "/reports/invocationCounts", invoker, "").StatusCode)
		r = g.operate("GET", "/api/account/"+other+"/reports/invocationCounts", "")
		require.Equal(t, `{"accountId":"`+other+`","successfulInvocations":0,"unsuccessfulInvocations":0}`, r.body)
	})
	t.Run("of a lambda that is not there", func(t *testing.T) {
		for _, report := range []string{"invocations", "latency"} {
			r := g.do("GET", "/reports/"+report+"/"+uuid.NewString(), invoker, "")
			require.Equal(t, http.StatusNotFound, r.StatusCode, r.body)
		}
	})
}

func TestInvocations(t *testing.T) {
	g := newGateway(t)
	dev := g.tokens[lambda.RoleDeveloper]
	id := g.create("first")["uuid"].(string)
	now := time.Now()
	g.called(id, now.Add(-time.Minute), func(e *journal.Entry) {
		e.RequestID, e.State, e.Phase, e.Code, e.Message, e.Cold, e.Dropped = "r-1", journal.CodingFailure, lambda.PhaseRun, lambda.CodeCustomFailure, "no", true, 7
		e.Logs = []lambda.LogRecord{record(now, "Error", "Received Error - no", `[]`)}
	})
	g.called(id, now.Add(-30*time.Second), func(e *journal.Entry) {
		e.RequestID, e.Trigger, e.EventID, e.Run = "r-2", lambda.TriggerEvent, "event-1", 2*time.Second
	})
	g.called(uuid.NewString(), now.Add(-25*time.Hour), func(e *journal.Entry) { e.RequestID, e.Trigger = "r-3", lambda.TriggerManual })

	r := g.do("GET", "/invocations?requestId=r-1&logs=true", dev, "")
	require.JSONEq(t, fmt.Sprintf(`{"invocations":[{"requestID":"r-1","lambdaUUID":%q,"lambdaName":"first","version":3,"timestamp":%s,"caller":"app-1","trigger":"call",
		"state":"CODING_FAILURE","phase":"run","errorCode":"com.liveperson.faas.handler.custom-failure","errorMsg":"no","cold":true,"queueMs":1,"startMs":2,"runMs":1.5,
		"droppedLogs":7,"logs":[{"level":"Error","message":"Received Error - no","extras":[],"timestamp":%s}]}]}`, id, ms(now.Add(-time.Minute)), ms(now)), r.body)
	all := "startTimestamp=" + ms(now.Add(-26*time.Hour))
	for query, want := range map[string][]string{
		"":                                 {"r-2", "r-1"},
		"?order=oldest":                    {"r-1", "r-2"},
		"?" + all:                          {"r-2", "r-1", "r-3"},
		"?" + all + "&lambdaUUID=" + id:    {"r-2", "r-1"},
		"?" + all + "&limit=1":             {"r-2"},
		"?trigger=event":                   {"r-2"},
		"?" + all + "&trigger=manual":      {"r-3"},
		"?minDuration=1000":                {"r-2"},
		"?invocationStates=CODING_FAILURE": {"r-1"},
		"?invocationStates=CODING_FAILURE&invocationStates=SUCCEEDED": {"r-2", "r-1"},
	} {
		t.Run("asked for "+query, func(t *testing.T) {
			var got []string
			for _, e := range get[struct{ Invocations []struct{ RequestID string } }](t, g, "/invocations"+query, dev).Invocations {
				got = append(got, e.RequestID)
			}
			require.Equal(t, want, got)
		})
	}
}

func TestQueriesThatCannotBeAnswered(t *testing.T) {
	g := newGateway(t)
	id := g.create("first")["uuid"].(string)
	logs, report := "/logs?", "/reports/invocations/"+id+"?"
	now := time.Now()
	since := func(d time.Duration) string { return "startTimestamp=" + ms(now.Add(-d)) + "&endTimestamp=" + ms(now) }
	const day = 24 * time.Hour
	for _, c := range []struct{ path, field, says string }{
		{logs + "filterLevels=Debug", "filterLevels", "use Info, Warn or Error"},
		{logs + "filterLevels=Info&filterLevels=info", "filterLevels", `holds "info", which is none`},
		{logs + "limit=0", "limit", "from 1 to 1000"},
		{logs + "limit=1001", "limit", "from 1 to 1000"},
		{logs + "limit=many", "limit", "a whole number"},
		{logs + "limit=1&limit=2", "limit", "given 2 times: give one"},
		{logs + "lambdaUUID=a&lambdaUUID=b", "lambdaUUID", "given 2 times"},
		{logs + "order=up", "order", "newest or oldest"},
		{logs + "startTimestamp=yesterday", "startTimestamp", "milliseconds since 1970"},
		{logs + "startTimestamp=-1", "startTimestamp", "milliseconds since 1970"},
		{logs + "startTimestamp=1.5", "startTimestamp", "milliseconds since 1970"},
		{logs + "endTimestamp=99999999999999999999", "endTimestamp", "milliseconds since 1970"},
		{logs + "startTimestamp=1&startTimestamp=2", "startTimestamp", "given 2 times"},
		{logs + "startTimestamp=2000&endTimestamp=1000", "startTimestamp", "is not before endTimestamp"},
		{logs + "startTimestamp=2000&endTimestamp=2000", "startTimestamp", "is not before endTimestamp"},
		{logs + "startTimestamp=" + ms(now.Add(time.Hour)), "startTimestamp", "is not before endTimestamp"},
		{logs + since(7*day+time.Millisecond), "startTimestamp", "the limit is 7 days"},
		{logs + "text=" + strings.Repeat("x", 501), "text", "501 characters: the limit is 500"},
		{logs + "text=%ff", "text", "UTF-8"},
		{logs + "text=%zz", "query", "cannot be read"},
		{logs + "text=a;b", "query", "cannot be read"},
		{logs + "cursor=not+one", "cursor", ""},
		{"/logs/export", "lambdaUUID", "is missing"},
		{"/logs/export?lambdaUUID=" + id + "&" + since(8*day), "startTimestamp", "the limit is 7 days"},
		{"/logs/export?lambdaUUID=" + id + "&filterLevels=Debug", "filterLevels", "use Info"},
		{"/logs/tail", "lambdaUUID", "is missing"},
		{"/logs/tail?lambdaUUID=" + id + "&filterLevels=Trace", "filterLevels", "use Info"},
		{report + since(14*time.Minute), "startTimestamp", "the least is 15 minutes"},
		{report + since(30*day+time.Second), "startTimestamp", "the limit is 30 days"},
		{report + "bucketSize=60", "bucketSize", "300, 3600 or 86400"},
		{report + "bucketSize=300&bucketSize=3600", "bucketSize", "given 2 times"},
		{report + "invocationStates=UNKNOWN", "invocationStates", "use UNKOWN, SUCCEEDED"},
		{"/reports/latency/" + id + "?bucketSize=x", "bucketSize", "300, 3600 or 86400"},
		{"/reports/invocationCounts?" + since(32*day), "startTimestamp", "the limit is 31 days"},
		{"/invocations?trigger=cron", "trigger", "call, manual, event or schedule"},
		{"/invocations?logs=yes", "logs", "true or false"},
		{"/invocations?minDuration=-1", "minDuration", "from 0"},
		{"/invocations?invocationStates=FAILED", "invocationStates", "use UNKOWN"},
		{"/invocations?" + since(31*day), "startTimestamp", "the limit is 30 days"},
		{"/activities?noun=table", "noun", "lambda, schedule"},
		{"/activities?action=look", "action", "create, update"},
		{"/activities?" + since(91*day), "startTimestamp", "the limit is 90 days"},
		{"/activities?limit=x", "limit", "a whole number"},
		{"/activities?cursor=x", "cursor", ""},
		{"/invocations?cursor=x", "cursor", ""},
	} {
		t.Run(c.path[:min(len(c.path), 80)], func(t *testing.T) {
			r := g.do("GET", c.path, g.tokens[lambda.RoleLPA], "")
			require.Equal(t, http.StatusBadRequest, r.StatusCode, r.body)
			require.Equal(t, lambda.CodeBadInput, r.code())
			require.Contains(t, r.body, c.field)
			var e struct{ ErrorMsg string }
			require.NoError(t, json.Unmarshal([]byte(r.body), &e))
			require.Contains(t, e.ErrorMsg, c.says)
		})
	}
	t.Run("the longest and the shortest are answered", func(t *testing.T) {
		for _, path := range []string{
			logs + since(7*day), report + since(30*day), report + since(15*time.Minute), report + since(30*day) + "&bucketSize=300", "/activities?" + since(90*day), "/invocations?" + since(30*day),
		} {
			r := g.do("GET", path, g.tokens[lambda.RoleLPA], "")
			require.Equal(t, http.StatusOK, r.StatusCode, r.body)
		}
	})
}
