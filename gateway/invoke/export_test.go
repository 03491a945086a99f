package invoke

import (
	"encoding/json"

	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// Ran is what a pool says of a call that ran on a process that has read secrets, in
// this order.
func RanWith(secrets ...runtime.Secret) pool.Info {
	a := &accountSecrets{}
	for _, s := range secrets {
		a.known.add(s.Key, s.Value)
	}
	return pool.Info{Ran: true, Secrets: a}
}

// MaskText and MaskJSON mask what the process of info has read.
func MaskText(info pool.Info, text string) string { return maskOf(info.Secrets).text(text) }

func MaskJSON(info pool.Info, b json.RawMessage) json.RawMessage {
	return maskOf(info.Secrets).json(b)
}

// Forms are those of a value that are masked.
func Forms(value string) []string { return readValue{json: []byte(value)}.forms() }
