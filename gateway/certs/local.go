// Package certs gives the HTTPS listener its tls.Config.
//
// Local is the certificate authority of `sluice dev`: made on the first start
// and kept in the data folder, so that whoever trusts its certificate once goes
// on trusting the gateway after every restart. The listener's own certificate is
// made anew at each start, for the names of that start, and never written down.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The files of the local authority in its folder.
const (
	CertificateFile = "ca.pem"
	KeyFile         = "ca-key.pem"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// leafRenew is the rest of a leaf's life at which the next one is made: a
	// gateway that runs for months never serves an expired certificate.
	leafRenew = leafLife / 3
	// backdate forgives clocks that are a little slow.
	backdate = time.Hour
)

// Local is a certificate authority for one machine. Its methods may be called
// from many goroutines.
type Local struct {
	path string
	cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// OpenLocal reads the authority in dir, or makes one where there is none. Files
// that are there but cannot be used are an error that says which and what to do;
// nothing is ever written over. Two processes may not call it on one folder at
// once. A nil now is time.Now.
func OpenLocal(dir string, now func() time.Time) (*Local, error) {
	if now == nil {
		now = time.Now
	}
	l := &Local{path: filepath.Join(dir, CertificateFile), now: now}
	keyPath := filepath.Join(dir, KeyFile)

	certPEM, certErr := os.ReadFile(l.path)
	keyPEM, keyErr := os.ReadFile(keyPath)
	for _, err := range []error{certErr, keyErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the local certificate authority: %w", err)
		}
	}
	if certErr == nil && keyErr != nil {
		return nil, fmt.Errorf("%s is missing, and %s is of no use without it: put it back, or delete %s to have a new authority made (clients must then trust the new one)",
			keyPath, l.path, l.path)
	}
	var err error
	if keyErr != nil {
		if l.key, err = newKey(keyPath); err != nil {
			return nil, err
		}
	} else if l.key, err = parseKey(keyPath, keyPEM); err != nil {
		return nil, err
	}
	// A key without its certificate is what a first start leaves when it is
	// stopped in between, or who deleted ca.pem: the same key gives a
	// certificate that those who trusted the old one trust.
	if certErr != nil {
		if certPEM, err = l.newCertificate(); err != nil {
			return nil, err
		}
	}
	if l.cert, err = l.parseCertificate(certPEM); err != nil {
		return nil, err
	}
	return l, nil
}

// Path is the absolute or relative path, as dir was, of the certificate that
// clients have to trust.
func (l *Local) Path() string { return l.path }

// Pool holds the authority's certificate alone.
func (l *Local) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(l.cert)
	return pool
}

// TLSConfig gives the configuration of a listener that answers for
// 127.0.0.1, ::1, localhost and hosts (names or addresses, without ports):
// TLS 1.2 or newer, HTTP/2 and HTTP/1.1.
func (l *Local) TLSConfig(hosts ...string) (*tls.Config, error) {
	leaf := &leaf{authority: l, hosts: append([]string{"localhost", "127.0.0.1", "::1"}, hosts...)}
	if _, err := leaf.get(nil); err != nil {
		return nil, err // now, not at the first client
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: leaf.get,
	}, nil
}

// leaf is the listener's certificate, replaced while the listener runs.
type leaf struct {
	authority *Local
	hosts     []string

	mu      sync.RWMutex
	current *tls.Certificate
	renewAt time.Time
}

func (f *leaf) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := f.authority.now()
	f.mu.RLock()
	current, renewAt := f.current, f.renewAt
	f.mu.RUnlock()
	if current != nil && now.Before(renewAt) {
		return current, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != nil && now.Before(f.renewAt) {
		return f.current, nil
	}
	cert, err := f.authority.issue(f.hosts)
	if err != nil {
		return nil, err
	}
	f.current, f.renewAt = cert, cert.Leaf.NotAfter.Add(-leafRenew)
	return f.current, nil
}

// issue signs a certificate for hosts with a key of its own.
func (l *Local) issue(hosts []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the listener's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := l.now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Sluice development"}, CommonName: hosts[0]},
		NotBefore:    now.Add(-backdate),
		NotAfter:     earlier(now.Add(leafLife), l.cert.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, l.cert, key.Public(), l.key)
	if err != nil {
		return nil, fmt.Errorf("sign the listener's certificate: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign the listener's certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func newKey(path string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := writeNew(path, text, 0o600); err != nil {
		return nil, err
	}
	return key, nil
}

func parseKey(path string, text []byte) (crypto.Signer, error) {
	damaged := func(why string) error {
		return fmt.Errorf("%s is damaged (%s): restore it from a copy, or delete it and %s to have a new authority made (clients must then trust the new one)",
			path, why, CertificateFile)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, damaged("no PEM block of type PRIVATE KEY in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, damaged(err.Error())
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, damaged("not a key that can sign")
	}
	return key, nil
}

// newCertificate signs the authority's certificate with its own key and writes
// it down.
func (l *Local) newCertificate() ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := l.now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Sluice development"}, CommonName: "Sluice local CA"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, l.key.Public(), l.key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := writeNew(l.path, text, 0o644); err != nil {
		return nil, err
	}
	return text, nil
}

func (l *Local) parseCertificate(text []byte) (*x509.Certificate, error) {
	unusable := func(format string, args ...any) error {
		return fmt.Errorf("%s %s: restore it from a copy, or delete it to have a new one made with the same key",
			l.path, fmt.Sprintf(format, args...))
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, unusable("is damaged (no PEM block of type CERTIFICATE in it)")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, unusable("is damaged (%v)", err)
	}
	if !cert.IsCA {
		return nil, unusable("is not the certificate of an authority")
	}
	if public, ok := l.key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return nil, unusable("does not belong to the key in %s", KeyFile)
	}
	if now := l.now(); now.After(cert.NotAfter) {
		return nil, unusable("expired on %s", cert.NotAfter.Format(time.DateOnly))
	} else if now.Before(cert.NotBefore) {
		return nil, unusable("is not valid before %s (is the clock right?)", cert.NotBefore.Format(time.DateTime))
	}
	return cert, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return serial, nil
}

// writeNew writes a file that is not there yet: whole, or not at all.
func writeNew(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // unlike a rename, never over another file
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
