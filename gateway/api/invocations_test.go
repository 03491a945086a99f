package api_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestParseInvocation(t *testing.T) {
	pair := []lambda.Pair{{Key: "k", Value: "v"}}
	for _, c := range []struct {
		name, body string
		headers    []lambda.Pair
		payload    string
		field      string // of the fault; empty when the body is good
	}{
		{"an empty body is an empty object", "", nil, "{}", ""},
		{"white space alone is an empty body", " \n\t ", nil, "{}", ""},
		{"an empty object is legal", "{}", nil, "{}", ""},
		{"the Node client may send a timestamp alone", `{"timestamp":1}`, nil, "{}", ""},
		{"all fields", `{"timestamp":0,"headers":[{"key":"k","value":"v"}],"payload":{"a":1}}`, pair, `{"a":1}`, ""},
		{"null fields are absent fields", `{"timestamp":null,"headers":null,"payload":null}`, nil, "{}", ""},
		{"a payload may be any JSON", `{"payload":[1,"é",null]}`, nil, `[1,"é",null]`, ""},
		{"a payload may be false", `{"payload":false}`, nil, `false`, ""},
		{"unknown keys are ignored", `{"x":1,"Payload":2}`, nil, "{}", ""},
		{"extra keys of a header are ignored", `{"headers":[{"key":"k","value":"v","more":1}]}`, pair, "{}", ""},
		{"not JSON", `{"payload":`, nil, "", "body"},
		{"two values", `{} {}`, nil, "", "body"},
		{"a list", `[]`, nil, "", "body"},
		{"null", `null`, nil, "", "body"},
		{"a string", `"x"`, nil, "", "body"},
		{"invalid UTF-8", "{\"payload\":\"\xff\"}", nil, "", "body"},
		{"timestamp of the wrong type", `{"timestamp":"now"}`, nil, "", "timestamp"},
		{"headers of the wrong type", `{"headers":{"a":"b"}}`, nil, "", "headers"},
		{"a header without value", `{"headers":[{"key":"k"}]}`, nil, "", "headers"},
		{"a header of the wrong type", `{"headers":[{"key":"k","value":1}]}`, nil, "", "headers"},
		{"a null header", `{"headers":[null]}`, nil, "", "headers"},
		{"too many headers", `{"headers":[` + strings.Repeat(`{"key":"k","value":"v"},`, 1000) + `{"key":"k","value":"v"}]}`, nil, "", "headers"},
		{"nesting deeper than the parser allows", `{"payload":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}", nil, "", "body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers, payload, err := api.ParseInvocation([]byte(c.body), 1000)
			if c.field != "" {
				e := lambda.As(err)
				require.NotNil(t, e, "the body must be refused")
				require.Equal(t, lambda.KindInvalid, e.Kind)
				require.Equal(t, c.field, e.Field)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.headers, headers)
			require.Equal(t, c.payload, string(payload))
		})
	}
}

// FuzzParseInvocation holds that whatever comes, the answer is either an Error
// that the caller can mend or one valid JSON value for the runtime.
func FuzzParseInvocation(f *testing.F) {
	for _, seed := range []string{"", "{}", "null", `{"timestamp":0,"headers":[{"key":"k","value":"v"}],"payload":{"a":1}}`, "{\"payload\":\"\xff\"}", `{"headers":[null]}`, `{"payload":1e999}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		headers, payload, err := api.ParseInvocation(body, 1000)
		if err != nil {
			e := lambda.As(err)
			if e == nil || e.Kind != lambda.KindInvalid || e.Message == "" {
				t.Fatalf("fault without remedy: %v", err)
			}
			return
		}
		if !json.Valid(payload) || !utf8.Valid(payload) {
			t.Fatalf("payload is not JSON: %q", payload)
		}
		for _, h := range headers {
			if !utf8.ValidString(h.Key) || !utf8.ValidString(h.Value) {
				t.Fatalf("header is not UTF-8: %q", h)
			}
		}
	})
}

// FuzzMembers holds our walk against encoding/json's.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{"{}", ` { "a" : 1 , "b":[{"c":"]}\""}], "\u0061":null } `, `{"a":{"b":{}},"a":-1.5e3}`, `{"":""}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want map[string]json.RawMessage
		if json.Unmarshal(body, &want) != nil || want == nil || !utf8.Valid(body) {
			return
		}
		got := map[string]json.RawMessage{}
		for k, v := range api.Members(body) {
			got[k] = v
		}
		require.Equal(t, want, got)
	})
}

// FuzzElements holds our walk against encoding/json's.
func FuzzElements(f *testing.F) {
	for _, seed := range []string{"[]", ` [ 1 , {"a":[",]"]}, "x" ] `, `[[[]],-1e5]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want []json.RawMessage
		if json.Unmarshal(body, &want) != nil || want == nil || !utf8.Valid(body) {
			return
		}
		got := []json.RawMessage{}
		for v := range api.Elements(bytes.TrimLeft(body, " \t\r\n")) {
			got = append(got, v)
		}
		require.Equal(t, want, got)
	})
}

func TestAMillionHeadersCostNoMoreThanAThousand(t *testing.T) {
	body := []byte(`{"headers":[` + strings.Repeat(`{"key":"","value":""},`, 200_000) + `{"key":"","value":""}]}`)
	require.Less(t, testing.AllocsPerRun(1, func() { _, _, _ = api.ParseInvocation(body, 1000) }), 3000.0)
}

func BenchmarkParseInvocation(b *testing.B) {
	body := []byte(`{"timestamp":0,"headers":[],"payload":{"name":"Ada"}}`)
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = api.ParseInvocation(body, 1000)
	}
}
