package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

const (
	// agentLife is how long an agent's certificate is good for.
	agentLife = 24 * time.Hour
	// agentHost begins the URI in an agent's certificate, "fairlead://agent/TOKEN-ID", pluginHost that in a plugin's. A bridge's has another (peerHost).
	agentHost, pluginHost = "agent", "plugin"
	// rsaMinimum is the fewest bits of an RSA key.
	rsaMinimum = 2048
)

// Enrolment is what an agent asks for.
type Enrolment struct {
	// Token may be empty when Certificate is renewed by its key.
	Token string
	// Request is the PKCS #10, DER, whose signature proves the key.
	Request []byte
	// Certificate is one that the authority gave before, DER, or empty.
	Certificate []byte
	// Kept: key and certificate outlive the agent's process.
	Kept bool
	// Agent is its name, for people.
	Agent string
}

// Enrolled is what it gets.
type Enrolled struct {
	Identity     Identity
	Certificates [][]byte
	Lifetime     time.Duration
}

// errNotKept says that a token for a number of agents is shown by one that would need it again at its next start.
var errNotKept = errors.New("this enrolment token is for a number of agents, and this agent forgets its certificate when it stops, so that it could not come back: " +
	"let it keep the certificate (clouddriver.auth.certificateFile or certificateSecret), or use a token that was made without --uses")

// Enrol exchanges a token, or a certificate that is renewed by its own key, for a new certificate.
func (a *Agents) Enrol(ctx context.Context, e Enrolment) (Enrolled, error) {
	authority := a.c.Authority()
	if authority == nil {
		return Enrolled{}, fmt.Errorf("%w: the bridge has just started", ErrUnavailable)
	}
	request, err := parseRequest(e.Request)
	if err != nil {
		return Enrolled{}, &Refusal{Reason: err.Error(), Invalid: true}
	}
	key := sha256.Sum256(request.RawSubjectPublicKeyInfo)
	var id Identity
	if e.Token != "" {
		id, err = a.c.Tokens.Redeem(ctx, e.Token, key, e.Kept, e.Agent)
	} else {
		id, err = a.renews(ctx, authority, e.Certificate, request)
	}
	if err != nil {
		return Enrolled{}, err
	}
	now := time.Now()
	der, err := authority.issueAgent(id.TokenID, request.PublicKey, now)
	if err != nil {
		return Enrolled{}, fmt.Errorf("make the agent's certificate: %w", err)
	}
	return Enrolled{Identity: id, Certificates: [][]byte{der, authority.certificate.Raw}, Lifetime: agentLife}, nil
}

// renews identifies by a certificate of the authority whose key signed the request. One that has expired is as good: an agent that was
// away for long still has its key, and its token can be revoked at any time.
func (a *Agents) renews(ctx context.Context, authority *Authority, der []byte, request *x509.CertificateRequest) (Identity, error) {
	if len(der) == 0 {
		return Identity{}, ErrUnauthenticated
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Identity{}, refused("the certificate to renew cannot be read: %v", err)
	}
	tokenID, err := authority.holder(c, agentHost, c.NotBefore.Add(time.Second))
	if err != nil {
		return Identity{}, refused("the certificate to renew is not one that these bridges gave: %v", err)
	}
	if string(c.RawSubjectPublicKeyInfo) != string(request.RawSubjectPublicKeyInfo) {
		return Identity{}, refused("the certificate to renew belongs to another key than the request")
	}
	return a.c.Tokens.Behind(ctx, tokenID)
}

func parseRequest(der []byte) (*x509.CertificateRequest, error) {
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("csr: is not a certificate request (PKCS #10, DER)")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, errors.New("csr: its signature is not by its key")
	}
	switch key := request.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return request, nil
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < rsaMinimum {
			return nil, fmt.Errorf("csr: an RSA key of %d bits is too short, %d are the least", bits, rsaMinimum)
		}
		return request, nil
	}
	return nil, fmt.Errorf("csr: keys of type %T are not taken", request.PublicKey)
}

// issueAgent makes a certificate for an agent's key.
func (a *Authority) issueAgent(tokenID string, key any, now time.Time) ([]byte, error) {
	return a.issueClient(agentHost, tokenID, key, agentLife, now)
}

// issueClient makes a certificate for the key of an agent or a plugin. Whatever its request asks for, it says only which token is behind it: what the
// token allows is looked up when it is used.
func (a *Authority) issueClient(kind, tokenID string, key any, life time.Duration, now time.Time) ([]byte, error) {
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Fairlead " + kind + ", token " + tokenID},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{{Scheme: peerScheme, Host: kind, Path: "/" + tokenID}},
	}
	return x509.CreateCertificate(rand.Reader, template, a.certificate, key, a.key)
}

// errNotOurs says that the authority has not made a certificate.
var errNotOurs = errors.New("it is not of the bridges' CA")

// holder returns the token behind a certificate of the authority, which must be that of an agent or a plugin, as kind says.
func (a *Authority) holder(c *x509.Certificate, kind string, now time.Time) (tokenID string, err error) {
	if c.CheckSignatureFrom(a.certificate) != nil {
		return "", errNotOurs
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: a.pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "", err
	}
	for _, uri := range c.URIs {
		if id, found := strings.CutPrefix(uri.Path, "/"); found && uri.Scheme == peerScheme && uri.Host == kind && id != "" {
			return id, nil
		}
	}
	return "", fmt.Errorf("it is not that of %s", article(kind))
}

func article(kind string) string {
	if kind == agentHost {
		return "an agent"
	}
	return "a plugin: \"fairlead plugin certificate\" makes one"
}

// redemption words why a token gave nothing.
func redemption(id string, r store.Redemption, uses int) error {
	switch r {
	case store.Redeemed:
		return nil
	case store.RedeemRevoked:
		return revokedToken(id)
	case store.RedeemExpired:
		return expiredToken(id)
	case store.RedeemUsedUp:
		return refused("the enrolment token %s was used by %d agents already, as many as it is for: make another one with \"fairlead token create --accounts PATTERN\"", id, uses)
	}
	return ErrUnauthenticated
}
