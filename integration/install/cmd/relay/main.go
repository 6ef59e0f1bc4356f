// Command relay passes connections on: it stands before the API server of the container suite, which listens on loopback, as a load balancer
// stands before a cluster's.
//
//	relay LISTEN TARGET
package main

import (
	"fmt"
	"net"
	"os"

	"github.com/fairlead/fairlead/integration/install/relay"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: relay LISTEN TARGET")
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err == nil {
		err = relay.Serve(listener, os.Args[2]) // ends only by an error
	}
	fmt.Fprintln(os.Stderr, "relay:", err)
	os.Exit(1)
}
