package sandbox

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
)

// certificates are the files with those that processes trust; empty for none.
type certificates struct {
	extra string // beside their language's own
	roots string // these and the machine's
}

// Where they are inside.
const (
	insideCA    = "/etc/sluice/ca.pem"
	insideRoots = "/etc/sluice/roots.pem"
)

func openCertificates(settings Settings) (c certificates, err error) {
	if settings.CAFile == "" {
		return c, nil
	}
	if c.extra, err = realFile(settings.CAFile); err == nil {
		c.roots, err = realFile(cmp.Or(settings.RootsFile, settings.CAFile))
	}
	if err != nil {
		return c, fmt.Errorf("CA file: %w", err)
	}
	return c, nil
}

func realFile(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// takeCertificates sets what the process reads. Where it has a user of its own that
// could not read the files, they are copied to its folder.
func (p *Process) takeCertificates() error {
	s := p.command.Sandbox
	if s == nil || s.extra == "" {
		return nil
	}
	p.trusts, p.outside = s.certificates, s.certificates
	if s.plan.files {
		p.trusts = certificates{insideCA, insideRoots}
	}
	if p.user == 0 || s.plan.files && isPublic(s.extra) && isPublic(s.roots) {
		return nil
	}
	p.outside = certificates{} // nothing is shown from there
	for name, at := range map[string]*string{"ca.pem": &p.trusts.extra, "roots.pem": &p.trusts.roots} {
		from := s.extra
		if at == &p.trusts.roots {
			from = s.roots
		}
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(p.dir, name), text, 0o400)
		}
		if err == nil {
			err = os.Chown(filepath.Join(p.dir, name), p.user, p.user)
		}
		if err != nil {
			return fmt.Errorf("CA file: %w", err)
		}
		*at = filepath.Join(p.inside, name)
	}
	return nil
}

// isPublic tells whether every user may read a file, once it is shown to them.
func isPublic(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
