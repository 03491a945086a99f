package invoke

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// masker takes the values of secrets out of what is stored of a call and what is
// told of its failure. A value is found as it is, as JSON and URLs escape it, and
// in base64, also in the middle of something longer ("user:password"), and so is
// each line of a value that has several. What was cut off in the middle of a value
// is found by its beginning. Any other disguise is the author's to answer for.
//
// In place of a value stands "[secret <key>]", or "***" where that would itself
// show a value or make the text much longer. A nil one changes nothing.
//
// The time it takes grows with the text, hardly with the number of values: a
// place of the text is looked at closely only if its next eight bytes are those
// of a value.
type masker struct {
	filter [1 << 10]uint64 // a bit per hash of eight bytes that begin a form
	forms  map[uint64][]form
}

// form is one way in which a value may be written.
type form struct {
	text string
	mask string
	// within is the longest form that this one begins with, by its place in the same
	// list; -1 if there is none.
	within int
}

const (
	// minMasked is the number of characters (of a number: digits) from which on a
	// value is masked. Shorter ones would be found where they are not meant. No form
	// has fewer bytes.
	minMasked = 8
	// maxGrowth is what masking may add to a text, in bytes.
	maxGrowth = 1 << 10

	noMask = "***"
	// cutMark begins what a runtime and the host put where they cut a text.
	cutMark = "…"
)

// newMasker makes one for values, nil for none.
func newMasker(values []readValue) *masker {
	m := &masker{forms: make(map[uint64][]form)}
	for _, v := range values {
		mask := "[secret " + v.key + "]"
		for _, text := range v.forms() {
			head := first(text)
			m.filter[slot(head)/64] |= 1 << (slot(head) % 64)
			m.forms[head] = append(m.forms[head], form{text: text, mask: mask})
		}
	}
	if len(m.forms) == 0 {
		return nil
	}
	for head, forms := range m.forms {
		slices.SortStableFunc(forms, func(a, b form) int { return strings.Compare(a.text, b.text) })
		forms = slices.CompactFunc(forms, func(a, b form) bool { return a.text == b.text })
		for i := range forms {
			j := i - 1
			for j >= 0 && !strings.HasPrefix(forms[i].text, forms[j].text) {
				j = forms[j].within
			}
			forms[i].within = j
		}
		m.forms[head] = forms
	}
	return m
}

// first is the first eight bytes of a text that has them.
func first(text string) uint64 {
	var b [8]byte
	copy(b[:], text)
	return binary.LittleEndian.Uint64(b[:])
}

// slot is the place of a hash in the filter.
func slot(head uint64) uint64 { return head * 0x9e3779b97f4a7c15 >> 48 }

// text masks a text.
func (m *masker) text(s string) string {
	if m == nil {
		return s
	}
	spans := m.find(s)
	if len(spans) == 0 {
		return s
	}
	out := replace(s, spans, "")
	if len(out) > len(s)+maxGrowth {
		out = s
	}
	// Each turn makes it shorter, so that there is a last one.
	for spans = m.find(out); len(spans) > 0; spans = m.find(out) {
		out = replace(out, spans, noMask)
	}
	return out
}

// span is a part of a text that is to be masked.
type span struct {
	from, to int
	mask     string
}

// find gives the parts of s that are of a value, in order and apart.
func (m *masker) find(s string) (spans []span) {
	if len(s) < minMasked {
		return nil
	}
	head, end := first(s)<<8, -1
	for at := 0; at+minMasked <= len(s); at++ {
		head = head>>8 | uint64(s[at+minMasked-1])<<56
		if m.filter[slot(head)/64]&(1<<(slot(head)%64)) == 0 {
			continue
		}
		forms := m.forms[head]
		if len(forms) == 0 {
			continue
		}
		if end < at {
			end = len(s)
			if i := strings.Index(s[at:], cutMark); i >= 0 {
				end = at + i
			}
		}
		n, mask := match(forms, s[at:], end-at)
		switch last := len(spans) - 1; {
		case n == 0:
		case last >= 0 && at <= spans[last].to:
			spans[last].to = max(spans[last].to, at+n)
		default:
			spans = append(spans, span{at, at + n, mask})
		}
	}
	return spans
}

// match says how much of a value s begins with: all of it, or as much as there is
// of it up to the cut after n bytes.
func match(forms []form, s string, n int) (length int, mask string) {
	i, found := slices.BinarySearchFunc(forms, s, func(f form, s string) int { return strings.Compare(f.text, s) })
	if !found {
		i--
	}
	for ; i >= 0; i = forms[i].within {
		if strings.HasPrefix(s, forms[i].text) {
			length, mask = len(forms[i].text), forms[i].mask
			break
		}
	}
	if n < minMasked || n <= length {
		return length, mask
	}
	i, _ = slices.BinarySearchFunc(forms, s[:n], func(f form, s string) int { return strings.Compare(f.text, s) })
	if i < len(forms) && strings.HasPrefix(forms[i].text, s[:n]) {
		return n, forms[i].mask
	}
	return length, mask
}

// replace puts masks in the place of spans: their own, or mask if it is not empty.
func replace(s string, spans []span, mask string) string {
	var out strings.Builder
	at := 0
	for _, p := range spans {
		out.WriteString(s[at:p.from])
		if mask == "" {
			out.WriteString(p.mask)
		} else {
			out.WriteString(mask)
		}
		at = p.to
	}
	out.WriteString(s[at:])
	return out.String()
}

// json masks the strings, the names and the numbers of a JSON value, which stays
// one. A number of which a part is masked becomes a string.
func (m *masker) json(b json.RawMessage) json.RawMessage {
	if m == nil || len(b) < minMasked {
		return b
	}
	if !json.Valid(b) {
		return quoted(m.text(string(b)))
	}
	var out []byte // nil until something is masked
	done := 0
	for at := 0; at < len(b); {
		end, plain := token(b, at)
		if plain != "" {
			if masked := m.text(plain); masked != plain {
				out = append(append(out, b[done:at]...), quoted(masked)...)
				done = end
			}
		}
		at = end
	}
	if done == 0 {
		return b
	}
	return append(out, b[done:]...)
}

// token finds the end of the string, the number or the other byte that begins at
// at, and what a string or a number says.
func token(b []byte, at int) (end int, plain string) {
	switch c := b[at]; {
	case c == '"':
		escaped := false
		for end = at + 1; b[end] != '"'; end++ {
			if b[end] == '\\' {
				escaped = true
				end++
			}
		}
		end++
		if !escaped {
			return end, string(b[at+1 : end-1])
		}
		var text string
		if err := json.Unmarshal(b[at:end], &text); err != nil {
			return end, string(b[at:end]) // it cannot be: all of it is valid
		}
		return end, text
	case c == '-' || c >= '0' && c <= '9':
		for end = at + 1; end < len(b) && strings.IndexByte("0123456789.eE+-", b[end]) >= 0; {
			end++
		}
		return end, string(b[at:end])
	}
	return at + 1, ""
}

// quoted is a text as JSON has it.
func quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return []byte(`"` + noMask + `"`) // a string always has a form
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// record masks a log record.
func (m *masker) record(r *lambda.LogRecord) {
	if m == nil {
		return
	}
	r.Message, r.Extras = m.text(r.Message), m.json(r.Extras)
}
