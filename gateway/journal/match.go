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

// patience is how many letters are compared for each byte of what is searched,
// before the way is taken that is as fast for every text. Otherwise a text of many
// equal letters in lines of the same would take its length times theirs.
const patience = 4

// in tells whether the text is somewhere in b.
func (m *matcher) in(b []byte) bool {
	if m == nil {
		return true
	}
	found, _ := m.find(b)
	return found
}

// find is in, and tells how many letters it compared.
func (m *matcher) find(b []byte) (found bool, compared int) {
	if len(b) < m.size {
		return false, 0
	}
	// Where a match may begin: no further than so that all of it fits.
	window := b[m.offset : len(b)-m.size+m.offset+1]
	for _, key := range m.keys {
		for from := 0; ; {
			i := bytes.IndexByte(window[from:], key)
			if i < 0 {
				break
			}
			n := m.at(b[from+i:])
			if compared += n; n == len(m.letters) {
				return true, compared
			}
			if compared > patience*len(b) {
				return m.inSmall(b), compared
			}
			from += i + 1
		}
	}
	return false, compared
}

// at tells how many letters b begins with that are the text's; it is as long as
// the text at least.
func (m *matcher) at(b []byte) int {
	for i, l := range m.letters {
		if l.size == 1 {
			if c := b[0]; rune(c) != l.small && (c < 'A' || c > 'Z' || rune(c+'a'-'A') != l.small) {
				return i
			}
			b = b[1:]
			continue
		}
		r, size := utf8.DecodeRune(b)
		if size != l.size || r != l.small && small(r) != l.small {
			return i
		}
		b = b[size:]
	}
	return len(m.letters)
}

// inSmall looks for the text in small letters in b in small letters.
func (m *matcher) inSmall(b []byte) bool {
	text := make([]byte, 0, m.size)
	for _, l := range m.letters {
		text = utf8.AppendRune(text, l.small)
	}
	folded := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError {
			folded = append(folded, b[:size]...) // as it is, be it a letter or not
		} else {
			folded = utf8.AppendRune(folded, small(r))
		}
		b = b[size:]
	}
	return bytes.Contains(folded, text)
}
