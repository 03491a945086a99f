package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeyFile is the usual name of the file with the key.
const KeyFile = "secrets.key"

const (
	// keyPrefix begins the one line of a key file and says what it is.
	keyPrefix = "sluice-secrets-key-v1:"
	keyLength = 32 // AES-256
	// maxKeyFile is more than any key file has.
	maxKeyFile = 1_024
)

var errNoFile = errors.New("there is no key file")

// key seals and opens.
type key struct {
	id   string // tells keys apart and is no secret
	aead cipher.AEAD
}

func newKey(raw []byte) (*key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	// The key is 256 random bits, so that its hash tells nothing of it.
	sum := sha256.Sum256(append([]byte("id of "+keyPrefix), raw...))
	return &key{id: hex.EncodeToString(sum[:8]), aead: aead}, nil
}

// readKey reads the key file, or gives errNoFile.
func readKey(path string) (*key, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNoFile
	case err != nil:
		return nil, fmt.Errorf("read the key file of the secrets: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key file of the secrets: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("the key file %s can be used by others than its owner (mode %04o): run chmod 600 on it, and think about who has read it", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the key file of the secrets: %w", err)
	}
	encoded, ok := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), keyPrefix)
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(raw) != keyLength {
		return nil, fmt.Errorf("the key file %s is damaged: put it back from a backup; without it the secrets cannot be read", path)
	}
	return newKey(raw)
}

// makeKey makes a key and its file, which must not be there. Whoever reads the
// file, after a crash too, sees the whole key or no file.
func makeKey(path string) (*key, error) {
	raw := make([]byte, keyLength)
	_, _ = rand.Read(raw) // never fails
	if err := writeNew(path, keyPrefix+base64.StdEncoding.EncodeToString(raw)+"\n"); err != nil {
		return nil, fmt.Errorf("make the key file of the secrets: %w", err)
	}
	return newKey(raw)
}

// writeNew writes a file of mode 0600 that is not there yet: a link to one that
// is whole replaces nothing, where a rename would.
func writeNew(path, text string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
