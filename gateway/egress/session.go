package egress

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// session is one connection of a process.
type session struct {
	proxy     *Proxy
	caller    caller
	conn      *clientConn
	ctx       context.Context // ends with the connection
	cancel    context.CancelFunc
	transport *http.Transport // of this connection alone, so that nothing is shared between lambdas
	done      chan struct{}   // closed when nothing of it runs any more
	once      sync.Once

	mu      sync.Mutex
	current *exchange // the request that is being served, or the tunnel
}

// finished says that nothing of the session runs any more.
func (s *session) finished() { s.once.Do(func() { close(s.done) }) }

// exchange is one request that was let out, or one tunnel.
type exchange struct {
	session  *session
	decision decision
	begun    time.Time
	ctx      context.Context
	cancel   context.CancelFunc

	// The watch's own.
	moved     int64 // bytes of the connection when it last looked
	movedAt   time.Time
	lookedYet bool
}

// abort ends the exchange, and with it the connection: an answer that has begun
// cannot be taken back.
func (e *exchange) abort() {
	e.cancel()
	e.session.close()
}

func (s *session) close() {
	s.cancel()
	_ = s.conn.Close() // it was of no more use
}

// begin makes a let out request the session's current one.
func (s *session) begin(ctx context.Context, d decision) *exchange {
	e := &exchange{session: s, decision: d, begun: s.proxy.now()}
	e.ctx, e.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	s.current = e
	s.mu.Unlock()
	return e
}

func (s *session) end(e *exchange) {
	e.cancel()
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
}

func (s *session) exchange() *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// clientConn is a process's connection, which counts what passes.
type clientConn struct {
	net.Conn
	session *session
	moved   atomic.Int64 // bytes in both directions
	closed  atomic.Bool
}

func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.count(n, &c.session.proxy.counts.sent)
	return n, err
}

func (c *clientConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.count(n, &c.session.proxy.counts.received)
	return n, err
}

func (c *clientConn) count(n int, all *atomic.Uint64) {
	if n > 0 {
		c.moved.Add(int64(n))
		all.Add(uint64(n))
	}
}

// Close closes the connection, once.
func (c *clientConn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return c.Conn.Close()
}

// socketBuffer is what the kernel holds of a connection in each direction. It would
// let each grow to several megabytes, of which no process is the owner, while a host
// does not read.
const socketBuffer = 128 << 10

// bound sets the buffers of a connection.
func bound(c net.Conn) {
	if b, ok := c.(interface {
		SetReadBuffer(n int) error
		SetWriteBuffer(n int) error
	}); ok {
		_ = b.SetReadBuffer(socketBuffer) // it is of less use, not of none
		_ = b.SetWriteBuffer(socketBuffer)
	}
}

// closeWrite says that nothing more will come, if the connection has a way to say
// so.
func closeWrite(c io.Closer) bool {
	half, ok := c.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

// CloseWrite closes one direction, or all where there is no other way to end one.
func (c *clientConn) CloseWrite() error {
	if closeWrite(c.Conn) {
		return nil
	}
	return c.Close()
}

// sessions are those that are open.
type sessions struct {
	most int // at once
	work sync.WaitGroup

	mu       sync.Mutex
	open     map[*session]struct{}
	accounts map[string]int
	closed   bool
}

func newSessions(most int) *sessions {
	return &sessions{most: most, open: map[*session]struct{}{}, accounts: map[string]int{}}
}

// add tells false when there are too many, or none are taken any more.
func (a *sessions) add(s *session) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(a.open) >= a.most || a.accounts[s.caller.account] >= max(1, a.most/4) {
		return false
	}
	a.open[s] = struct{}{}
	a.accounts[s.caller.account]++
	a.work.Add(1)
	return true
}

func (a *sessions) remove(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, s)
	if a.accounts[s.caller.account]--; a.accounts[s.caller.account] == 0 {
		delete(a.accounts, s.caller.account)
	}
	a.work.Done()
}

// all are the open ones of an account, or with the empty account of all.
func (a *sessions) all(account string) []*session {
	a.mu.Lock()
	defer a.mu.Unlock()
	var some []*session
	for s := range a.open {
		if account == "" || s.caller.account == account {
			some = append(some, s)
		}
	}
	return some
}

func (a *sessions) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.open)
}

// wait takes no more sessions, and waits for those that are open.
func (a *sessions) wait() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.work.Wait()
}
