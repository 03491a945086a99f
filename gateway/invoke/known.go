package invoke

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// What a process is known to have read is bounded: the oldest go first.
const (
	maxKnown      = 100       // values
	maxKnownOfKey = 4         // values of one key, which rotate
	maxKnownBytes = 256 << 10 // of all but the newest
)

// known are the secrets that one process has read or written, for masking. That is
// more than a call itself has read: user code may keep what another call read, as
// the toolbelt's cache does. Safe for concurrent use; what nobody asks for is not
// made.
type known struct {
	mu     sync.Mutex
	values []readValue // oldest first
	bytes  int
	masker *masker // of values; nil until asked for
}

// readValue is a secret as user code got it.
type readValue struct {
	key  string
	json []byte
}

// add notes a secret, before user code has it.
func (k *known) add(key string, value []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := readValue{key, value}
	i := slices.IndexFunc(k.values, func(o readValue) bool { return o.key == key && bytes.Equal(o.json, value) })
	if i >= 0 {
		v = k.values[i]
		k.values = append(slices.Delete(k.values, i, i+1), v)
		return
	}
	v.json = bytes.Clone(value)
	k.values, k.bytes, k.masker = append(k.values, v), k.bytes+len(value), nil
	if n := k.count(key); n > maxKnownOfKey {
		k.drop(slices.IndexFunc(k.values, func(o readValue) bool { return o.key == key }))
	}
	for len(k.values) > maxKnown || len(k.values) > 1 && k.bytes-len(value) > maxKnownBytes {
		k.drop(0)
	}
}

func (k *known) count(key string) (n int) {
	for _, v := range k.values {
		if v.key == key {
			n++
		}
	}
	return n
}

func (k *known) drop(i int) {
	k.bytes -= len(k.values[i].json)
	k.values = slices.Delete(k.values, i, i+1)
}

// mask is the masker of all that is known; nil if nothing is, or k is.
func (k *known) mask() *masker {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.masker == nil && len(k.values) > 0 {
		k.masker = newMasker(k.values)
	}
	return k.masker
}

// forms are the ways in which the value may be written, if it is to be masked: a
// string, a number, and those inside of an object.
func (v readValue) forms() []string {
	d := json.NewDecoder(bytes.NewReader(v.json))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return textForms(nil, string(v.json)) // user code cannot have read it either
	}
	return valueForms(nil, value)
}

// valueForms stops at no depth: the value was read from JSON, whose depth Go limits.
func valueForms(forms []string, value any) []string {
	switch v := value.(type) {
	case string:
		return textForms(forms, v)
	case json.Number:
		return numberForms(forms, v)
	case []any:
		for _, item := range v {
			forms = valueForms(forms, item)
		}
	case map[string]any:
		for _, item := range v {
			forms = valueForms(forms, item)
		}
	}
	return forms
}

// numberForms are a number as it is stored, and as JavaScript writes it.
func numberForms(forms []string, n json.Number) []string {
	all := []string{n.String()}
	if f, err := n.Float64(); err == nil {
		if again, err := json.Marshal(f); err == nil {
			all = append(all, string(again))
		}
	}
	for _, text := range all {
		text = strings.TrimPrefix(text, "-")
		digits := 0
		for i := range len(text) {
			if text[i] >= '0' && text[i] <= '9' {
				digits++
			}
		}
		if digits >= minMasked {
			forms = append(forms, text)
		}
	}
	return forms
}

func textForms(forms []string, text string) []string {
	if utf8.RuneCountInString(text) < minMasked {
		return forms
	}
	forms = append(forms, text)
	if strings.Contains(text, "\n") {
		// Node prints each line of a text by itself.
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); utf8.RuneCountInString(line) >= minMasked && !strings.HasPrefix(line, "-----") {
				forms = append(forms, line)
			}
		}
	}
	escaped := quoted(text)
	component := url.QueryEscape(text)
	strict := strings.ReplaceAll(component, "+", "%20")
	forms = append(forms, string(escaped[1:len(escaped)-1]), component, strict, componentMarks.Replace(strict))
	for offset := range 3 {
		forms = append(forms, base64Core(base64.RawStdEncoding, text, offset), base64Core(base64.RawURLEncoding, text, offset))
	}
	return forms
}

// componentMarks are what JavaScript's encodeURIComponent leaves and Go escapes.
var componentMarks = strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")

// base64Core is what base64 makes of the text when offset bytes more, modulo three,
// are before it: all but the edges that depend on what is around it. Eight bytes
// have nine such characters or more.
func base64Core(e *base64.Encoding, text string, offset int) string {
	all := e.EncodeToString(append(make([]byte, offset), text...))
	from := (offset*8 + 5) / 6
	to := (offset + len(text)) * 8 / 6
	return all[from:to]
}
