package testenv

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports come from below the range that Linux gives to outgoing connections (32768 and up), so that a part that is
// restarted finds its port as free as it left it.
const lowestPort, highestPort = 15000, 32000

// handedOut keeps one process from getting a port twice before it is bound.
var handedOut = struct {
	sync.Mutex

	ports map[int]bool
}{ports: map[int]bool{}}

// freePort returns a port of 127.0.0.1 on which nobody listens.
func freePort() (int, error) {
	handedOut.Lock()
	defer handedOut.Unlock()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if handedOut.ports[port] {
			continue
		}
		listener, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, err
		}
		handedOut.ports[port] = true
		return port, nil
	}
	return 0, errors.New("no free port on 127.0.0.1 between " + strconv.Itoa(lowestPort) + " and " + strconv.Itoa(highestPort))
}

// FreePort returns a port of 127.0.0.1 for something that the test starts: nobody listens there, and outgoing connections do not get it.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func freePorts(count int) ([]int, error) {
	ports := make([]int, count)
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
