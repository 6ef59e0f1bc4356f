package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// PluginLife is how long a plugin's certificate is good for if nothing else is asked; pluginLifeMost is the most.
const (
	PluginLife     = 365 * 24 * time.Hour
	pluginLifeMost = 5 * PluginLife
)

// Plugins knows Clouddriver's plugins where they call over a network.
type Plugins struct {
	Tokens *Tokens
	// Authority returns the bridges' CA; nil while it is not known.
	Authority func() *Authority
	// Given are certificates that the bridges did not give, Names patterns of the DNS names and URIs of which such a one must have one. Nil: none is taken.
	Given *Given
	Names []string
}

// PluginTLS is the TLS configuration of the endpoint for plugins. As with agents, a certificate is taken as it is, and Identify says in words what is wrong
// with it.
func PluginTLS(certificate func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
		ClientAuth:     tls.RequestClientCert,
	}
}

// Identify returns whose plugin a connection is by the certificates that it showed and whose first key it has proven.
func (p *Plugins) Identify(ctx context.Context, chain []*x509.Certificate) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, refused("the plugin shows no client certificate: \"fairlead plugin certificate\" makes one, and certificateFile, keyFile and caFile of the plugin name it")
	}
	leaf, now := chain[0], time.Now()
	authority := p.Authority()
	if authority != nil {
		tokenID, err := authority.holder(leaf, pluginHost, now)
		if err == nil {
			id, err := p.Tokens.behind(ctx, tokenID, rolePlugin, "the plugin's certificate %s is not known any more: \"fairlead plugin certificate\" makes another one")
			if errors.Is(err, ErrUnauthenticated) {
				err = refused("the plugin's certificate %s was revoked or has expired: \"fairlead plugin certificate\" makes another one", tokenID)
			}
			id.Name, id.Until = "plugin certificate "+tokenID, leaf.NotAfter
			return id, err
		}
		if !errors.Is(err, errNotOurs) {
			return Identity{}, refused("the client certificate %s", unfit(leaf, err, now))
		}
	}
	if p.Given == nil {
		if authority == nil {
			return Identity{}, fmt.Errorf("%w: the bridge waits for its database", ErrUnavailable)
		}
		return Identity{}, refused("the client certificate %s is of another CA (%s) than the bridges', and this bridge takes no others: set plugin.tls.clientCaFile and plugin.tls.clientNames, or make one with \"fairlead plugin certificate\"",
			Subject(leaf.RawSubject), Subject(leaf.RawIssuer))
	}
	if err := p.Given.verify(chain, now); err != nil {
		return Identity{}, refused("the client certificate %s", unfit(leaf, err, now))
	}
	names := append([]string(nil), leaf.DNSNames...)
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	if !fits(p.Names, names) {
		return Identity{}, refused("none of the names of the client certificate %s (%q) fits plugin.tls.clientNames", Subject(leaf.RawSubject), names)
	}
	return Identity{Name: "certificate " + clip(Subject(leaf.RawSubject), 200), Until: leaf.NotAfter, Recheck: p.Given.watch(chain, now)}, nil
}

// Issued is a plugin's new certificate.
type Issued struct {
	// ID is by what it is listed among the tokens, and revoked.
	ID string
	// Certificate is in DER.
	Certificate []byte
}

// Issue makes a certificate for the key of a request (PKCS #10, DER). life 0: PluginLife.
func (p *Plugins) Issue(ctx context.Context, csr []byte, life time.Duration, description string) (Issued, error) {
	if life == 0 {
		life = PluginLife
	}
	invalid := func(format string, arguments ...any) error {
		return &Refusal{Reason: fmt.Sprintf(format, arguments...), Invalid: true}
	}
	request, err := parseRequest(csr)
	switch {
	case err != nil:
		return Issued{}, invalid("%v", err)
	case life < time.Hour || life > pluginLifeMost:
		return Issued{}, invalid("ttl: %s is not between 1h and %s", life, pluginLifeMost)
	case len(description) > maximumDescription:
		return Issued{}, invalid("description: %d bytes are too many, %d are the limit", len(description), maximumDescription)
	}
	authority := p.Authority()
	if authority == nil {
		return Issued{}, fmt.Errorf("%w: the bridge has just started", ErrUnavailable)
	}
	id, _, err := p.Tokens.put(ctx, NewToken{Role: rolePlugin, TTL: life, Description: description})
	if err != nil {
		return Issued{}, err
	}
	der, err := authority.issueClient(pluginHost, id, request.PublicKey, life, time.Now())
	if err != nil {
		return Issued{}, fmt.Errorf("make the plugin's certificate: %w", err)
	}
	return Issued{ID: id, Certificate: der}, nil
}
