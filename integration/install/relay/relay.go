// Package relay passes TCP connections on and looks into none: what a load balancer of layer 4 does.
package relay

import (
	"io"
	"net"
)

// Serve passes the listener's connections on to target until the listener is closed; its error is Accept's.
func Serve(listener net.Listener, target string) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go pass(client, target)
	}
}

func pass(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return // the client sees its connection closed, as before a server that is down
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	_ = client.(*net.TCPConn).CloseWrite()
	<-done
}
