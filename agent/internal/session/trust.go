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
)

// Trust says how an agent recognises its bridge.
type Trust struct {
	// Pin is "sha256:" and the hex SHA-256 of the CA's SubjectPublicKeyInfo. Given, nothing but a chain that ends in exactly
	// this key is trusted, whatever the system's store holds.
	Pin string
	// CAFile holds PEM certificates to trust instead of the system's. Ignored with a Pin.
	CAFile string
	// ServerName overrides the name that the certificate must carry; empty: the host of the address.
	ServerName string
}

// ErrPin is returned when a bridge shows another CA than the pinned one.
var ErrPin = errors.New("the bridge's CA is not the pinned one")

// TLS makes the client configuration for a bridge at address (host:port).
func (t Trust) TLS(address string) (*tls.Config, error) {
	name := t.ServerName
	if name == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("clouddriver.grpc %q: want host:port: %w", address, err)
		}
		name = host
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, NextProtos: []string{"h2"}}
	if t.Pin != "" {
		want, err := parsePin(t.Pin)
		if err != nil {
			return nil, err
		}
		// The CA is known by its hash alone, so the chain is verified here and not by a pool given beforehand.
		cfg.InsecureSkipVerify = true //nolint:gosec // VerifyConnection below verifies the whole chain against the pinned key.
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return verifyPinned(s.PeerCertificates, want, name) }
		return cfg, nil
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("clouddriver.tls.cacertFile: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("clouddriver.tls.cacertFile %s: no PEM certificate in it", t.CAFile)
		}
		cfg.RootCAs = pool
	}
	return cfg, nil
}

func parsePin(pin string) ([]byte, error) {
	digest, ok := strings.CutPrefix(pin, "sha256:")
	raw, err := hex.DecodeString(digest)
	if !ok || err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("clouddriver.tls.pin %q: want sha256: and 64 hex digits, as `fairlead status` shows it", pin)
	}
	return raw, nil
}

// verifyPinned accepts a chain whose last link is the pinned key, and whose leaf is for name.
func verifyPinned(chain []*x509.Certificate, want []byte, name string) error {
	if len(chain) == 0 {
		return errors.New("the bridge showed no certificate")
	}
	roots := x509.NewCertPool()
	between := x509.NewCertPool()
	pinned := false
	for _, c := range chain {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		if string(sum[:]) == string(want) {
			roots.AddCert(c)
			pinned = true
		} else {
			between.AddCert(c)
		}
	}
	if !pinned {
		top := chain[len(chain)-1]
		if len(chain) == 1 && !top.IsCA {
			return fmt.Errorf("%w: it shows its own certificate alone, without the CA's; let the bridge, or what ends TLS before it, send the whole chain", ErrPin)
		}
		last := sha256.Sum256(top.RawSubjectPublicKeyInfo)
		return fmt.Errorf("%w: it shows sha256:%s, clouddriver.tls.pin says sha256:%s; compare with `fairlead status` on the bridge",
			ErrPin, hex.EncodeToString(last[:]), hex.EncodeToString(want))
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name})
	return err
}
