package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// exchangeKey is the key under which a request's context has its exchange.
type exchangeKey struct{}

// newTransport makes what carries the plain requests of one connection. It keeps
// hardly anything open, and uses no proxy of the gateway's.
func (p *Proxy) newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Protocols:              protocols,
		DialContext:            p.dialExchange,
		DisableCompression:     true,
		MaxIdleConns:           2,
		MaxIdleConnsPerHost:    1,
		MaxConnsPerHost:        2,
		IdleConnTimeout:        30 * time.Second,
		ResponseHeaderTimeout:  p.idle - p.idle/4, // it is told, and not cut off as what is idle is
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHead,
	}
}

// dialExchange connects to the host of a request's decision. What it was parsed to
// counts, not how the transport writes it.
func (p *Proxy) dialExchange(ctx context.Context, _, _ string) (net.Conn, error) {
	e, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errNoAddress
	}
	return p.dial(ctx, &e.decision)
}

// forward sends a plain request on, and its answer back.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, e *exchange, a lambda.Attempt) {
	var reached netip.Addr
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reached = addressOf(c.Conn) }}
	ctx := httptrace.WithClientTrace(context.WithValue(e.ctx, exchangeKey{}, e), trace)
	upgraded := false
	defer func() {
		if upgraded { // the server gave the connection away, and tells nobody about its end
			e.session.close()
			e.session.finished()
		}
	}()
	host := e.decision.String()
	if e.decision.port == 80 {
		host = host[:len(host)-len(":80")]
	}
	proxy := httputil.ReverseProxy{
		Transport:  e.session.transport,
		BufferPool: buffers{},
		// Whoever waits for the next event shall not wait for those that come after it.
		FlushInterval: -1,
		ErrorLog:      p.server.ErrorLog,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host, r.Out.URL.User = "http", host, host, nil
			// ReverseProxy takes these for a proxy's; here they are the author's.
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, ok := r.In.Header[name]; ok {
					r.Out.Header[name] = values
				}
			}
		},
		ModifyResponse: func(res *http.Response) error {
			res.Header.Del(RuleHeader) // what has these is ours
			res.Header.Del(MessageHeader)
			a.Address, a.Duration = reached, p.now().Sub(a.At)
			upgraded = res.StatusCode == http.StatusSwitchingProtocols
			p.record(a)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { p.failed(w, r, e, a, err) },
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
}

func addressOf(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// failed answers a request that was allowed and did not come to an end.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, e *exchange, a lambda.Attempt, err error) {
	var why *failure
	switch {
	case errors.As(err, &why):
		a.Rule, a.Address = why.rule, why.address
	case e.ctx.Err() != nil:
		// The process left, or it may not go on. An answer that says nothing would say
		// that all went well.
		panic(http.ErrAbortHandler)
	default:
		a.Rule = lambda.RuleUnreachable
		why = &failure{message: e.decision.String() + " broke off, or did not answer as an HTTP server does (rule unreachable): try again, and check the port"}
	}
	p.log.Debug().Err(err).Str("account", a.Account).Str("lambda", a.LambdaID).Str("host", a.Host).Msg("a host could not be reached")
	p.refuse(w, r, a, why.message)
}

// buffers are those that bodies and tunnels are copied through.
type buffers struct{}

var pooled = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// Get takes a buffer.
func (buffers) Get() []byte { return *pooled.Get().(*[]byte) }

// Put gives a buffer back.
func (buffers) Put(b []byte) { pooled.Put(&b) }
