package app

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// The files in the data folder with what lambdas trust.
const (
	extraFile = "lambda-ca.pem"
	rootsFile = "lambda-roots.pem"
)

// trust are the files with the certificates that lambdas trust.
type trust struct {
	extra string // the gateway's own authority, and those that the operator names
	roots string // these, and the machine's
}

// machineRoots are where a machine may have its certificates: the first that is
// there counts. Go's crypto/x509 looks in the same places.
var machineRoots = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// lambdaCertificates writes what lambdas trust: the gateway's own authority, since
// they call its services, and what the operator names. A language that takes one
// file for all its roots, as Go does, needs the machine's in it. The files are
// copies, because a process cannot read the data folder, and perhaps not the
// operator's file; everybody may read them.
func (a *App) lambdaCertificates() (t trust, err error) {
	extra, err := os.ReadFile(a.ca.Path())
	if err != nil {
		return t, fmt.Errorf("certificates that lambdas trust: %w", err)
	}
	if named := a.config.EgressCAFile; named != "" {
		text, err := os.ReadFile(named)
		if err == nil {
			err = checkCertificates(text)
		}
		if err != nil {
			return t, fmt.Errorf("--egress-ca-file %s: %w", named, err)
		}
		extra = bytes.Join([][]byte{extra, text}, []byte{'\n'})
	}
	all := extra
	for _, path := range machineRoots {
		if text, err := os.ReadFile(path); err == nil {
			all = bytes.Join([][]byte{text, extra}, []byte{'\n'})
			break
		}
	}
	if t.extra, err = a.publish(extraFile, extra); err == nil {
		t.roots, err = a.publish(rootsFile, all)
	}
	if err != nil {
		return t, fmt.Errorf("certificates that lambdas trust: %w", err)
	}
	return t, nil
}

// publish writes a file that everybody may read who comes to it, whatever the
// umask.
func (a *App) publish(name string, text []byte) (string, error) {
	if err := a.data.writeFile(name, text); err != nil {
		return "", err
	}
	path := a.data.file(name)
	return path, os.Chmod(path, 0o644) //nolint:gosec // certificates are for everybody to read
}

// checkCertificates refuses what a language would leave out, with a warning that
// nobody sees.
func checkCertificates(text []byte) error {
	n := 0
	for rest := text; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("it holds a %s: leave only certificates (-----BEGIN CERTIFICATE-----)", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("its certificate number %d is damaged: %w", n+1, err)
		}
	}
	if n == 0 || bytes.Count(text, []byte("-----BEGIN")) != n {
		return errors.New("it is not all PEM: give certificates, each from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----")
	}
	return nil
}
