package faultnet

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy passes connections on.
type Proxy struct {
	listener net.Listener
	ends     sync.WaitGroup
	// up and down count bytes that were handed on.
	up, down atomic.Int64

	mu      sync.Mutex
	targets []string
	next    int
	faults  Faults
	// changed is closed, and made anew, when faults are set.
	changed chan struct{}
	open    map[*connection]bool
	total   int
	closed  bool
}

// connection is a pair of sockets.
type connection struct {
	near, far net.Conn
	target    string
	began     time.Time
	heard     atomic.Int64 // when a byte came last, Unix nanoseconds
	forgotten atomic.Bool
	swallowed atomic.Bool
	over      chan struct{}
	end       sync.Once
}

// Listen makes a proxy that listens at an address ("127.0.0.1:0": any port) and passes connections on to targets in turn; one that does not
// answer is left out. Close ends it.
func Listen(address string, targets ...string) (*Proxy, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, targets: targets, changed: make(chan struct{}), open: map[*connection]bool{}}
	p.ends.Go(p.accept)
	return p, nil
}

// Start runs a proxy for a test.
func Start(t testing.TB, targets ...string) *Proxy {
	t.Helper()
	p, err := Listen("127.0.0.1:0", targets...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Close resets all connections, and returns when all has ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Reset()
	p.ends.Wait()
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Target has new connections passed on to these from now on.
func (p *Proxy) Target(targets ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = targets
}

// Set makes the network as the faults say. Connections that have lost bytes are reset when nothing swallows them any more: nobody could read on.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	p.faults = f
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if f.Cut {
		p.Reset()
	}
	if !f.SwallowUp && !f.SwallowDown {
		p.each(func(c *connection) {
			if c.swallowed.Load() && !c.forgotten.Load() {
				c.reset()
			}
		})
	}
}

// Reset resets all connections; new ones are accepted as before.
func (p *Proxy) Reset() { p.each((*connection).reset) }

// Open counts the connections that are open, by target.
func (p *Proxy) Open() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := map[string]int{}
	for c := range p.open {
		list[c.target]++
	}
	return list
}

// Accepted is how many connections there ever were.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// Bytes is how many were handed on, to targets and to clients.
func (p *Proxy) Bytes() (up, down int64) { return p.up.Load(), p.down.Load() }

func (p *Proxy) each(f func(*connection)) {
	p.mu.Lock()
	all := make([]*connection, 0, len(p.open))
	for c := range p.open {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

func (p *Proxy) now() (Faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.changed
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.ends.Go(func() { p.serve(near) })
	}
}

func (p *Proxy) serve(near net.Conn) {
	c := &connection{near: near, began: time.Now(), over: make(chan struct{})}
	c.heard.Store(c.began.UnixNano())
	if f, _ := p.now(); f.Cut || !p.dial(c) {
		c.reset()
		return
	}
	p.mu.Lock()
	late := p.closed || p.faults.Cut
	p.open[c] = true
	p.total++
	p.mu.Unlock()
	if late {
		c.reset()
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(c, c.far, c.near, &p.up, func(f Faults) bool { return f.SwallowUp }) })
	pumps.Go(func() { p.pump(c, c.near, c.far, &p.down, func(f Faults) bool { return f.SwallowDown }) })
	pumps.Go(func() { p.watch(c) })
	pumps.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// dial connects to the next target that answers.
func (p *Proxy) dial(c *connection) bool {
	p.mu.Lock()
	targets, first := p.targets, p.next
	p.next++
	p.mu.Unlock()
	for i := range targets {
		target := targets[(first+i)%len(targets)]
		far, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", target)
		if err == nil {
			c.far, c.target = far, target
			return true
		}
	}
	return false
}

// piece is how much is handed on at once.
const piece = 16 << 10

// pump hands on what comes until the connection is over.
func (p *Proxy) pump(c *connection, to, from net.Conn, count *atomic.Int64, swallows func(Faults) bool) {
	defer c.close()
	buffer := make([]byte, piece)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			f, _ := p.now()
			if c.forgotten.Load() || swallows(f) {
				c.swallowed.Store(true)
				continue
			}
			c.heard.Store(time.Now().UnixNano())
			if !c.wait(f.pause(n)) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
			count.Add(int64(n))
		}
		if err != nil {
			if f, _ := p.now(); !c.forgotten.Load() && !swallows(f) {
				return
			}
			// Whoever swallows bytes swallows the end as well: the other side is told nothing.
			c.swallowed.Store(true)
			<-c.over
			return
		}
	}
}

// pause is what a piece waits for.
func (f Faults) pause(bytes int) time.Duration {
	pause := f.Delay
	if f.BytesPerSecond > 0 {
		pause += time.Duration(bytes) * time.Second / time.Duration(f.BytesPerSecond)
	}
	if f.Loss > 0 && rand.Float64() < f.Loss { //nolint:gosec // a network's
		pause += f.stall()
	}
	return pause
}

// wait waits; false: the connection ended before.
func (c *connection) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.over:
		return false
	}
}

// watch ends or forgets the connection when its age or its silence says so.
func (p *Proxy) watch(c *connection) {
	for {
		f, changed := p.now()
		heard := time.Unix(0, c.heard.Load())
		var due time.Time
		for limit, from := range map[time.Duration]time.Time{f.Age: c.began, f.Idle: heard, f.Forget: heard} {
			if at := from.Add(limit); limit > 0 && (due.IsZero() || at.Before(due)) {
				due = at
			}
		}
		var timer <-chan time.Time
		if !due.IsZero() && !c.forgotten.Load() {
			timer = time.After(time.Until(due))
		}
		select {
		case <-c.over:
			return
		case <-changed:
		case now := <-timer:
			heard := time.Unix(0, c.heard.Load())
			switch {
			case f.Age > 0 && now.Sub(c.began) >= f.Age:
				c.close()
			case f.Idle > 0 && now.Sub(heard) >= f.Idle:
				c.reset()
			case f.Forget > 0 && now.Sub(heard) >= f.Forget:
				c.forgotten.Store(true)
			}
		}
	}
}

// close ends the connection as a program does, reset as one that dies or a machine that knows of none.
func (c *connection) close() {
	c.end.Do(func() { close(c.over) })
	_ = c.near.Close()
	if c.far != nil {
		_ = c.far.Close()
	}
}

func (c *connection) reset() {
	for _, conn := range []net.Conn{c.near, c.far} {
		if tcp, ok := conn.(*net.TCPConn); ok && tcp != nil {
			_ = tcp.SetLinger(0)
		}
	}
	c.close()
}
