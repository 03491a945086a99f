package api

import (
	"encoding/json"
	"iter"
)

// members walks the members of object, which must be one valid JSON object: it
// gives each key, unquoted, with its raw value, in order. It exists because
// encoding/json into a map of raw values is a twelfth of the gateway's work on a
// small call; json.Valid has done the checking before.
func members(object []byte) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		i := skipSpace(object, 0) + 1 // over {
		for {
			i = skipSpace(object, i)
			if object[i] == '}' {
				return
			}
			if object[i] == ',' {
				i = skipSpace(object, i+1)
			}
			end := skipString(object, i)
			key := unquote(object[i:end])
			i = skipSpace(object, end) + 1 // over :
			i = skipSpace(object, i)
			end = skipValue(object, i)
			if !yield(key, json.RawMessage(object[i:end:end])) {
				return
			}
			i = end
		}
	}
}

// elements walks the elements of array, which must be one valid JSON array.
func elements(array []byte) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		i := skipSpace(array, 1)
		for array[i] != ']' {
			if array[i] == ',' {
				i = skipSpace(array, i+1)
			}
			end := skipValue(array, i)
			if !yield(json.RawMessage(array[i:end:end])) {
				return
			}
			i = skipSpace(array, end)
		}
	}
}

// unquote reads a JSON string that is known to be valid.
func unquote(quoted []byte) string {
	for _, b := range quoted {
		if b == '\\' {
			var s string
			_ = json.Unmarshal(quoted, &s) // valid by the caller's word
			return s
		}
	}
	return string(quoted[1 : len(quoted)-1])
}

func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n' {
		i++
	}
	return i
}

// skipString returns the index behind the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipValue returns the index behind the value that begins at i.
func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			i++
			if depth == 0 {
				return i
			}
		}
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}
