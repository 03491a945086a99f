package secrettest

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// Forms gives what a search for a value has to look for: the value, and parts of
// its base64, base64url, hexadecimal and percent-encoded forms that are there
// wherever in a longer text it stood when that was encoded. The value must be of
// 12 bytes or more.
func Forms(value string) []string {
	forms := []string{value, url.QueryEscape(value), hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value)))}
	for shift := range 3 {
		// Of each three bytes come four characters: leave out those that hold bits of
		// what stands before and after.
		whole := value[shift:]
		whole = whole[:len(whole)/3*3]
		forms = append(forms, base64.StdEncoding.EncodeToString([]byte(whole)), base64.URLEncoding.EncodeToString([]byte(whole)))
	}
	return forms
}
