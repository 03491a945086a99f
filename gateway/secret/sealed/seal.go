package sealed

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
)

// seal makes the record of a secret with its value sealed.
func (k *key) seal(one secret.Secret) *lambda.SealedSecret {
	r := &lambda.SealedSecret{
		Account: one.Account, Key: one.Key, Type: string(one.Type), Version: one.Version, Sealer: k.id,
		CreatedAt: one.CreatedAt, CreatedBy: one.CreatedBy, UpdatedAt: one.UpdatedAt, UpdatedBy: one.UpdatedBy,
	}
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	r.Sealed = k.aead.Seal(nonce, nonce, one.Value, bound(r))
	return r
}

// open gives the value of a record.
func (k *key) open(r *lambda.SealedSecret) (json.RawMessage, error) {
	n := k.aead.NonceSize()
	switch {
	case r.Sealer != k.id:
		return nil, fmt.Errorf("it is sealed with the key %s, and this gateway has %s", r.Sealer, k.id)
	case len(r.Sealed) < n:
		return nil, errors.New("its sealed value is damaged")
	}
	value, err := k.aead.Open(nil, r.Sealed[:n], r.Sealed[n:], bound(r))
	if err != nil || !json.Valid(value) {
		return nil, errors.New("its sealed value is damaged, or that of another secret or version")
	}
	return value, nil
}

// bound is what a sealed value belongs to, so written that no two differ only in
// where one part ends.
func bound(r *lambda.SealedSecret) []byte {
	var b []byte
	for _, part := range []string{"sluice secret", r.Sealer, r.Account, r.Key, strconv.Itoa(r.Version), r.Type} {
		b = strconv.AppendInt(b, int64(len(part)), 10)
		b = append(append(b, ':'), part...)
	}
	return b
}

// listed shows a record without its value.
func listed(r *lambda.SealedSecret) secret.Secret {
	return secret.Secret{
		Account: r.Account, Key: r.Key, Type: secret.Type(r.Type), Version: r.Version,
		Crypted:   "sluice:" + r.Sealer + ":" + base64.StdEncoding.EncodeToString(r.Sealed),
		CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy,
	}
}
