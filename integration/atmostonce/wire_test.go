package atmostonce

import (
	"io"
	"net"
	"sync"
	"testing"
)

// wire is the connection between an agent and its bridge, which a test can cut and join again.
type wire struct {
	listener net.Listener

	mu     sync.Mutex
	target string
	cut    bool
	conns  map[net.Conn]bool
	ends   sync.WaitGroup
}

func newWire(t *testing.T) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's
	must(t, err)
	w := &wire{listener: listener, conns: map[net.Conn]bool{}}
	w.ends.Go(w.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		w.sever()
		w.ends.Wait()
	})
	return w
}

// through says where the wire goes, and returns where it begins.
func (w *wire) through(target string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if target != w.listener.Addr().String() {
		w.target = target
	}
	return w.listener.Addr().String()
}

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		target, cut := w.target, w.cut
		w.mu.Unlock()
		far, err := net.Dial("tcp", target) //nolint:noctx // a test's
		if cut || err != nil || !w.keep(near, far) {
			_ = near.Close()
			if far != nil {
				_ = far.Close()
			}
			continue
		}
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			w.ends.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // until either side ends
				_, _ = pair[0].Close(), pair[1].Close()
			})
		}
	}
}

func (w *wire) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		w.conns[c] = true
	}
	return !w.cut
}

// sever ends all connections and lets no new ones through until join.
func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

func (w *wire) join() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = false
}
