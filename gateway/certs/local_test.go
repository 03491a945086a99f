package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/certs"
)

// shake makes a TLS connection to a listener with that configuration and gives
// the certificate it showed.
func shake(t *testing.T, server *tls.Config, client *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.(*tls.Conn).Handshake() // a refused handshake is the client's to judge
		_ = conn.Close()
	}()
	defer func() {
		require.NoError(t, listener.Close())
		<-done
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the server may have closed it already
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestAClientThatTrustsTheAuthorityTrustsEveryConfiguredName(t *testing.T) {
	ca, err := certs.OpenLocal(t.TempDir(), nil)
	require.NoError(t, err)
	server, err := ca.TLSConfig("gw.example.org", "10.1.2.3")
	require.NoError(t, err)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "gw.example.org", "10.1.2.3"} {
		_, err := shake(t, server, &tls.Config{RootCAs: ca.Pool(), ServerName: name})
		require.NoError(t, err, name)
	}
	_, err = shake(t, server, &tls.Config{RootCAs: ca.Pool(), ServerName: "other.example.org"})
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
	_, err = shake(t, server, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"})
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
}

func TestOldTLSIsRefused(t *testing.T) {
	ca, err := certs.OpenLocal(t.TempDir(), nil)
	require.NoError(t, err)
	server, err := ca.TLSConfig()
	require.NoError(t, err)
	_, err = shake(t, server, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)
	_, err = shake(t, server, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MaxVersion: tls.VersionTLS12})
	require.NoError(t, err)
}

func TestARestartKeepsTheAuthority(t *testing.T) {
	dir := t.TempDir()
	first, err := certs.OpenLocal(dir, nil)
	require.NoError(t, err)
	text, err := os.ReadFile(first.Path())
	require.NoError(t, err)

	again, err := certs.OpenLocal(dir, nil)
	require.NoError(t, err)
	after, err := os.ReadFile(again.Path())
	require.NoError(t, err)
	require.Equal(t, text, after)
	server, err := again.TLSConfig()
	require.NoError(t, err)
	_, err = shake(t, server, &tls.Config{RootCAs: first.Pool(), ServerName: "localhost"})
	require.NoError(t, err)

	key, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), key.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing but the two files is left")
}

func TestADeletedCertificateIsMadeAgainWithTheSameKey(t *testing.T) {
	dir := t.TempDir()
	first, err := certs.OpenLocal(dir, nil)
	require.NoError(t, err)
	require.NoError(t, os.Remove(first.Path()))
	again, err := certs.OpenLocal(dir, nil)
	require.NoError(t, err)
	server, err := again.TLSConfig()
	require.NoError(t, err)
	_, err = shake(t, server, &tls.Config{RootCAs: first.Pool(), ServerName: "localhost"})
	require.NoError(t, err, "who trusted the old certificate trusts the new one")
}

func TestDamagedFilesAreNamedAndLeftAlone(t *testing.T) {
	write := func(name string, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
	}
	foreign := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			other := t.TempDir()
			_, err := certs.OpenLocal(other, nil)
			require.NoError(t, err)
			text, err := os.ReadFile(filepath.Join(other, name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
		}
	}
	for name, tc := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string
	}{
		"a certificate that is none":            {write("ca.pem", "hello"), []string{"ca.pem is damaged", "delete it"}},
		"an empty certificate":                  {write("ca.pem", ""), []string{"ca.pem is damaged"}},
		"a certificate with broken contents":    {write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))), []string{"ca.pem is damaged"}},
		"a key that is none":                    {write("ca-key.pem", "hello"), []string{"ca-key.pem is damaged", "delete it and ca.pem"}},
		"a key with broken contents":            {write("ca-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))), []string{"ca-key.pem is damaged"}},
		"another authority's key":               {foreign("ca-key.pem"), []string{"ca.pem does not belong to the key in ca-key.pem"}},
		"another authority's certificate":       {foreign("ca.pem"), []string{"ca.pem does not belong to the key in ca-key.pem"}},
		"a certificate whose key was taken out": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "ca-key.pem"))) }, []string{"ca-key.pem is missing", "put it back"}},
		"a folder in the key's place": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "ca-key.pem")))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "ca-key.pem"), 0o700))
		}, []string{"ca-key.pem", "is a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := certs.OpenLocal(dir, nil)
			require.NoError(t, err)
			tc.damage(t, dir)
			before := contents(t, dir)
			_, err = certs.OpenLocal(dir, nil)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			require.Equal(t, before, contents(t, dir))
		})
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			files[e.Name()] = "a folder"
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		files[e.Name()] = string(text)
	}
	return files
}

func TestAnExpiredAuthorityIsSaidAndTheListenersCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	clock := func() time.Time { return now }
	ca, err := certs.OpenLocal(dir, clock)
	require.NoError(t, err)
	server, err := ca.TLSConfig()
	require.NoError(t, err)
	client := func() *tls.Config {
		return &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Time: clock}
	}
	first, err := shake(t, server, client())
	require.NoError(t, err)
	same, err := shake(t, server, client())
	require.NoError(t, err)
	require.Equal(t, first.SerialNumber, same.SerialNumber)

	now = now.Add(80 * 24 * time.Hour)
	renewed, err := shake(t, server, client())
	require.NoError(t, err)
	require.NotEqual(t, first.SerialNumber, renewed.SerialNumber)

	now = now.Add(11 * 365 * 24 * time.Hour)
	_, err = certs.OpenLocal(dir, clock)
	require.ErrorContains(t, err, "ca.pem expired on")
	now = now.Add(-20 * 365 * 24 * time.Hour)
	_, err = certs.OpenLocal(dir, clock)
	require.ErrorContains(t, err, "is the clock right?")
}
