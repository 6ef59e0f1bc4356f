package main

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// wire forwards connections and counts what passes, both ways.
type wire struct {
	listener net.Listener
	target   string
	// up counts what agents say, down what bridges do.
	up, down atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]bool
	all  sync.WaitGroup
}

func newWire(target string) *wire {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // the loopback address has no free port
	}
	w := &wire{listener: listener, target: target, open: map[net.Conn]bool{}}
	w.all.Go(w.accept)
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.open[near], w.open[far] = true, true
		w.mu.Unlock()
		w.forward(far, near, &w.up)
		w.forward(near, far, &w.down)
	}
}

// bytes is how many have passed.
func (w *wire) bytes() int64 { return w.up.Load() + w.down.Load() }

func (w *wire) forward(to, from net.Conn, count *atomic.Int64) {
	w.all.Go(func() {
		_, _ = io.Copy(to, io.TeeReader(from, counter{count}))
		_ = to.Close()
		_ = from.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, to)
		delete(w.open, from)
	})
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

func (w *wire) close() error {
	err := w.listener.Close()
	w.mu.Lock()
	for c := range w.open {
		_ = c.Close()
	}
	w.mu.Unlock()
	w.all.Wait()
	return err
}
