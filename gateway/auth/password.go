package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// The cost of one password hash: 19 MiB, two passes.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
)

// What a stored hash may ask for at most, so that a damaged one cannot exhaust
// the gateway.
const (
	maxArgonMemory  = 64 * 1024
	maxArgonTime    = 10
	maxArgonThreads = 4
	maxArgonBytes   = 64
)

// MaxPasswordLength is the longest password, bytes.
const MaxPasswordLength = 1024

// NewPassword makes a password that is short enough to be typed, and long enough
// not to be guessed: 100 random bits.
func NewPassword() string { return NewClientSecret()[:20] }

// Bounds of the callers that wait for a hash to be made: of all, and of those from
// one place, so that whoever sends guesses without end keeps nobody else out.
const (
	hashesWaiting     = 64
	hashesWaitingFrom = 16
)

// nobody is a hash that no password has. It costs what a real one costs, so that
// a caller cannot tell by the time which users exist.
var nobody = phc(argonMemory, argonTime, argonThreads, make([]byte, argonSalt), make([]byte, argonKey))

// passwords hashes and verifies passwords, a few at a time.
type passwords struct {
	slots   chan struct{}
	mu      sync.Mutex
	waiting int
	from    map[string]int // how many of those who wait are from a place
}

func newPasswords(atOnce int) *passwords {
	return &passwords{slots: make(chan struct{}, atOnce), from: map[string]int{}}
}

// acquire waits for a slot; release gives it back. Who come from the same place
// have a share of the waiting room: an address for logins, else an account.
func (p *passwords) acquire(ctx context.Context, from string) error {
	if !p.enter(from) {
		return rateLimited(delayFirst, "too many logins are under way")
	}
	defer p.leave(from)
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *passwords) enter(from string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == hashesWaiting || p.from[from] == hashesWaitingFrom {
		return false
	}
	p.waiting++
	p.from[from]++
	return true
}

func (p *passwords) leave(from string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
	if p.from[from]--; p.from[from] == 0 {
		delete(p.from, from)
	}
}

func (p *passwords) release() { <-p.slots }

// HashPassword gives the argon2id hash of a password of a user of account as a PHC
// string, to be kept in lambda.User. It waits while other hashes are being made.
func (s *Service) HashPassword(ctx context.Context, account, password string) (string, error) {
	switch {
	case password == "":
		return "", lambda.Invalid("password", "password is empty: give one of up to %d bytes", MaxPasswordLength)
	case len(password) > MaxPasswordLength:
		return "", lambda.Invalid("password", "password has %d bytes: the limit is %d", len(password), MaxPasswordLength)
	}
	if err := s.passwords.acquire(ctx, "account "+account); err != nil {
		return "", err
	}
	defer s.passwords.release()
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails: it ends the process first
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	return phc(argonMemory, argonTime, argonThreads, salt, key), nil
}

// VerifyPassword reports whether hash, a PHC string, is that of password. It
// waits while other hashes are being made; an error means that it could not be
// told.
func (s *Service) VerifyPassword(ctx context.Context, hash, password string) (bool, error) {
	if err := s.passwords.acquire(ctx, ""); err != nil {
		return false, err
	}
	defer s.passwords.release()
	return verifyPassword(hash, password)
}

func phc(memory, time uint32, threads uint8, salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, time, threads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

func verifyPassword(hash, password string) (bool, error) {
	if len(password) > MaxPasswordLength {
		return false, nil
	}
	memory, time, threads, salt, key, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(key))) // at most maxArgonBytes
	return subtle.ConstantTimeCompare(got, key) == 1, nil
}

var errPHC = errors.New("the stored password hash is no argon2id PHC string within our limits: set the password again")

func parsePHC(hash string) (memory, time uint32, threads uint8, salt, key []byte, err error) {
	part := strings.Split(hash, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return 0, 0, 0, nil, nil, errPHC
	}
	if n, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); n != 3 || err != nil {
		return 0, 0, 0, nil, nil, errPHC
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(part[4])
	key, keyErr := base64.RawStdEncoding.DecodeString(part[5])
	within := memory >= 8*uint32(threads) && memory <= maxArgonMemory && time >= 1 && time <= maxArgonTime &&
		threads >= 1 && threads <= maxArgonThreads &&
		len(salt) >= 8 && len(salt) <= maxArgonBytes && len(key) >= 16 && len(key) <= maxArgonBytes
	if saltErr != nil || keyErr != nil || !within {
		return 0, 0, 0, nil, nil, errPHC
	}
	return memory, time, threads, salt, key, nil
}
