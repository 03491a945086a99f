package egress_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sluice-faas/sluice/gateway/egress"
)

func TestOneFormOfEveryHost(t *testing.T) {
	for text, want := range map[string]string{
		"api.example.com":             "api.example.com:80",
		"API.Example.COM.":            "api.example.com:80",
		"api.example.com:8080":        "api.example.com:8080",
		"api.example.com:":            "api.example.com:80",
		"api.example.com:00443":       "api.example.com:443",
		"a_b.example.com":             "a_b.example.com:80",
		"bücher.example":              "xn--bcher-kva.example:80",
		"BÜCHER.example":              "xn--bcher-kva.example:80",
		"bu\u0308cher.example":        "xn--bcher-kva.example:80",
		"xn--bcher-kva.example":       "xn--bcher-kva.example:80",
		"ａｐｉ.example.com":             "api.example.com:80",
		"api。example｡com":             "api.example.com:80",
		"3com.example":                "3com.example:80",
		"127.0.0.1":                   "127.0.0.1:80",
		"127.0.0.1.":                  "127.0.0.1:80",
		"127.1":                       "127.0.0.1:80",
		"2130706433":                  "127.0.0.1:80",
		"0x7f000001":                  "127.0.0.1:80",
		"0X7F.0.0.0x1:9090":           "127.0.0.1:9090",
		"0177.0.0.01":                 "127.0.0.1:80",
		"017700000001":                "127.0.0.1:80",
		"0xa9fea9fe":                  "169.254.169.254:80",
		"１２７．０．０．１":                   "127.0.0.1:80",
		"[::1]":                       "[::1]:80",
		"[::ffff:127.0.0.1]:443":      "127.0.0.1:443",
		"[0:0:0:0:0:ffff:7f00:1]":     "127.0.0.1:80",
		"[64:ff9b::7f00:1]":           "[64:ff9b::7f00:1]:80",
		"[2001:DB8::1]":               "[2001:db8::1]:80",
		"0x":                          "0.0.0.0:80",
		"localhost":                   "localhost:80",
		"xn--a.example.com":           "xn--a.example.com:80", // what resolvers make of it, they make of this text
		strings.Repeat("a.", 126):     strings.Repeat("a.", 125) + "a:80",
		strings.Repeat("a", 63) + ".": strings.Repeat("a", 63) + ":80",
	} {
		_, got, err := egress.Parse(text, 80)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", ".", "..", "a..b", ".a", "a b", "a/b", "a\\b", "a?b", "a#b", "a%2eb", "%61", "user@a", "a@b:80", "a:b", "a:-1", "a:65536", "a:80:80", "::1", "fe80::1%eth0",
		"[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1", "::1]", "[127.0.0.1]", "[a]", "[]", "1.2.3.4.5", "256.256.256.256", "1.2.3.256", "0x100000000", "4294967296", "08.1.1.1", "a.0x7f", "example.1",
		"a\x00b", "a\nb", "a\u00adb\u200b..", "*.example.com", "ex!ample", strings.Repeat("a", 64) + ".com", strings.Repeat("a.", 127) + "com", strings.Repeat("x", 5000), "a.\u2488com",
		"\xff.example.com",
	} {
		got, _, err := egress.Parse(text, 80)
		require.Error(t, err, "%q is %v", text, got)
	}
}

// sound holds what the rules rely on.
func sound(t require.TestingT, authority string) {
	p, text, err := egress.Parse(authority, 80)
	if err != nil {
		return
	}
	if p.Name == "" {
		require.True(t, p.Address.IsValid())
		require.False(t, p.Address.Is4In6(), "one address has one form")
		require.Empty(t, p.Address.Zone())
	} else {
		require.LessOrEqual(t, len(p.Name), 253)
		require.Equal(t, "", strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-_."), "%q", p.Name)
		require.False(t, strings.HasSuffix(p.Name, "."))
		require.Nil(t, net.ParseIP(p.Name), "a name is never an address")
		_, err := netip.ParseAddr(p.Name)
		require.Error(t, err)
	}
	again, same, err := egress.Parse(text, 1)
	require.NoError(t, err, "%q", text)
	require.Equal(t, p, again)
	require.Equal(t, text, same)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"api.example.com:443", "0x7f.1", "[::ffff:1.2.3.4]:1", "bücher.example.", "１２７．１", "a@b", "%41", "xn--"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { sound(t, s) })
}

func TestHostsAreSound(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"a", "Z", "0", "7", "0x", "f", ".", "..", ":", "[", "]", "%", "@", "-", "_", "ü", "。", "１", "xn--", "::", "1", "255", "256", "/", " ", "\x00", "\u200b", "ß", "א", "𝟏"})
	rapid.Check(t, func(t *rapid.T) { sound(t, strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "host"), "")) })
}

func TestEveryFormOfAnAddressIsThatAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint32().Draw(t, "address")
		b := [4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
		number := func(v uint32, name string) string {
			return fmt.Sprintf(rapid.SampledFrom([]string{"%d", "0x%x", "0X%X", "0%o", "0x000%x", "000%o"}).Draw(t, name), v)
		}
		parts := rapid.IntRange(1, 4).Draw(t, "parts")
		var text []string
		for i := range parts - 1 {
			text = append(text, number(uint32(b[i]), "part"))
		}
		rest := n & (1<<(8*(5-parts)) - 1)
		if parts == 1 {
			rest = n
		}
		text = append(text, number(rest, "last"))
		host := strings.Join(text, ".") + rapid.SampledFrom([]string{"", "."}).Draw(t, "dot")
		p, _, err := egress.Parse(host, 80)
		if err != nil || p.Address != netip.AddrFrom4(b) {
			t.Fatalf("%s is %v (%v), not %v", host, p.Address, err, netip.AddrFrom4(b))
		}
	})
}

func TestCaseAndTheLastDotAreNoDifference(t *testing.T) {
	label := rapid.StringMatching(`[a-z0-9_]([a-z0-9-]{0,5}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		host := strings.Join(rapid.SliceOfN(label, 1, 5).Draw(t, "labels"), ".")
		plain, text, err := egress.Parse(host, 80)
		other, same, err2 := egress.Parse(strings.ToUpper(host)+".", 80)
		if (err == nil) != (err2 == nil) || plain != other || text != same {
			t.Fatalf("%s: %v %v, %v %v", host, plain, err, other, err2)
		}
		if err == nil && plain.Name != "" && plain.Name != host {
			t.Fatalf("%s became %s", host, plain.Name)
		}
	})
}
