package egress

import (
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// established is the answer to a CONNECT: nothing but tunnel comes after it.
const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// tunnel connects the process with a host, and carries bytes until both have said
// that nothing more comes, or either is gone.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request, e *exchange, a lambda.Attempt) {
	host, err := p.dial(e.ctx, &e.decision)
	if err != nil {
		p.failed(w, r, e, a, err)
		return
	}
	defer func() { _ = host.Close() }() // whatever it still had to say, nobody hears
	a.Address, a.Duration = addressOf(host), p.now().Sub(a.At)
	p.record(a)
	s := e.session
	_, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.close()
		return
	}
	defer s.finished()
	defer s.close()
	// What came right behind the request is the tunnel's.
	early, err := rw.Peek(rw.Reader.Buffered())
	if err != nil {
		return
	}
	if _, err := io.WriteString(s.conn, established); err != nil {
		return
	}
	closed := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-e.ctx.Done():
			s.close()
			_ = host.Close()
		case <-closed:
		}
	}()
	if _, err := host.Write(early); err == nil {
		join(s.conn, host)
	}
	close(closed)
	<-ended
}

// half is a connection of which each direction ends by itself.
type half interface {
	net.Conn
	CloseWrite() error
}

// join copies both ways until both have ended, or one has failed.
func join(process *clientConn, host net.Conn) {
	var both sync.WaitGroup
	copyTo := func(to, from net.Conn) {
		b := buffers{}.Get()
		defer buffers{}.Put(b)
		// Only Read and Write are theirs: every byte is counted.
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, b)
		if h, ok := to.(half); err == nil && ok && h.CloseWrite() == nil {
			return
		}
		_ = to.Close() // so that the other direction ends too
		_ = from.Close()
	}
	both.Go(func() { copyTo(host, process) })
	both.Go(func() { copyTo(process, host) })
	both.Wait()
}
