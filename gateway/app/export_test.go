package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/config"
)

// LogWriter is the log's way out, for tests.
type LogWriter struct{ *logWriter }

func NewLogWriter(to io.Writer) LogWriter { return LogWriter{newLogWriter(to, false)} }

// NewHeldLogWriter writes nothing before Release.
func NewHeldLogWriter(to io.Writer) LogWriter { return LogWriter{newLogWriter(to, true)} }

func (w LogWriter) Release()                        { w.release() }
func (w LogWriter) Close(ctx context.Context) error { return w.close(ctx) }
func (w LogWriter) Lost() uint64                    { return w.lost() }

func NewLogger(w io.Writer, level zerolog.Level) zerolog.Logger { return newLogger(w, level) }

// LogBuffer is how many bytes may wait.
const LogBuffer = logBuffer

// Quote makes a word for a shell.
var Quote = quote

// Closers is the list of what was opened.
type Closers struct{ closers }

func (c *Closers) Push(name string, f func(context.Context) error) { c.push(name, f) }
func (c *Closers) CloseAll(ctx context.Context) error              { return c.closeAll(ctx) }

// CertificateHosts are the names of the HTTPS listener's certificate.
var CertificateHosts = certificateHosts

// Serving is one server at work.
type Serving struct {
	Addr string
	Stop func(context.Context) error
}

// ServeForTest serves handler on a free port; its stop drains for that long.
func ServeForTest(handler http.Handler, drain time.Duration, log io.Writer) (Serving, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Serving{}, err
	}
	s := serve("test", newServer(handler, zerolog.New(log)), l, drain, make(chan error, 1))
	return Serving{Addr: l.Addr().String(), Stop: s.stop}, nil
}

// CheckOwner checks a data folder for a user.
func CheckOwner(path string, uid int) error { return checkOwner(path, uid) }

// Check is one check of /readyz.
type Check struct {
	Name     string
	Degrades bool
	Fault    error
}

// AdminHandler serves /readyz of a gateway with these checks.
func AdminHandler(checks ...Check) http.Handler {
	r := &readiness{}
	for _, c := range checks {
		r.checks = append(r.checks, check{name: c.Name, degrades: c.Degrades, probe: func(context.Context) error { return c.Fault }})
	}
	return adminHandler(r, prometheus.NewRegistry(), false)
}

// RunBase tells where the run folder would be made.
func RunBase(name string, forAll bool) string { return runBase(name, forAll) }

// OperatorsOnly is what lambdas never reach, of a gateway with such an admin listener
// and etcd.
func OperatorsOnly(admin net.Listener, etcd ...string) (addresses []netip.AddrPort, hosts []string) {
	a := &App{config: config.Config{EtcdEndpoints: etcd}}
	a.listeners.admin = admin
	return a.operatorsOnly()
}
