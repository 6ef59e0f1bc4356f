package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Bridges know each other by a URI in their certificates, "fairlead://bridge/NAME". No certificate of an agent has one, so that an agent
// can never be taken for a bridge.
const (
	peerScheme = "fairlead"
	peerHost   = "bridge"
)

// PeerServerConfig is the TLS configuration of the listener that other bridges dial: only a bridge of the same authority gets in.
func (a *Authority) PeerServerConfig(name string) *tls.Config {
	own := a.peerCertificate(name)
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2"},
		ClientAuth:     tls.RequireAndVerifyClientCert,
		ClientCAs:      a.pool(),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get(time.Now()) },
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := PeerName(state)
			return err
		},
	}
}

// PeerClientConfig is the TLS configuration with which one bridge dials another: only the bridge of that name answers, wherever it is.
func (a *Authority) PeerClientConfig(self, peer string) *tls.Config {
	own := a.peerCertificate(self)
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		NextProtos:           []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get(time.Now()) },
		// A bridge is known by its name in the directory and not by its address: VerifyConnection checks chain and name.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errors.New("the other bridge shows no certificate")
			}
			if _, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: a.pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				return err
			}
			name, err := PeerName(state)
			if err == nil && name != peer {
				err = fmt.Errorf("the certificate is that of bridge %q, not of %q", name, peer)
			}
			return err
		},
	}
}

func (a *Authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func (a *Authority) peerCertificate(name string) *renewing {
	return &renewing{issue: func(now time.Time) (*tls.Certificate, error) {
		return a.issue(&x509.Certificate{
			NotAfter:    now.Add(serverLife),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			URIs:        []*url.URL{{Scheme: peerScheme, Host: peerHost, Path: "/" + name}},
		}, now)
	}}
}

// PeerName is the name of the bridge at the other end of a connection. It trusts that the certificate was verified.
func PeerName(state tls.ConnectionState) (string, error) {
	if len(state.PeerCertificates) > 0 {
		for _, uri := range state.PeerCertificates[0].URIs {
			if name := strings.TrimPrefix(uri.Path, "/"); uri.Scheme == peerScheme && uri.Host == peerHost && name != "" {
				return name, nil
			}
		}
	}
	return "", errors.New("the certificate is not that of a bridge")
}
