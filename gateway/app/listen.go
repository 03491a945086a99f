package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/net/netutil"
)

// The limits of every listener. A request has readLimit from its first byte to
// the last of its body, and writeLimit until its answer is sent; a lambda's 30 s
// after the slowest body that is let in, and the wait for a process before them,
// fit in between. net/http takes a read limit that ends during a call for the
// caller's leaving, so readLimit too must outlast the call.
const (
	headerLimit    = 10 * time.Second
	readLimit      = 75 * time.Second
	writeLimit     = 90 * time.Second
	idleLimit      = 120 * time.Second
	maxHeaderBytes = 64 << 10
	maxStreams     = 250 // of one HTTP/2 connection
	maxConnections = 10_000
)

// server is one with those limits, which does not wait for slow clients when it
// stops.
type server struct {
	*http.Server
	requests *requests
}

func newServer(handler http.Handler, log zerolog.Logger) server {
	q := newRequests(handler, log)
	return server{requests: q, Server: &http.Server{
		Handler:                      q,
		ConnState:                    q.state,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered in JSON like all else
		ReadHeaderTimeout:            headerLimit,
		ReadTimeout:                  readLimit,
		WriteTimeout:                 writeLimit,
		IdleTimeout:                  idleLimit,
		MaxHeaderBytes:               maxHeaderBytes,
		ErrorLog:                     serverLog(log),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     30 * time.Second,
		},
	}}
}

// listen binds one address. flag names the setting in errors.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		return netutil.LimitListener(l, connectionLimit()), nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--%s %s: the port is in use: stop the program that has it, or choose another address (port 0 takes any free one)", flag, addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("--%s %s: the system does not let this user have the port: choose one from 1024 upwards", flag, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("--%s %s: this machine does not have that address", flag, addr)
	default:
		return nil, fmt.Errorf("--%s %s: %w", flag, addr, err)
	}
}

// connectionLimit leaves file descriptors for the processes and the state.
func connectionLimit() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > 4*maxConnections {
		return maxConnections
	}
	return max(64, int(files.Cur)/4)
}

// reachable is the address under which this machine reaches a listener: one that
// listens everywhere is reached by loopback.
func reachable(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// serving is a server at work.
type serving struct {
	name     string
	server   server
	listener net.Listener
	drain    time.Duration // how long requests under way are let finish
	failed   chan<- error
	done     chan struct{}
}

// serve begins to accept; with a TLSConfig in the server, TLS. An end that
// nobody asked for is told to failed.
func serve(name string, server server, l net.Listener, drain time.Duration, failed chan<- error) *serving {
	s := &serving{name: name, server: server, listener: l, drain: drain, failed: failed, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		var err error
		if server.TLSConfig != nil {
			err = server.ServeTLS(l, "", "")
		} else {
			err = server.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			select {
			case failed <- fmt.Errorf("the %s listener ended: %w", name, err):
			default: // another failure came first
			}
		}
	}()
	return s
}

// stop accepts nothing new and lets requests under way finish, for as long as the
// drain lasts. Those that are left then are cut off, which the log says; only
// when ctx ended first is it an error.
func (s *serving) stop(ctx context.Context) error {
	defer s.server.requests.hurry()()
	limited, cancel := context.WithTimeout(ctx, s.drain)
	defer cancel()
	err := s.server.Shutdown(limited)
	if err != nil {
		left := s.server.requests.open.Load()
		cut := s.server.Close()
		if ctx.Err() != nil {
			err = errors.Join(fmt.Errorf("requests were cut off: %w", err), cut)
		} else {
			s.server.requests.log.Warn().Str("listener", s.name).Int64("requests", left).Stringer("after", s.drain).
				Msg("requests that did not finish were cut off")
			err = cut
		}
	}
	<-s.done
	return err
}
