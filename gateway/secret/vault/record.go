package vault

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
)

// Names of what is stored, all of it strings: numbers would lose digits on their
// way through Vault.
const (
	fieldValue     = "value" // JSON text
	fieldType      = "type"
	fieldCrypted   = "crypted"
	fieldCreatedAt = "createdAt"
	fieldCreatedBy = "createdBy"
	fieldUpdatedAt = "updatedAt"
	fieldUpdatedBy = "updatedBy"
	fieldDeleted   = "deleted"
)

// tombstone is what is stored while a secret is removed.
var tombstone = map[string]any{fieldDeleted: "true"}

func encode(one secret.Secret) map[string]any {
	return map[string]any{
		fieldValue: string(one.Value), fieldType: string(one.Type), fieldCrypted: one.Crypted,
		fieldCreatedAt: one.CreatedAt.Format(time.RFC3339Nano), fieldCreatedBy: one.CreatedBy,
		fieldUpdatedAt: one.UpdatedAt.Format(time.RFC3339Nano), fieldUpdatedBy: one.UpdatedBy,
	}
}

// versioned is the body of a write that replaces that version, 0 for none.
func versioned(data map[string]any, version int) map[string]any {
	return map[string]any{"data": data, "options": map[string]any{"cas": version}}
}

// sight is what is found at the place of a secret.
type sight struct {
	one       *secret.Secret // nil: there is none
	version   int            // of what is stored all the same
	tombstone bool
	foreign   bool      // something that no gateway wrote
	since     time.Time // when that was stored
}

// old tells whether the gateway that wrote a tombstone must have ended.
func (s sight) old(after time.Duration) bool { return time.Since(s.since) > after }

// look reads the place of a secret.
func (s *Store) look(ctx context.Context, account, key string) (sight, error) {
	path, err := s.path(account, key)
	if err != nil {
		return sight{}, err
	}
	answer, err := s.client.get(ctx, s.mount+"/data/"+path)
	if err != nil || answer == nil {
		return sight{}, err
	}
	metadata, ok := answer.Data["metadata"].(map[string]any)
	if !ok {
		return sight{}, lambda.SecretsRefused(fmt.Errorf("%s is no KV secrets engine of version 2", s.mount))
	}
	found := sight{version: integer(metadata["version"])}
	found.since, _ = time.Parse(time.RFC3339Nano, text(metadata["created_time"]))
	data, ok := answer.Data["data"].(map[string]any)
	if !ok || data == nil {
		return found, nil // deleted with Vault's own commands
	}
	if found.tombstone = text(data[fieldDeleted]) != ""; found.tombstone {
		return found, nil
	}
	one, err := decode(data)
	if err != nil {
		found.foreign = true
		return found, nil
	}
	one.Account, one.Key, one.Version = account, key, found.version
	found.one = one
	return found, nil
}

var errRecord = errors.New("was not written by a gateway")

func decode(data map[string]any) (*secret.Secret, error) {
	one := &secret.Secret{
		Value: json.RawMessage(text(data[fieldValue])), Crypted: text(data[fieldCrypted]),
		CreatedBy: text(data[fieldCreatedBy]), UpdatedBy: text(data[fieldUpdatedBy]),
	}
	_, kind, err := secret.ParseValue(one.Value, len(one.Value))
	if err != nil || secret.CheckType(text(data[fieldType]), kind) != nil {
		return nil, errRecord
	}
	one.Type = kind
	if one.CreatedAt, err = time.Parse(time.RFC3339Nano, text(data[fieldCreatedAt])); err != nil {
		return nil, errRecord
	}
	if one.UpdatedAt, err = time.Parse(time.RFC3339Nano, text(data[fieldUpdatedAt])); err != nil {
		return nil, errRecord
	}
	return one, nil
}

// encrypt gives the form of a value for those who may not see it.
func (s *Store) encrypt(ctx context.Context, account string, value []byte) (string, error) {
	answer, err := s.client.put(ctx, s.transit, map[string]any{
		"plaintext": base64.StdEncoding.EncodeToString(value),
		"context":   base64.StdEncoding.EncodeToString([]byte(account)),
	})
	if err != nil {
		return "", err
	}
	if answer == nil || text(answer.Data["ciphertext"]) == "" {
		return "", lambda.SecretsRefused(fmt.Errorf("%s gave no ciphertext", s.transit))
	}
	return text(answer.Data["ciphertext"]), nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// integer reads a number of Vault's answers.
func integer(v any) int {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	i, _ := n.Int64()
	return int(i)
}
