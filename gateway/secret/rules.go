package secret

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// MaxKey is the largest length of a key.
const MaxKey = lambda.MaxSecretKey

// hidden are the secrets that the platform itself gives to lambdas.
var hidden = []string{"lp-faas-default-app-key", "lp-faas-orchestrator-app-key"}

// Hidden gives the keys of the platform's own secrets: lambdas read them, and
// nobody but the operator sees that they are there.
func Hidden() []string { return append([]string(nil), hidden...) }

// IsHidden tells whether a key is the platform's own.
func IsHidden(key string) bool {
	for _, h := range hidden {
		if key == h {
			return true
		}
	}
	return false
}

// CheckKey refuses what is no key.
func CheckKey(key string) error {
	switch {
	case key == "":
		return lambda.Invalid("key", "key is missing: give 1 to %d letters, digits, - and _", MaxKey)
	case strings.Trim(key, keyCharacters) != "":
		return lambda.Invalid("key", "key %.100q has other characters than letters, digits, - and _: leave them out", key)
	case len(key) > MaxKey:
		return lambda.Invalid("key", "key has %d characters: the limit is %d, shorten it", len(key), MaxKey)
	}
	return nil
}

const keyCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

// wellFormed tells whether a key can be there at all.
func wellFormed(key string) bool { return CheckKey(key) == nil }

// ParseValue gives the form in which a value is kept, and its type: one JSON
// value as it was written, without white space around and between its parts. It
// is Invalid for what is no JSON, for true, false and null, and for what has more
// than limit characters: of the string itself, or of the JSON text of any other
// value. No error holds a part of the value.
func ParseValue(raw json.RawMessage, limit int) (json.RawMessage, Type, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, "", lambda.Invalid("value", "value is missing: %s", kinds)
	}
	var compact bytes.Buffer
	if !utf8.Valid(raw) || json.Compact(&compact, raw) != nil {
		return nil, "", lambda.Invalid("value", "value is not valid JSON: %s", kinds)
	}
	value := json.RawMessage(compact.Bytes())
	kind, ok := typeOf(value)
	if !ok {
		return nil, "", lambda.Invalid("value", "value is true, false or null: %s", kinds)
	}
	n := utf8.RuneCount(value)
	if kind == String {
		var text string
		if json.Unmarshal(value, &text) != nil {
			return nil, "", lambda.Invalid("value", "value is not valid JSON: %s", kinds)
		}
		n = utf8.RuneCountInString(text)
	}
	if n > limit {
		return nil, "", tooLong(n, limit)
	}
	return value, kind, nil
}

const kinds = "give a string, a number, an object or an array"

func tooLong(n, limit int) error {
	return lambda.Invalid("value", "value has %d characters: the limit is %d, shorten it", n, limit)
}

// typeOf tells the type of valid JSON.
func typeOf(value json.RawMessage) (Type, bool) {
	switch c := value[0]; {
	case c == '"':
		return String, true
	case c == '-' || '0' <= c && c <= '9':
		return Number, true
	case c == '{' || c == '[':
		return JSON, true
	}
	return "", false
}

// named is what people call a value of a type.
func (t Type) named() string {
	switch t {
	case String:
		return "a string"
	case Number:
		return "a number"
	}
	return "an object or an array"
}

// CheckType refuses a type that is none, or another than that of the value.
func CheckType(given string, is Type) error {
	switch t := Type(given); {
	case t != String && t != Number && t != JSON:
		return lambda.Invalid("type", "type %.20q is none of %s, %s, %s", given, String, Number, JSON)
	case t != is:
		return lambda.Invalid("type", "type is %s and the value is %s: make them agree, or leave type out", t, is.named())
	}
	return nil
}
