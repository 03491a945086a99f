package invoke_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// text is a secret whose value is a string.
func text(key, value string) runtime.Secret {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return runtime.Secret{Key: key, Value: b}
}

func TestAValueIsMaskedInEveryFormThatIsKnown(t *testing.T) {
	const odd = `p"a\s/w? ö&'(r)d+1`
	pem := "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----\n"
	info := invoke.RanWith(
		text("plain", "hunter2hunter2"), text("odd", odd), text("pem", pem), text("short", "1234567"), text("umlauts", "äöüäöüäö"),
		runtime.Secret{Key: "number", Value: []byte(`1234567890`)}, runtime.Secret{Key: "round", Value: []byte(`120000000.0`)},
		runtime.Secret{Key: "negative", Value: []byte(`-98765.4321`)}, runtime.Secret{Key: "little", Value: []byte(`1234.567`)},
		runtime.Secret{Key: "app", Value: []byte(`{"consumerKey":"key-key-key","n":5550005550,"deep":[{"token":"tok-tok-tok"}],"flag":true,"id":"abc"}`)},
	)
	basic := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                    {"nothing to see", "nothing to see"},
		"as it is":                   {"token=hunter2hunter2;", "token=[secret plain];"},
		"alone":                      {"hunter2hunter2", "[secret plain]"},
		"twice":                      {"hunter2hunter2hunter2hunter2 hunter2hunter2", "[secret plain] [secret plain]"},
		"not quite":                  {"hunter2hunter1", "hunter2hunter1"},
		"a short one is not":         {"1234567", "1234567"},
		"characters, not bytes":      {"<äöüäöüäö>", "<[secret umlauts]>"},
		"in JSON":                    {`{"p":"p\"a\\s/w? ö&'(r)d+1"}`, `{"p":"[secret odd]"}`},
		"in a query":                 {"?q=" + url.QueryEscape(odd), "?q=[secret odd]"},
		"in a path":                  {"/" + strings.ReplaceAll(url.QueryEscape(odd), "+", "%20"), "/[secret odd]"},
		"by encodeURIComponent":      {"p%22a%5Cs%2Fw%3F%20%C3%B6%26'(r)d%2B1", "[secret odd]"},
		"in base64":                  {basic("hunter2hunter2")[:18], "[secret plain]"},
		"in a header of Basic":       {"Basic " + basic("me:hunter2hunter2"), "Basic bWU6[secret plain]I="},
		"and with a longer name":     {"Basic " + basic("you:hunter2hunter2"), "Basic eW91Om[secret plain]"},
		"a number":                   {"id 1234567890", "id [secret number]"},
		"a number as Node prints it": {"id 120000000", "id [secret round]"},
		"a number's digits":          {"98765.4321 and -98765.4321", "[secret negative] and -[secret negative]"},
		"too few digits":             {"1234.567", "1234.567"},
		"inside of an object":        {"key-key-key tok-tok-tok 5550005550 abc true", "[secret app] [secret app] [secret app] abc true"},
		"line by line": {
			"'-----BEGIN KEY-----\\n' +\n  'MIIEvQIBADANBgkqhkiG\\n' +\n  '9w0BAQEFAASCBKcwggSj\\n'",
			"'-----BEGIN KEY-----\\n' +\n  '[secret pem]\\n' +\n  '[secret pem]\\n'",
		},
		"cut off at the end":     {"it was hunter2hu", "it was [secret plain]"},
		"cut off by the runtime": {"it was hunter2hunt… [cut, 99999 bytes in all]", "it was [secret plain]… [cut, 99999 bytes in all]"},
		"cut off, too short":     {"it was hunter2", "it was hunter2"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, invoke.MaskText(info, c.text)) })
	}
	for name, c := range map[string]struct{ json, want string }{
		"nothing":                      {`["nothing", 1.5e3, {"a" : null}]`, `["nothing", 1.5e3, {"a" : null}]`},
		"a string":                     {`["hunter2hunter2"]`, `["[secret plain]"]`},
		"an escaped string":            {`["\u0068unter2hunter2 \"<\""]`, `["[secret plain] \"<\""]`},
		"JSON in a string":             {`["{\"p\":\"p\\\"a\\\\s/w? ö&'(r)d+1\"}"]`, `["{\"p\":\"[secret odd]\"}"]`},
		"a name":                       {`[{"hunter2hunter2":{"hunter2hunter2":1}}]`, `[{"[secret plain]":{"[secret plain]":1}}]`},
		"a number becomes a string":    {`[1234567890, -1234567890,12345678901]`, `["[secret number]", "-[secret number]","[secret number]1"]`},
		"the rest stays as it is":      {`[ {"a":1.0,"b":"hunter2hunter2","c":"\u00e4"} ]`, `[ {"a":1.0,"b":"[secret plain]","c":"\u00e4"} ]`},
		"what is no JSON is a string":  {`[hunter2hunter2]`, `"[[secret plain]]"`},
		"short, so that it cannot be":  {`[12]`, `[12]`},
		"a text that ends in a escape": {`["hunter2hunter2\\"]`, `["[secret plain]\\"]`},
	} {
		t.Run("in extras: "+name, func(t *testing.T) {
			got := invoke.MaskJSON(info, []byte(c.json))
			require.Equal(t, c.want, string(got))
			require.True(t, json.Valid(got))
		})
	}
}

func TestWhatOverlapsIsMaskedWhole(t *testing.T) {
	info := invoke.RanWith(text("a", "abcdefgh"), text("b", "efghijklmn"), text("c", "abcdefghij"), text("d", "ijklmnop"))
	require.Equal(t, "<[secret a]>", invoke.MaskText(info, "<abcdefgh>"))
	require.Equal(t, "<[secret c]op>", invoke.MaskText(info, "<abcdefghijop>"))
	require.Equal(t, "<[secret a]>", invoke.MaskText(invoke.RanWith(text("a", "abcdefgh"), text("b", "efghijklmn")), "<abcdefghijklmn>"))
	require.Equal(t, "<[secret c]>", invoke.MaskText(info, "<abcdefghijklmnop>"))
}

func TestAMaskShowsNoValueItself(t *testing.T) {
	require.Equal(t, "<[secret ***]>", invoke.MaskText(invoke.RanWith(text("password1", "password1")), "<password1>"))
	require.Equal(t, "<***k]>", invoke.MaskText(invoke.RanWith(text("k", "[secret ")), "<[secret >"))
	// What remains grows together to a value.
	got := invoke.MaskText(invoke.RanWith(text("k", "hunter2hunter2"), text("l", "abcd[secret k]efgh")), "abcdhunter2hunter2efgh")
	require.Equal(t, "***", got)
	stars := invoke.RanWith(text("stars", "********"))
	require.Equal(t, "[secret stars]", invoke.MaskText(stars, strings.Repeat("*", 1000)))
	// Many masks with long names would make a text many times as long.
	long := invoke.RanWith(text(strings.Repeat("k", 100), "12345678"))
	require.LessOrEqual(t, len(invoke.MaskText(long, strings.Repeat("12345678 ", 1000))), 9000)
}

func TestWhatAProcessIsKnownToHaveReadIsBounded(t *testing.T) {
	t.Run("by the number of values", func(t *testing.T) {
		var read []runtime.Secret
		for i := range 150 {
			read = append(read, text(fmt.Sprintf("k%d", i), fmt.Sprintf("value-%05d", i)))
		}
		read = append(read, read[55]) // read again: it is new
		info := invoke.RanWith(read...)
		require.Equal(t, "value-00049 [secret k50] [secret k149]", invoke.MaskText(info, "value-00049 value-00050 value-00149"))
		info = invoke.RanWith(append(read, text("more", "value-00150"), text("more", "value-00151"))...)
		require.Equal(t, "value-00051 [secret k52] [secret k55]", invoke.MaskText(info, "value-00051 value-00052 value-00055"))
	})
	t.Run("by the values of one key", func(t *testing.T) {
		var read []runtime.Secret
		for i := range 6 {
			read = append(read, text("k", fmt.Sprintf("value-%05d", i)), text("other", "other-value"))
		}
		require.Equal(t, "value-00001 [secret k] [secret other]", invoke.MaskText(invoke.RanWith(read...), "value-00001 value-00002 other-value"))
	})
	t.Run("by their bytes", func(t *testing.T) {
		var read []runtime.Secret
		for i := range 6 {
			read = append(read, text(fmt.Sprint(i), fmt.Sprintf("value-%05d", i)+strings.Repeat("x", 100_000)))
		}
		info := invoke.RanWith(read...)
		for i, masked := range []bool{false, false, false, true, true, true} {
			got := invoke.MaskText(info, fmt.Sprintf("value-%05d", i)+strings.Repeat("x", 100_000))
			require.Equal(t, masked, len(got) < 20, "value %d", i)
		}
	})
}

// reading gives a dispatcher whose process reads the secrets of that key, writes
// the log and fails with err.
func reading(v *vault, n *notes, keys []string, err error, records ...runtime.LogRecord) *invoke.Dispatcher {
	w := newWorld()
	specs := invoke.NewSpecs(w, nil, host.Limits{}, v, nil)
	p := poolFunc(func(ctx context.Context, spec pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
		request, failed := spec.Load(ctx)
		if failed != nil {
			return runtime.Result{}, pool.Info{}, failed
		}
		for _, r := range records {
			call.Log(r)
		}
		for _, key := range keys {
			if _, failed := request.Secrets.ReadSecret(ctx, key); failed != nil {
				return runtime.Result{}, pool.Info{}, failed
			}
		}
		return runtime.Result{Payload: []byte(`"hunter2hunter2"`)}, pool.Info{Ran: true, Run: time.Second, Secrets: request.Secrets}, err
	})
	return invoke.New(invoke.Config{Live: w, Records: w, Pool: p, Specs: specs, Journal: n, LogRecords: 10, LogCharacters: 6000})
}

func TestWhatIsStoredOfACallShowsNoSecretItRead(t *testing.T) {
	v := &vault{values: map[[2]string]string{{account, "pw"}: `"hunter2hunter2"`, {account, "unread"}: `"unread-value"`}}
	line := func(level runtime.Level, message string, extras string) runtime.LogRecord {
		return runtime.LogRecord{Level: level, Message: message, Extras: []byte(extras)}
	}
	failure := &runtime.Failure{Message: "login with hunter2hunter2 failed"}
	t.Run("in its log", func(t *testing.T) {
		n := &notes{}
		result, err := reading(v, n, []string{"pw"}, nil,
			line(runtime.LevelInfo, "hunter2hunter2 and unread-value", `[{"p":"hunter2hunter2"}]`), line(runtime.LevelWarn, "other", "")).Invoke(bg, invocation())
		require.NoError(t, err)
		require.JSONEq(t, `"hunter2hunter2"`, string(result.Payload), "a result is the lambda's")
		logs := n.one(t).Logs
		require.Equal(t, []string{"[secret pw] and unread-value", "other"}, []string{logs[0].Message, logs[1].Message})
		require.Equal(t, `[{"p":"[secret pw]"}]`, string(logs[0].Extras))
	})
	t.Run("in its error, and what the caller is told", func(t *testing.T) {
		n := &notes{}
		_, err := reading(v, n, []string{"pw"}, failure, line(runtime.LevelError, "Received Error - login with hunter2hunter2 failed", "")).Invoke(bg, invocation())
		fails(t, lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseRun, Message: "login with [secret pw] failed"}, err)
		e := n.one(t)
		require.Equal(t, "login with [secret pw] failed", e.Message)
		require.Equal(t, "Received Error - login with [secret pw] failed", e.Logs[0].Message)
	})
	t.Run("in what is said of a process that ended", func(t *testing.T) {
		n := &notes{}
		_, err := reading(v, n, []string{"pw"}, &host.ExitError{Reason: "uncaught Error: hunter2hunter2", Own: true}).Invoke(bg, invocation())
		require.Equal(t, "The lambda ended its process: uncaught Error: [secret pw]", lambda.As(err).Message)
		e := n.one(t)
		require.Equal(t, "The lambda ended its process: uncaught Error: [secret pw]", e.Message)
		require.Equal(t, "Received Error - The lambda ended its process: uncaught Error: [secret pw]", e.Logs[0].Message)
	})
	t.Run("in what stands for a log beyond the limits", func(t *testing.T) {
		n := &notes{}
		records := append(lines(11, 1), line(runtime.LevelError, "Received Error - login with hunter2hunter2 failed", ""))
		_, err := reading(v, n, []string{"pw"}, failure, records...).Invoke(bg, invocation())
		require.Error(t, err)
		logs := n.one(t).Logs
		require.Len(t, logs, 1)
		require.JSONEq(t, `["Received Error - login with [secret pw] failed"]`, string(logs[0].Extras))
	})
	t.Run("where a long text is cut in the middle of a value", func(t *testing.T) {
		n := &notes{}
		long := &runtime.Failure{Message: strings.Repeat("x", 1995) + "hunter2hunter2" + strings.Repeat("y", 1000)}
		_, err := reading(v, n, []string{"pw"}, long).Invoke(bg, invocation())
		require.Error(t, err)
		require.True(t, strings.HasSuffix(n.one(t).Message, "xx[secr…"), n.one(t).Message)
	})
	t.Run("the limits are for what it wrote", func(t *testing.T) {
		n := &notes{}
		_, err := reading(v, n, []string{"pw"}, nil, line(runtime.LevelInfo, strings.Repeat("hunter2hunter2 ", 400), "")).Invoke(bg, invocation())
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(n.one(t).Logs[0].Message, "[secret pw] [secret pw] "))
	})
	t.Run("a manual run shows its log and error, and stores neither value", func(t *testing.T) {
		n, inv := &notes{}, invocation()
		inv.Manual = true
		_, err := reading(v, n, []string{"pw"}, failure, line(runtime.LevelInfo, "hunter2hunter2", "")).Invoke(bg, inv)
		logs := fails(t, lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseRun, Message: failure.Message}, err)
		require.Equal(t, "hunter2hunter2", logs[0].Message)
		require.Equal(t, "login with [secret pw] failed", n.one(t).Message)
	})
	t.Run("a value that it wrote itself", func(t *testing.T) {
		secrets := given(t, v)
		_, err := secrets.UpdateSecret(bg, runtime.Secret{Key: "pw", Value: []byte(`"new-password"`)})
		require.NoError(t, err)
		require.Equal(t, "[secret pw]", invoke.MaskText(pool.Info{Secrets: secrets}, "new-password"))
	})
}

// FuzzMask looks for a value that is left, and for JSON that is none afterwards.
func FuzzMask(f *testing.F) {
	f.Add("hunter2hunter2", "key", "x", `["hunter2hunter2",{"hunter2hunter2":123456789}]`)
	f.Add(`a"b\c/d?e`, "key", "abcdefgh", `["a\"b\\c/d?eabcdefgh"]`)
	f.Add("123456789", "secret ", "secret k", `[123456789,1.23456789e8]`)
	f.Add("********", "k", "abcd***efgh", `["abcdabcd********efghefgh"]`)
	f.Add("[secret k]", "k", "line one of it\nline two of it", `["line one of it"]`)
	f.Fuzz(func(t *testing.T, one, key, two, extras string) {
		one, two = strings.ToValidUTF8(one, "?"), strings.ToValidUTF8(two, "?")
		info := invoke.RanWith(text(key, one), runtime.Secret{Key: "k", Value: []byte(`{"a":[` + string(text("", two).Value) + `]}`)})
		var forms []string
		for _, value := range []string{one, two} {
			forms = append(forms, invoke.Forms(string(text("", value).Value))...)
		}
		clean := func(s string) {
			for _, form := range forms {
				require.NotContains(t, s, form)
			}
		}
		for _, s := range []string{extras, one, two + one, one + extras + two, extras[:len(extras)/2] + one + extras[len(extras)/2:]} {
			clean(invoke.MaskText(info, s))
		}
		list, err := json.Marshal([]any{one, two, map[string]string{one + two: extras}})
		require.NoError(t, err)
		for _, b := range []string{extras, string(list)} {
			masked := invoke.MaskJSON(info, json.RawMessage(b))
			if json.Valid([]byte(b)) {
				require.True(t, json.Valid(masked), "%s", masked)
			}
			each(masked, clean)
		}
	})
}

// each calls f with the strings and numbers of a JSON value.
func each(b []byte, f func(string)) {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return
		}
		switch v := token.(type) {
		case string:
			f(v)
		case json.Number:
			f(v.String())
		}
	}
}

// forgetful is a journal that keeps nothing.
type forgetful struct{}

func (forgetful) Add(journal.Entry) {}

func BenchmarkMask(b *testing.B) {
	message := strings.Repeat("an ordinary line of a log with id 4711 and no secret in it, ", 4)
	records := func() []runtime.LogRecord {
		return []runtime.LogRecord{{Level: runtime.LevelInfo, Message: message, Extras: []byte(`[{"id":4711,"name":"anybody"}]`)}}
	}
	var many []runtime.Secret
	for i := range 100 {
		many = append(many, text(fmt.Sprintf("k%d", i), fmt.Sprintf("%032x", i*7919)))
	}
	for _, c := range []struct {
		name    string
		secrets []runtime.Secret
		records []runtime.LogRecord
	}{
		{"no log, no secrets", nil, nil},
		{"no log, 100 secrets", many, nil},
		{"a log, no secrets", nil, records()},
		{"a log, 1 secret", many[:1], records()},
		{"a log, 100 secrets", many, records()},
	} {
		b.Run(c.name, func(b *testing.B) {
			info := invoke.RanWith(c.secrets...)
			d := newWorld().journalled(poolFunc(func(_ context.Context, _ pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
				for _, r := range c.records {
					call.Log(r)
				}
				return runtime.Result{Payload: []byte(`1`)}, info, nil
			}), forgetful{})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Invoke(bg, invocation()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("the longest log, 100 secrets", func(b *testing.B) {
		info := invoke.RanWith(many...)
		long := strings.Repeat(message, 25)
		b.SetBytes(int64(len(long)))
		for b.Loop() {
			invoke.MaskText(info, long)
		}
	})
}
