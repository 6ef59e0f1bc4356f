package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proto/proof"
)

const (
	authoritySecret = "ca" // its name in the database
	authorityYears  = 10
	serverLife      = 30 * 24 * time.Hour
	// A clock that is an hour behind must not find a certificate of the future.
	backdate = 2 * time.Hour
)

// Secrets is where bridges share what is sealed (store.Store).
type Secrets interface {
	Secret(ctx context.Context, name string) (sealed []byte, found bool, err error)
	OfferSecret(ctx context.Context, name string, sealed []byte) (kept []byte, err error)
}

// Authority is the certificate authority of all bridges of an install.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// LoadAuthority reads the authority, or makes it when there is none. Of several bridges that make one at the same time
// one wins.
func LoadAuthority(ctx context.Context, secrets Secrets, key *Key) (*Authority, error) {
	sealed, found, err := secrets.Secret(ctx, authoritySecret)
	if err != nil {
		return nil, err
	}
	if !found {
		if sealed, err = makeAuthority(key, time.Now()); err != nil {
			return nil, fmt.Errorf("make the certificate authority: %w", err)
		}
		if sealed, err = secrets.OfferSecret(ctx, authoritySecret, sealed); err != nil {
			return nil, err
		}
	}
	text, err := key.Open(authoritySecret, sealed)
	if errors.Is(err, ErrWrongKey) {
		return nil, fmt.Errorf("the database's certificate authority was sealed with another key file: give this bridge the key file of the other bridges. "+
			"If it is lost, docs/runbooks/lost-key.md says what to do: row %q of table fairlead_secret has to go, the next start makes a new authority, and every agent needs its new pin. (%w)", authoritySecret, err)
	}
	if err != nil {
		return nil, err
	}
	return parseAuthority(text)
}

// CheckKey tells whether a key opens what bridges keep in the database: ErrWrongKey if it does not, nil if there is nothing yet.
func CheckKey(ctx context.Context, secrets Secrets, key *Key) error {
	sealed, found, err := secrets.Secret(ctx, authoritySecret)
	if err != nil || !found {
		return err
	}
	_, err = key.Open(authoritySecret, sealed)
	return err
}

func makeAuthority(key *Key, now time.Time) ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Fairlead bridges"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(authorityYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})...)
	return key.Seal(authoritySecret, text)
}

func parseAuthority(text []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("the database's certificate authority: %w", err)
	}
	private, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the database's certificate authority has a key of type %T", pair.PrivateKey)
	}
	return &Authority{certificate: pair.Leaf, key: private}, nil
}

func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// Pin is what agents know the authority by: "sha256:" and the hash of its public key (SubjectPublicKeyInfo).
func (a *Authority) Pin() string { return proof.Pin(a.certificate) }

// Certificate returns a bridge's certificate for the names and addresses given. It is made when it is first needed and again before
// it expires, and comes with the authority's, which agents pin.
func (a *Authority) Certificate(names []string) func() (*tls.Certificate, error) {
	server := &renewing{issue: func(now time.Time) (*tls.Certificate, error) { return a.issueServer(names, now) }}
	return func() (*tls.Certificate, error) { return server.get(time.Now()) }
}

// ServerConfig is the TLS configuration of a listener that agents dial, with the authority's own certificate for the names and
// addresses given.
func (a *Authority) ServerConfig(names []string) *tls.Config { return AgentsTLS(a.Certificate(names)) }

// AgentsTLS is the TLS configuration of a listener that agents dial. A client's certificate is taken as it is: who its owner is, and
// why not, is said by Agents.Identify in words that an agent can show, where a failed handshake could not.
func AgentsTLS(certificate func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
		ClientAuth:     tls.RequestClientCert,
	}
}

// renewing is a certificate that renews itself.
type renewing struct {
	issue func(now time.Time) (*tls.Certificate, error)

	mu      sync.Mutex
	current *tls.Certificate
	renew   time.Time
}

func (s *renewing) get(now time.Time) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && now.Before(s.renew) {
		return s.current, nil
	}
	made, err := s.issue(now)
	if err != nil {
		return nil, fmt.Errorf("make the bridge's certificate: %w", err)
	}
	s.current, s.renew = made, now.Add(serverLife*2/3)
	return made, nil
}

func (a *Authority) issueServer(names []string, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{NotAfter: now.Add(serverLife), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.issue(template, now)
}

// issue makes a key and a certificate of a bridge; the template gives names, usage and end.
func (a *Authority) issue(template *x509.Certificate, now time.Time) (*tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = serialNumber(); err != nil {
		return nil, err
	}
	template.Subject = pkix.Name{CommonName: "Fairlead bridge"}
	template.NotBefore = now.Add(-backdate)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &private.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.certificate.Raw}, PrivateKey: private, Leaf: leaf}, nil
}

// ServerNames are the names that a bridge's certificate is valid for: its host's, the loopback ones, and those configured.
func ServerNames(hostname string, configured []string) []string {
	var names []string
	for _, name := range append([]string{hostname, "localhost", "127.0.0.1", "::1"}, configured...) {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}
