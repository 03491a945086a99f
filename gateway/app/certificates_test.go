package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// secureServer answers at localhost with a certificate of its own.
func secureServer(t *testing.T) (url string, certificate []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secure") }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	return "https://localhost:" + port + "/", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// The tiny runtime is written in Go, which trusts what is in one file and nothing
// else. The operator's file is one that no lambda could read.
func TestALambdaTrustsTheMachinesCertificatesAndTheOperators(t *testing.T) {
	server, certificate := secureServer(t)
	file := filepath.Join(t.TempDir(), "own.pem")
	require.NoError(t, os.WriteFile(file, certificate, 0o600))
	dir := t.TempDir()
	g := start(t, dir, "--limit", "egress-requests=0", "--egress-ca-file", file)
	_, err := g.as(t, "FaaS-Admin").AddPrivateDomain(t.Context(), "localhost")
	require.NoError(t, err)
	brand := g.brand(t)
	for _, url := range []string{server, g.Info().URLs.CSDS + "/limits"} {
		require.Eventually(t, func() bool {
			answer, err := brand.Invoke(t.Context(), g.Info().Lambda.UUID, map[string]string{"fetch": url})
			return err == nil && strings.HasPrefix(string(answer), `"200 `)
		}, 5*time.Second, 50*time.Millisecond, url)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(text)
	}
	extra, all, own := read("lambda-ca.pem"), read("lambda-roots.pem"), read("ca.pem")
	require.Equal(t, own+"\n"+string(certificate), extra)
	require.True(t, strings.HasSuffix(all, extra))
	if machine, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt"); err == nil {
		require.Equal(t, string(machine)+"\n"+extra, all)
	}
}

func TestCertificatesThatAreNoneAreToldAtTheStart(t *testing.T) {
	_, certificate := secureServer(t)
	whole := string(certificate)
	for name, c := range map[string]struct{ text, says string }{
		"no PEM":         {"hello", "it is not all PEM"},
		"nothing":        {"", "it is not all PEM"},
		"half of one":    {whole + whole[:200], "it is not all PEM"},
		"a key":          {whole + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "it holds a PRIVATE KEY: leave only certificates"},
		"a damaged one":  {whole + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "its certificate number 2 is damaged"},
		"one not inside": {whole + "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "it is not all PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "own.pem")
			require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
			_, err := open(t, t.TempDir(), "--egress-ca-file", file)
			require.ErrorContains(t, err, "--egress-ca-file "+file+": "+c.says)
		})
	}
	_, err := open(t, t.TempDir(), "--egress-ca-file", "/nonexistent")
	require.ErrorContains(t, err, "--egress-ca-file /nonexistent: ")
}
