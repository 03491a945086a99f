package sealed_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret/sealed"
	"github.com/sluice-faas/sluice/gateway/secret/secrettest"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
)

// rig is an etcd of a test's own, with what a gateway has of it.
type rig struct {
	server *etcdtest.Server
	client *clientv3.Client
	store  *store.Store
	file   string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{server: etcdtest.Start(t), file: filepath.Join(t.TempDir(), "secrets.key")}
	r.client = r.server.Client(t)
	r.store = store.New(r.client, zerolog.Nop())
	return r
}

func (r *rig) open(t *testing.T) *sealed.Store {
	t.Helper()
	s, err := r.tryOpen(t, false)
	require.NoError(t, err)
	return s
}

func (r *rig) tryOpen(t *testing.T, shared bool) (*sealed.Store, error) {
	t.Helper()
	return sealed.Open(t.Context(), sealed.Config{Records: r.store, KeyFile: r.file, Shared: shared})
}

func TestTheBattery(t *testing.T) {
	r := newRig(t)
	s := r.open(t)
	secrettest.Run(t, func(*testing.T) secrettest.Subject {
		return secrettest.Subject{Store: s, Cut: func(t *testing.T) func() {
			r.server.Stop()
			return func() { r.server.Restart(t) }
		}}
	})
}

// overtaken is a store in which another gateway does something just before this
// one makes its key the one of etcd.
type overtaken struct {
	sealed.Records
	by func()
}

func (o overtaken) ChooseSealer(ctx context.Context, was, id string) (bool, error) {
	o.by()
	return o.Records.ChooseSealer(ctx, was, id)
}

func TestTheKeyFile(t *testing.T) {
	good := func(t *testing.T, r *rig) []byte {
		t.Helper()
		text, err := os.ReadFile(r.file)
		require.NoError(t, err)
		return text
	}
	t.Run("is made on the first start, for its owner alone, and then kept", func(t *testing.T) {
		r := newRig(t)
		one := secrettest.New(secrettest.Account(), "key", `"value"`)
		_, err := r.open(t).Create(t.Context(), one, 0)
		require.NoError(t, err)
		info, err := os.Stat(r.file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		before := good(t, r)
		found, err := r.open(t).Read(t.Context(), one.Account, "key")
		require.NoError(t, err)
		require.Equal(t, `"value"`, string(found.Value))
		require.Equal(t, before, good(t, r))
		entries, err := os.ReadDir(filepath.Dir(r.file))
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing is left of writing it")
	})
	for name, damage := range map[string]func([]byte) []byte{
		"empty": func([]byte) []byte { return nil }, "cut": func(b []byte) []byte { return b[:len(b)-4] },
		"other text": func([]byte) []byte { return []byte("hello\n") }, "a longer key": func(b []byte) []byte { return append(b[:len(b)-2], "AAAA=\n"...) },
		"huge": func([]byte) []byte { return bytes.Repeat([]byte("x"), 1<<20) },
	} {
		t.Run("damaged ("+name+") stops the start and stays as it is", func(t *testing.T) {
			r := newRig(t)
			r.open(t)
			text := damage(good(t, r))
			require.NoError(t, os.WriteFile(r.file, text, 0o600))
			_, err := r.tryOpen(t, false)
			require.ErrorContains(t, err, r.file+" is damaged")
			require.Equal(t, text, append([]byte(nil), good(t, r)...)[:len(text)])
		})
	}
	t.Run("of another key stops the start while there are secrets", func(t *testing.T) {
		r := newRig(t)
		_, err := r.open(t).Create(t.Context(), secrettest.New("1", "key", `1`), 0)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(r.file, otherKey(), 0o600))
		_, err = r.tryOpen(t, false)
		require.ErrorContains(t, err, "put the right file there")
	})
	t.Run("missing stops the start while there are secrets, and is not made anew", func(t *testing.T) {
		r := newRig(t)
		_, err := r.open(t).Create(t.Context(), secrettest.New("1", "key", `1`), 0)
		require.NoError(t, err)
		require.NoError(t, os.Remove(r.file))
		_, err = r.tryOpen(t, false)
		require.ErrorContains(t, err, "is missing, and the secrets in etcd are sealed with its key")
		require.NoFileExists(t, r.file)
	})
	t.Run("missing without secrets is made anew, but not beside other gateways", func(t *testing.T) {
		r := newRig(t)
		r.open(t)
		require.NoError(t, os.Remove(r.file))
		_, err := r.tryOpen(t, true)
		require.ErrorContains(t, err, "from another gateway of this etcd")
		require.NoFileExists(t, r.file)
		r.open(t)
		require.FileExists(t, r.file)
	})
	t.Run("made while another gateway made its own is taken away again", func(t *testing.T) {
		r := newRig(t)
		other := sealed.Config{Records: r.store, KeyFile: filepath.Join(t.TempDir(), "secrets.key"), Shared: true}
		_, err := sealed.Open(t.Context(), sealed.Config{KeyFile: r.file, Shared: true, Records: overtaken{r.store, func() {
			_, err := sealed.Open(t.Context(), other)
			require.NoError(t, err)
		}}})
		require.ErrorAs(t, err, new(*sealed.KeyError))
		require.NoFileExists(t, r.file)
	})
	t.Run("that others can read stops the start", func(t *testing.T) {
		r := newRig(t)
		r.open(t)
		require.NoError(t, os.Chmod(r.file, 0o640))
		_, err := r.tryOpen(t, false)
		require.ErrorContains(t, err, "chmod 600")
	})
	t.Run("that is a folder stops the start", func(t *testing.T) {
		r := newRig(t)
		require.NoError(t, os.Mkdir(r.file, 0o700))
		_, err := r.tryOpen(t, false)
		require.ErrorContains(t, err, "is no file")
	})
	t.Run("of two gateways of one etcd must be the same", func(t *testing.T) {
		r := newRig(t)
		first, err := r.tryOpen(t, true)
		require.NoError(t, err)
		second := *r
		second.file = filepath.Join(t.TempDir(), "secrets.key")
		require.NoError(t, os.WriteFile(second.file, otherKey(), 0o600))
		_, err = second.tryOpen(t, true)
		require.ErrorContains(t, err, "put the right file there")
		require.NoError(t, os.WriteFile(second.file, good(t, r), 0o600))
		same, err := second.tryOpen(t, true)
		require.NoError(t, err)
		_, err = first.Create(t.Context(), secrettest.New("1", "key", `"both"`), 0)
		require.NoError(t, err)
		found, err := same.Read(t.Context(), "1", "key")
		require.NoError(t, err)
		require.Equal(t, `"both"`, string(found.Value))
	})
}

func otherKey() []byte {
	return []byte("sluice-secrets-key-v1:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))) + "\n")
}

func TestAGatewayWithAnotherKeyWritesNothing(t *testing.T) {
	r := newRig(t)
	old := r.open(t)
	require.NoError(t, os.Remove(r.file))
	now := r.open(t) // allowed: nothing was sealed so far
	_, err := old.Create(t.Context(), secrettest.New("1", "key", `1`), 0)
	require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
	require.Equal(t, lambda.CodeSecretAuth, lambda.As(err).Code)
	require.ErrorContains(t, old.Check(t.Context()), "give it the right key file")
	require.NoError(t, now.Check(t.Context()))
	_, err = now.Create(t.Context(), secrettest.New("1", "key", `1`), 0)
	require.NoError(t, err)
}

// record is a secret as etcd has it.
func (r *rig) record(t *testing.T, account, key string) lambda.SealedSecret {
	t.Helper()
	got, err := r.client.Get(t.Context(), "/sluice/secrets/"+account+"/"+key)
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	var s lambda.SealedSecret
	require.NoError(t, json.Unmarshal(got.Kvs[0].Value, &s))
	return s
}

func (r *rig) forge(t *testing.T, account, key string, s lambda.SealedSecret) {
	t.Helper()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	_, err = r.client.Put(t.Context(), "/sluice/secrets/"+account+"/"+key, string(text))
	require.NoError(t, err)
}

func TestAValueOpensOnlyWhereItWasSealed(t *testing.T) {
	r := newRig(t)
	s := r.open(t)
	for _, one := range []struct{ account, key, value string }{
		{"1", "a", `"one a"`}, {"1", "b", `"one b"`}, {"2", "a", `"two a"`},
	} {
		_, err := s.Create(t.Context(), secrettest.New(one.account, one.key, one.value), 0)
		require.NoError(t, err)
	}
	first := r.record(t, "1", "a")
	next, err := s.Read(t.Context(), "1", "a")
	require.NoError(t, err)
	next.Value = json.RawMessage(`"one a, again"`)
	_, err = s.Update(t.Context(), *next)
	require.NoError(t, err)
	second := r.record(t, "1", "a")

	for name, forge := range map[string]func(*lambda.SealedSecret){
		"of another key":              func(s *lambda.SealedSecret) { s.Sealed = r.record(t, "1", "b").Sealed },
		"of another account":          func(s *lambda.SealedSecret) { s.Sealed = r.record(t, "2", "a").Sealed },
		"of an earlier version":       func(s *lambda.SealedSecret) { s.Sealed = first.Sealed },
		"with another version":        func(s *lambda.SealedSecret) { s.Version = 3 },
		"with another type":           func(s *lambda.SealedSecret) { s.Type = "number" },
		"with the id of another key":  func(s *lambda.SealedSecret) { s.Sealer = "0000000000000000" },
		"with a bit that is another":  func(s *lambda.SealedSecret) { s.Sealed[len(s.Sealed)-1] ^= 1 },
		"with a nonce that is wrong":  func(s *lambda.SealedSecret) { s.Sealed[0] ^= 1 },
		"that is cut":                 func(s *lambda.SealedSecret) { s.Sealed = s.Sealed[:5] },
		"that is empty":               func(s *lambda.SealedSecret) { s.Sealed = nil },
		"that is not sealed at all":   func(s *lambda.SealedSecret) { s.Sealed = []byte(`"in clear, and long enough for all"`) },
		"whose record is another's":   func(s *lambda.SealedSecret) { *s = r.record(t, "2", "a") },
		"whose record is another key": func(s *lambda.SealedSecret) { *s = r.record(t, "1", "b") },
	} {
		t.Run("a value "+name, func(t *testing.T) {
			forged := second
			forged.Sealed = bytes.Clone(second.Sealed)
			forge(&forged)
			r.forge(t, "1", "a", forged)
			_, err := s.Read(t.Context(), "1", "a")
			require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
			for _, value := range []string{"one a", "one b", "two a", "in clear"} {
				require.NotContains(t, err.Error(), value)
			}
			r.forge(t, "1", "a", second)
			found, err := s.Read(t.Context(), "1", "a")
			require.NoError(t, err)
			require.Equal(t, `"one a, again"`, string(found.Value))
		})
	}
}

func TestNoNonceIsUsedTwice(t *testing.T) {
	r := newRig(t)
	s := r.open(t)
	one, err := s.Create(t.Context(), secrettest.New("1", "key", `0`), 0)
	require.NoError(t, err)
	nonces := map[string]bool{}
	for range 200 {
		nonce := string(r.record(t, "1", "key").Sealed[:12])
		require.False(t, nonces[nonce])
		nonces[nonce] = true
		one.Value = json.RawMessage(`0`)
		one, err = s.Update(t.Context(), *one)
		require.NoError(t, err)
	}
}

func TestEtcdHoldsNoValue(t *testing.T) {
	r := newRig(t)
	s := r.open(t)
	const value = "Tr0ub4dor-and-3-staples"
	one, err := s.Create(t.Context(), secrettest.New("1", "key", `"`+value+`"`), 0)
	require.NoError(t, err)
	one.Value = json.RawMessage(`"` + value + ` again"`)
	_, err = s.Update(t.Context(), *one)
	require.NoError(t, err)
	all, err := r.client.Get(t.Context(), "", clientv3.WithPrefix())
	require.NoError(t, err)
	require.NotEmpty(t, all.Kvs)
	for _, kv := range all.Kvs {
		for _, form := range secrettest.Forms(value) {
			require.NotContains(t, string(kv.Value), form, "%s", kv.Key)
		}
	}
}
