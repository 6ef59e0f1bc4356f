package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	"github.com/fairlead/fairlead/proto/proof"
)

// Dial is where agents dial.
type Dial struct {
	Address string
	// Pin of the authority that they expect; "": not known.
	Pin string
	// Plaintext: a proxy ends TLS, or nothing has it.
	Plaintext bool
}

const dialTime = 5 * time.Second

func reachChecks() []check {
	return []check{{"agents-reach", "agents can reach the bridge", func(v *visit) string {
		if v.Dial == nil {
			return "it is not known where agents dial: set agents.advertise, or give --agents-address"
		}
		return ""
	}, reach}}
}

// reach dials as an agent does, from here.
func reach(ctx context.Context, v *visit) []Finding {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", v.Dial.Address)
	if err != nil {
		return fault(fmt.Sprintf("port %s, where agents dial, cannot be reached from here: %v", v.Dial.Address, err),
			"does the Service or load balancer of the bridges have this port, with publishNotReadyAddresses, and endpoints behind it? Does a firewall or network policy stand between? Set agents.advertise to what agents really use")
	}
	defer func() { _ = conn.Close() }()
	if v.Dial.Plaintext {
		return nil
	}
	var shown []*x509.Certificate
	secured := tls.Client(conn, &tls.Config{
		// The pin is what counts, as for an agent, and this connection carries nothing.
		InsecureSkipVerify: true, //nolint:gosec // see above
		MinVersion:         tls.VersionTLS12, NextProtos: []string{"h2"},
		VerifyConnection: func(s tls.ConnectionState) error { shown = s.PeerCertificates; return nil },
	})
	// A server that asks for a certificate may end the connection afterwards; what it has shown is what is wanted.
	if err := secured.HandshakeContext(ctx); err != nil && len(shown) == 0 {
		return fault(fmt.Sprintf("what answers at %s does not speak TLS as a bridge does: %v", v.Dial.Address, err),
			"agents dial the bridge's agents.address (9091), not its admin or metrics port; a proxy in between must pass TLS through, or set agents.proxied and clouddriver.tls.proxied")
	}
	if pin := v.Dial.Pin; pin != "" && proof.Pin(shown[len(shown)-1]) != pin {
		return fault(fmt.Sprintf("what answers at %s shows a certificate of another authority than this bridge's (%s)", v.Dial.Address, pin),
			"the address leads to another install's bridge, or something in between ends TLS: correct the address, or set agents.proxied and clouddriver.tls.proxied")
	}
	return nil
}
