package egress

import (
	"context"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strings"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// ServeConn speaks HTTP with a process on conn until either side ends or ctx does,
// and closes conn.
func (w *Way) ServeConn(ctx context.Context, conn net.Conn) {
	p := w.proxy
	s := &session{proxy: p, caller: w.caller, conn: &clientConn{Conn: conn}, done: make(chan struct{})}
	s.conn.session = s
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.transport = p.newTransport()
	defer s.close()
	if !p.sessions.add(s) {
		p.tooMany(s)
		return
	}
	defer p.sessions.remove(s)
	defer s.transport.CloseIdleConnections()
	defer context.AfterFunc(s.ctx, s.close)()
	defer context.AfterFunc(p.ctx, s.close)()
	select {
	case p.accepted <- s.conn:
		<-s.done
	case <-p.ctx.Done():
	case <-s.ctx.Done():
	}
}

// tooMany answers a connection that there is no room for, unasked, and without
// waiting for it.
func (p *Proxy) tooMany(s *session) {
	const message = "too many connections to other hosts are open (rule busy): close some, or try again"
	p.flood(lambda.Attempt{Account: s.caller.account, LambdaID: s.caller.lambdaID, At: p.now(), Rule: lambda.RuleBusy})
	_ = s.conn.SetDeadline(p.now().Add(headerTime)) // also a pipe has one
	_, _ = io.WriteString(s.conn, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n"+
		RuleHeader+": "+string(lambda.RuleBusy)+"\r\n"+MessageHeader+": "+message+"\r\n\r\n")
}

// arrivals are the connections of processes as a net.Listener.
type arrivals struct{ proxy *Proxy }

// Accept gives the next connection.
func (a arrivals) Accept() (net.Conn, error) {
	select {
	case c := <-a.proxy.accepted:
		return c, nil
	case <-a.proxy.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close does nothing: the end of the proxy ends Accept.
func (a arrivals) Close() error { return nil }

// Addr is none that anybody could dial.
func (a arrivals) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "egress"} }

// sessionKey is the key under which a request's context has its session.
type sessionKey struct{}

func (p *Proxy) newServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      http.HandlerFunc(p.serve),
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            min(headerTime, p.idle),
		IdleTimeout:                  p.idle,
		MaxHeaderBytes:               maxRequestHead,
		Protocols:                    protocols,
		ErrorLog:                     stdlog.New(debugLog{p.log}, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, sessionKey{}, c.(*clientConn).session)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				c.(*clientConn).session.finished()
			}
		},
	}
}

// debugLog takes what net/http says about clients, who could say it again and again.
type debugLog struct{ log zerolog.Logger }

func (d debugLog) Write(line []byte) (int, error) {
	d.log.Debug().Str("said", strings.TrimSpace(string(line))).Msg("a connection to the egress proxy failed")
	return len(line), nil
}

// serve answers one request of a process.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	s, _ := r.Context().Value(sessionKey{}).(*session)
	// What the host does not say about itself, net/http shall not say for it.
	w.Header()["Date"], w.Header()["Content-Type"] = nil, nil
	a := lambda.Attempt{Account: s.caller.account, LambdaID: s.caller.lambdaID, At: p.now(), Method: method(r.Method)}
	authority, port, fault := p.wanted(r)
	t, err := parseTarget(authority, port)
	a.Host = shown(authority)
	if err == nil {
		a.Host, a.Port = t.host(), int(t.port)
	}
	if wait, ok := p.rates.take(s.caller, a.At); !ok {
		a.Rule = lambda.RuleRate
		p.flood(a)
		p.answerRate(w, r, a.Host, wait)
		return
	}
	switch {
	case fault != "":
		a.Rule = lambda.RuleMethod
		p.refuse(w, r, a, fault)
		return
	case err != nil:
		a.Rule = lambda.RuleNotListed
		p.refuse(w, r, a, "the host "+a.Host+" "+err.Error()+" (rule not-listed)")
		return
	}
	d := p.decide(s.caller.account, t)
	a.Rule, a.Entry = d.rule, d.entry
	if !d.allowed() {
		p.refuse(w, r, a, d.message)
		return
	}
	e := s.begin(r.Context(), d)
	defer s.end(e)
	defer context.AfterFunc(s.ctx, e.cancel)()
	// The whitelist may have changed between the decision and this: whoever is told
	// of a change finds the exchange from here on.
	if again := p.decide(s.caller.account, t); !again.allowed() {
		a.Rule, a.Entry = again.rule, again.entry
		p.refuse(w, r, a, again.message)
		return
	}
	if r.Method == http.MethodConnect {
		p.tunnel(w, r, e, a)
	} else {
		p.forward(w, r, e, a)
	}
}

// wanted is the host that a request is for, and the port if it names none. A request
// of a form that the proxy does not serve has a fault instead.
func (p *Proxy) wanted(r *http.Request) (authority string, port uint16, fault string) {
	switch {
	case r.Method == http.MethodConnect:
		authority = r.RequestURI
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			fault = "a CONNECT has no body (rule method)"
		}
	case !r.URL.IsAbs() || r.URL.Opaque != "" || r.URL.Host == "":
		authority, fault = r.Host, "this is a proxy (rule method): ask it for a whole URL such as http://api.example.com/path, or with CONNECT"
	case !strings.EqualFold(r.URL.Scheme, "http"):
		authority = r.URL.Host
		fault = "the proxy serves URLs of http (rule method): for " + shown(r.URL.Scheme) + " open a tunnel with CONNECT, as clients do for https by themselves"
	default:
		authority, port = r.URL.Host, 80
	}
	return authority, port, fault
}

// method is a method as a journal can take it.
func method(m string) string { return shown(m[:min(len(m), 20)]) }
