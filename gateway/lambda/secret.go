package lambda

import "time"

// SealedSecret is a secret as etcd keeps it where the gateway keeps secrets
// itself: everything but the value is in clear, and the value is sealed with a
// key that is not in etcd.
type SealedSecret struct {
	Account   string    `json:"account"`
	Key       string    `json:"key"`
	Type      string    `json:"type"`
	Version   int       `json:"version"` // from 1, rises with each write
	Sealer    string    `json:"sealer"`  // id of the key that it is sealed with
	Sealed    []byte    `json:"sealed"`  // nonce, then ciphertext
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy"`
	// Revision is that of the last write in etcd: a later write demands it.
	Revision int64 `json:"-"`
}
