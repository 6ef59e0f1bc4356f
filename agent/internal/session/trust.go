package session

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/fairlead/fairlead/proto/proof"
)

// Trust says how an agent recognises its bridge.
type Trust struct {
	// Pin is "sha256:" and the hex SHA-256 of the CA's SubjectPublicKeyInfo. Given, nothing but a chain that ends in exactly
	// this key is trusted, whatever the system's store holds.
	Pin string
	// CAFile holds PEM certificates to trust instead of the system's. Ignored with a Pin, unless Proxied.
	CAFile string
	// ServerName overrides the name that the certificate must carry; empty: the host of the address.
	ServerName string
	// Proxied: what answers is something that ends TLS with a certificate of its own, by CAFile or the system's CAs. The bridge behind it
	// proves itself inside the stream, by the Pin.
	Proxied bool
	// Now is this machine's clock; nil: time.Now.
	Now func() time.Time
}

func (t Trust) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

// ErrPin is returned when a bridge shows another CA than the pinned one.
var ErrPin = proof.ErrPin

// TLS makes the client configuration for a bridge at address (host:port). certificate returns the agent's; nil: it shows none.
func (t Trust) TLS(address string, certificate func() *tls.Certificate) (*tls.Config, error) {
	name := t.ServerName
	if name == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("clouddriver.grpc %q: want host:port: %w", address, err)
		}
		name = host
	}
	verify, err := t.verifier(name)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, NextProtos: []string{"h2"},
		// A pinned CA is known by its hash alone, and what is wrong has to be told in words that help: the whole chain is verified here.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errors.New("the bridge showed no certificate")
			}
			now := t.now()
			return namesSkew(verify(state.PeerCertificates, now), state.PeerCertificates[0], now)
		},
	}
	if certificate != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c := certificate(); c != nil {
				return c, nil
			}
			return &tls.Certificate{}, nil
		}
	}
	return cfg, nil
}

// verifier returns what decides about a chain.
func (t Trust) verifier(name string) (func(chain []*x509.Certificate, now time.Time) error, error) {
	if t.Pin != "" {
		if err := checkPin(t.Pin); err != nil {
			return nil, err
		}
		if !t.Proxied {
			return func(chain []*x509.Certificate, now time.Time) error {
				return proof.VerifyPinned(chain, t.Pin, name, now)
			}, nil
		}
	} else if t.Proxied {
		return nil, errors.New("clouddriver.tls.proxied: needs clouddriver.tls.pin, by which the bridge behind the proxy is known: the CA PIN that `fairlead status` shows")
	}
	var roots *x509.CertPool // nil: the system's
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("clouddriver.tls.cacertFile: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("clouddriver.tls.cacertFile %s: no PEM certificate in it", t.CAFile)
		}
	}
	return func(chain []*x509.Certificate, now time.Time) error {
		between := x509.NewCertPool()
		for _, c := range chain[1:] {
			between.AddCert(c)
		}
		_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name, CurrentTime: now})
		return err
	}, nil
}

func checkPin(pin string) error {
	digest, ok := strings.CutPrefix(pin, "sha256:")
	raw, err := hex.DecodeString(digest)
	if !ok || err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("clouddriver.tls.pin %q: want sha256: and 64 hex digits, as `fairlead status` shows it", pin)
	}
	return nil
}

// namesSkew says by how much the clocks differ at least, where a certificate's time is what is wrong.
func namesSkew(err error, leaf *x509.Certificate, now time.Time) error {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		return err
	}
	clock := now.UTC().Format(time.RFC3339)
	if now.Before(leaf.NotBefore) {
		return fmt.Errorf("this machine's clock says %s, and the bridge's certificate is good from %s on: the clock is at least %s behind the bridge's; set both by NTP",
			clock, leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotBefore.Sub(now).Round(time.Second))
	}
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("the bridge's certificate has expired at %s, and this machine's clock says %s, %s later: renew the certificate, or if the clock is wrong, set it by NTP",
			leaf.NotAfter.UTC().Format(time.RFC3339), clock, now.Sub(leaf.NotAfter).Round(time.Second))
	}
	return err // a CA's time
}
