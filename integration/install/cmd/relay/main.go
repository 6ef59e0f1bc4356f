// Command relay passes connections on: it stands before the API server of the container suite, which listens on loopback, as a load balancer
// stands before a cluster's.
//
//	relay LISTEN TARGET
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: relay LISTEN TARGET")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "relay:", run(os.Args[1], os.Args[2]))
	os.Exit(1)
}

// run ends only by an error.
func run(listen, target string) error {
	listener, err := net.Listen("tcp", listen)
	for err == nil {
		var client net.Conn
		if client, err = listener.Accept(); err == nil {
			go pass(client, target)
		}
	}
	return err
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
