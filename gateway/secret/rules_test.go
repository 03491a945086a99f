package secret_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
)

func TestKeysOfSecrets(t *testing.T) {
	for _, key := range []string{"a", "Z9_-", "-", strings.Repeat("k", 100), "lp-faas-default-app-key"} {
		require.NoError(t, secret.CheckKey(key), key)
	}
	for _, key := range []string{"", " ", "a b", "a.b", "a/b", "..", "ü", "a\n", "\x00", "a%2fb", strings.Repeat("k", 101), strings.Repeat("ü", 100)} {
		err := secret.CheckKey(key)
		require.True(t, lambda.Is(err, lambda.KindInvalid), "%q", key)
		require.Equal(t, "key", lambda.As(err).Field)
		require.Less(t, len(err.Error()), 700)
	}
	require.ErrorContains(t, secret.CheckKey(strings.Repeat("k", 101)), "key has 101 characters: the limit is 100, shorten it")
	require.ErrorContains(t, secret.CheckKey(strings.Repeat("ü", 60)), "has other characters than letters, digits, - and _: leave them out")
	require.False(t, secret.IsHidden("lp-faas-default-app-key-2"))
}

func TestAValueIsKeptAsItIsWritten(t *testing.T) {
	for written, kept := range map[string]string{
		` "a" `: `"a"`, `"\u00fc"`: `"\u00fc"`, "1e400": "1e400", "-0.50": "-0.50", "{ \"a\" : [ 1 ,\n2 ] }": `{"a":[1,2]}`,
		`{"a":1,"a":2}`: `{"a":1,"a":2}`, `"<&>"`: `"<&>"`,
	} {
		value, _, err := secret.ParseValue(json.RawMessage(written), 100)
		require.NoError(t, err)
		require.Equal(t, kept, string(value))
	}
}

func TestAValueThatIsTooLongIsToBeShortened(t *testing.T) {
	_, _, err := secret.ParseValue(json.RawMessage(`"`+strings.Repeat("ü", 21)+`"`), 20)
	require.ErrorContains(t, err, "value has 21 characters: the limit is 20, shorten it")
}

// FuzzParseValue holds that what is accepted is one JSON value of its type and
// within the limit, that it is accepted again as it is, and that no error holds
// what was refused.
func FuzzParseValue(f *testing.F) {
	for _, seed := range []string{`"text"`, `1e400`, `{"a":[null]}`, `true`, `"\ud800"`, "\"\xff\"", `[`, ` `, `"` + strings.Repeat("ü", 30) + `"`, `1 2`} {
		f.Add([]byte(seed))
	}
	const limit = 20
	f.Fuzz(func(t *testing.T, raw []byte) {
		value, kind, err := secret.ParseValue(raw, limit)
		if err != nil {
			if !lambda.Is(err, lambda.KindInvalid) || lambda.As(err).Field != "value" {
				t.Fatalf("%q: %v", raw, err)
			}
			if len(raw) > 40 && strings.Contains(err.Error(), string(raw)) {
				t.Fatalf("the error holds the value: %v", err)
			}
			return
		}
		if !json.Valid(value) || !utf8.Valid(value) {
			t.Fatalf("%q is no JSON", value)
		}
		var decoded any
		d := json.NewDecoder(strings.NewReader(string(value)))
		d.UseNumber()
		if err := d.Decode(&decoded); err != nil {
			t.Fatal(err)
		}
		n := utf8.RuneCount(value)
		want := secret.JSON
		switch v := decoded.(type) {
		case string:
			want, n = secret.String, utf8.RuneCountInString(v)
		case json.Number:
			want = secret.Number
		case bool, nil:
			t.Fatalf("%q was accepted", value)
		}
		if kind != want || n > limit {
			t.Fatalf("%q: type %s, %d characters", value, kind, n)
		}
		again, _, err := secret.ParseValue(value, limit)
		if err != nil || string(again) != string(value) {
			t.Fatalf("%q became %q: %v", value, again, err)
		}
	})
}
