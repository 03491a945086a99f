package lambda_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestParseDomain(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3)
	for text, want := range map[string]string{
		"api.example.com":                    "api.example.com",
		"API.Example.COM":                    "api.example.com",
		"example.com.":                       "example.com",
		"*.example.com":                      "*.example.com",
		"*.xn--bcher-kva.example":            "*.xn--bcher-kva.example",
		"localhost":                          "localhost",
		"3com.example":                       "3com.example",
		"a-b.example":                        "a-b.example",
		long + strings.Repeat("a", 61):       long + strings.Repeat("a", 61),
		long + strings.Repeat("A", 61) + ".": long + strings.Repeat("a", 61),
	} {
		got, err := lambda.ParseDomain(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for text, says := range map[string]string{
		"":                               "domain is missing",
		".":                              "empty label",
		"https://example.com":            "has a scheme",
		"example.com/path":               "has a path",
		"example.com?x":                  "has a path",
		"example.com:443":                "has a port",
		"[::1]":                          "has a port or is an address",
		"127.0.0.1":                      "is an address",
		"0x7f.1":                         "is an address",
		"0x7f000001":                     "is an address",
		"*":                              "wildcard in the wrong place",
		"*.*.example.com":                "wildcard in the wrong place",
		"a.*.example.com":                "wildcard in the wrong place",
		"a*.example.com":                 "wildcard in the wrong place",
		"*.com":                          "opens a whole top-level domain",
		"a..example.com":                 "empty label",
		".example.com":                   "empty label",
		"-a.example.com":                 "begins or ends with a hyphen",
		"a-.example.com":                 "begins or ends with a hyphen",
		"a_b.example.com":                "may hold letters, digits, hyphens and dots",
		"b\u00fccher.example":            "xn--",
		"exa mple.com":                   "may hold letters",
		"example.com\x00":                "may hold letters",
		"user@example.com":               "may hold letters",
		strings.Repeat("a", 64) + ".com": "the limit is 63",
		long + strings.Repeat("a", 62):   "the limit is 253",
	} {
		_, err := lambda.ParseDomain(text)
		e := lambda.As(err)
		require.NotNil(t, e, "%q is accepted", text)
		require.Equal(t, lambda.KindInvalid, e.Kind)
		require.Equal(t, "domain", e.Field)
		require.Contains(t, e.Message, says, "%q", text)
	}
}

// FuzzParseDomain holds that what is accepted is its own canonical form and can
// be part of a key.
func FuzzParseDomain(f *testing.F) {
	for _, seed := range []string{"*.example.com", "A.b.", "127.0.0.1", "x/y", "\x00", "xn--a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := lambda.ParseDomain(text)
		if err != nil {
			require.True(t, lambda.Is(err, lambda.KindInvalid))
			return
		}
		again, err := lambda.ParseDomain(name)
		require.NoError(t, err)
		require.Equal(t, name, again)
		require.NotContains(t, name, "/")
		require.LessOrEqual(t, len(name), lambda.MaxDomainLength)
	})
}

func TestAnEntryMatches(t *testing.T) {
	for _, c := range []struct {
		entry string
		yes   []string
		no    []string
	}{
		{"api.example.com", []string{"api.example.com"}, []string{"a.api.example.com", "example.com", "xapi.example.com", "api.example.com.evil.org", ""}},
		{"*.example.com", []string{"a.example.com", "a.b.c.example.com"}, []string{"example.com", ".example.com", "xexample.com", "a.example.com.evil.org", "com", ""}},
		{"localhost", []string{"localhost"}, []string{"a.localhost", "local"}},
	} {
		d := lambda.Domain{Name: c.entry}
		for _, host := range c.yes {
			require.True(t, d.Matches(host), "%s is of %s", host, c.entry)
		}
		for _, host := range c.no {
			require.False(t, d.Matches(host), "%q is not of %s", host, c.entry)
		}
	}
	require.Equal(t, []string{"a.b.com", "*.b.com", "*.com"}, slices.Collect(lambda.DomainsOf("a.b.com")))
}

func TestDomainsOfAreAllThatMatch(t *testing.T) {
	labels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "com"}), 1, 5)
	rapid.Check(t, func(t *rapid.T) {
		host, entry := strings.Join(labels.Draw(t, "host"), "."), strings.Join(labels.Draw(t, "entry"), ".")
		if rapid.Bool().Draw(t, "wildcard") {
			entry = "*." + entry
		}
		got := slices.Contains(slices.Collect(lambda.DomainsOf(host)), entry)
		if want := lambda.MatchesDomain(entry, host); got != want {
			t.Fatalf("%s of %s: listed %v, matches %v", entry, host, got, want)
		}
	})
}
