package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"strings"
)

// tokenLength is that of every opaque token: 256 random bits in hex.
const tokenLength = 64

// NewToken makes an opaque token: 64 hex digits. Keep only its Hash.
func NewToken() string {
	var b [tokenLength / 2]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process first
	return hex.EncodeToString(b[:])
}

// NewClientSecret makes the secret of an app: 160 random bits in 32 lower-case
// letters and digits, which no encoding of a form changes. Keep only its Hash.
func NewClientSecret() string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// Hash is how a token or client secret is kept: hex SHA-256 of its text. It is
// meant for random secrets only; passwords need HashPassword.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// matches compares a secret with the Hash of the right one, in a time that tells
// nothing about either.
func matches(secret, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(Hash(secret)), []byte(hash)) == 1
}

// isToken reports whether s has the form of an opaque token.
func isToken(s string) bool {
	if len(s) != tokenLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
