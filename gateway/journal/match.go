package journal

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// matcher finds a text whatever the case of its letters. A letter of which both
// cases take the same number of bytes is looked for in both; of the few others,
// such as ẞ, only as it is written.
type matcher struct {
	letters []letter
	size    int
	// Every match has one of these bytes at this offset.
	offset int
	keys   []byte
}

// letter is a rune of the text in small letters, and the same in its other forms.
type letter struct {
	small rune
	size  int
}

// newMatcher makes a matcher; that of an empty text is nil and matches all.
func newMatcher(text string) *matcher {
	if text == "" {
		return nil
	}
	m := &matcher{}
	rarest := 1 << 30
	for _, r := range text {
		l := letter{small: small(r), size: utf8.RuneLen(r)}
		keys, offset := keysOf(l)
		if cost := commonness(keys); cost < rarest {
			rarest, m.keys, m.offset = cost, keys, m.size+offset
		}
		m.letters = append(m.letters, l)
		m.size += l.size
	}
	return m
}

// small is the small form of r, if that takes as many bytes.
func small(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}
	if s := unicode.ToLower(r); utf8.RuneLen(s) == utf8.RuneLen(r) {
		return s
	}
	return r
}

// keysOf gives the different last bytes of the letter's forms, and their offset.
func keysOf(l letter) (keys []byte, offset int) {
	for _, form := range []rune{l.small, unicode.ToUpper(l.small), unicode.ToTitle(l.small)} {
		if small(form) != l.small || utf8.RuneLen(form) != l.size {
			continue
		}
		var b [utf8.UTFMax]byte
		if key := b[utf8.EncodeRune(b[:], form)-1]; bytes.IndexByte(keys, key) < 0 {
			keys = append(keys, key)
		}
	}
	return keys, l.size - 1
}

// commonness orders bytes by how often text has them, roughly.
func commonness(keys []byte) (sum int) {
	for _, b := range keys {
		if i := bytes.IndexByte(frequent, b); i >= 0 {
			sum += 20 + len(frequent) - i
		} else {
			sum += 10
		}
	}
	return sum
}

// frequent are the bytes that logs are full of, the most frequent first.
var frequent = []byte(` etaoinsrhldcum0":1-f23pg54,y./86979wvbE{}kxjqz`)

// in tells whether the text is somewhere in b.
func (m *matcher) in(b []byte) bool {
	if m == nil {
		return true
	}
	if len(b) < m.size {
		return false
	}
	// Where a match may begin: no further than so that all of it fits.
	window := b[m.offset : len(b)-m.size+m.offset+1]
	for _, key := range m.keys {
		for from := 0; ; {
			i := bytes.IndexByte(window[from:], key)
			if i < 0 {
				break
			}
			if m.at(b[from+i:]) {
				return true
			}
			from += i + 1
		}
	}
	return false
}

// at tells whether b begins with the text; it is as long as that at least.
func (m *matcher) at(b []byte) bool {
	for _, l := range m.letters {
		if l.size == 1 {
			if c := b[0]; rune(c) != l.small && (c < 'A' || c > 'Z' || rune(c+'a'-'A') != l.small) {
				return false
			}
			b = b[1:]
			continue
		}
		r, size := utf8.DecodeRune(b)
		if size != l.size || r != l.small && small(r) != l.small {
			return false
		}
		b = b[size:]
	}
	return true
}
