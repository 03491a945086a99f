package host

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	defaultConnections = 64
	acceptPause        = 50 * time.Millisecond
)

// egress gives the connections that a process opens to its proxy to whoever
// serves them, from its Load to its end.
type egress struct {
	listener net.Listener // nil if there is none
	serving  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	cancel context.CancelFunc // nil if nothing is served
}

// serve begins to accept, once. With a nil handler connections are refused.
func (e *egress) serve(handler Egress, connections int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listener == nil || e.closed {
		return
	}
	if handler == nil {
		_ = e.listener.Close() // the kernel refuses from now on
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.serving.Go(func() { e.accept(ctx, handler, connections) })
}

// accept serves so many connections at once; the kernel holds a few more.
func (e *egress) accept(ctx context.Context, handler Egress, connections int) {
	slots := make(chan struct{}, connections)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := e.listener.Accept()
		if err != nil {
			<-slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // no descriptor is free, or the like
			case <-time.After(acceptPause):
			case <-ctx.Done():
				return
			}
			continue
		}
		e.serving.Go(func() {
			defer func() { <-slots }()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // whoever reads from it wakes up
			defer stop()
			handler.ServeConn(ctx, conn)
			_ = conn.Close()
		})
	}
}

// close ends all connections and returns when nothing serves any more.
func (e *egress) close() {
	e.mu.Lock()
	e.closed = true
	if e.listener != nil {
		_ = e.listener.Close() // it may be closed already
	}
	if e.cancel != nil {
		e.cancel()
	}
	e.mu.Unlock()
	e.serving.Wait()
}
