package install

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/integration/install/relay"
)

// balancer stands before a server as a load balancer of layer 4 does.
type balancer struct {
	net.Listener

	accepted atomic.Int32
	ended    chan error
}

// newBalancer passes connections at an address ("127.0.0.1:0": any port) on until the test has ended, or until it is closed.
func newBalancer(t *testing.T, address, target string) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	must(t, err)
	b := &balancer{Listener: listener, ended: make(chan error, 1)}
	go func() { b.ended <- relay.Serve(b, target) }()
	t.Cleanup(func() {
		_ = b.Close() // may be closed already
		if err := <-b.ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return b
}

func (b *balancer) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if err == nil {
		b.accepted.Add(1)
	}
	return c, err
}
