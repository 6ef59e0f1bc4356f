package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// AgentsConfig is what agents may prove themselves by. What is nil is not in use.
type AgentsConfig struct {
	Tokens *Tokens
	// Authority returns the bridges' CA; nil while it is not known.
	Authority func() *Authority
	// Given are certificates that the bridges did not give; Certificates says whose they are.
	Given        *Given
	Certificates []CertificateRule
	// ServiceAccounts are the rules for Kubernetes service-account tokens.
	ServiceAccounts *Issuers
	Log             *slog.Logger
}

// Agents knows agents by what they show.
type Agents struct{ c AgentsConfig }

// NewAgents makes an Agents.
func NewAgents(c AgentsConfig) *Agents {
	if c.Authority == nil {
		c.Authority = func() *Authority { return nil }
	}
	return &Agents{c: c}
}

// Shown is what an agent shows of itself.
type Shown struct {
	// Token is an enrolment token or a Kubernetes service-account token.
	Token string
	// Certificates is a chain whose first key the agent has proven to have.
	Certificates []*x509.Certificate
}

// Identify returns who an agent is; ErrUnauthenticated, most often with the reason, or ErrUnavailable if nobody can say.
func (a *Agents) Identify(ctx context.Context, s Shown) (Identity, error) {
	switch {
	case LooksLikeJWT(s.Token):
		if a.c.ServiceAccounts == nil {
			return Identity{}, refused("the agent shows a Kubernetes service-account token, and this bridge has no rule for such tokens: set agents.serviceAccounts, or give the agent an enrolment token")
		}
		return a.c.ServiceAccounts.Identify(ctx, s.Token)
	case s.Token != "":
		return a.c.Tokens.Authenticate(ctx, s.Token)
	case len(s.Certificates) > 0:
		return a.certificate(ctx, s.Certificates, time.Now())
	}
	return Identity{}, ErrUnauthenticated
}

// LooksLikeJWT tells whether a token is a signed JSON Web Token by its form.
func LooksLikeJWT(token string) bool {
	return strings.HasPrefix(token, "ey") && strings.Count(token, ".") == 2
}

// certificate identifies by a certificate of the bridges' own CA, or by the rules for others.
func (a *Agents) certificate(ctx context.Context, chain []*x509.Certificate, now time.Time) (Identity, error) {
	leaf := chain[0]
	if authority := a.c.Authority(); authority != nil {
		tokenID, err := authority.holder(leaf, agentHost, now)
		if err == nil {
			id, err := a.c.Tokens.Behind(ctx, tokenID)
			id.Name = "certificate of token " + tokenID
			return id, err
		}
		if !errors.Is(err, errNotOurs) {
			return Identity{}, refused("the client certificate %s", unfit(leaf, err, now))
		}
	}
	if a.c.Given == nil {
		return Identity{}, refused("the client certificate %s is of another CA (%s) than the bridges', and this bridge takes no others: set agents.tls.clientCaFile and agents.certificates, or let the agent enrol with a token",
			Subject(leaf.RawSubject), Subject(leaf.RawIssuer))
	}
	if err := a.c.Given.verify(chain, now); err != nil {
		return Identity{}, refused("the client certificate %s", unfit(leaf, err, now))
	}
	patterns := patternsFor(a.c.Certificates, leaf)
	if len(patterns) == 0 {
		return Identity{}, refused("no rule of agents.certificates is about the client certificate %s, issued by %s", Subject(leaf.RawSubject), Subject(leaf.RawIssuer))
	}
	return Identity{Name: "certificate " + clip(Subject(leaf.RawSubject), 200), Patterns: patterns, Until: leaf.NotAfter, Recheck: a.c.Given.watch(chain, now)}, nil
}

// unfit words why a certificate is not taken.
func unfit(c *x509.Certificate, err error, now time.Time) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	name := Subject(c.RawSubject)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(c.NotBefore):
		return fmt.Sprintf("%s is good from %s on only, and this bridge's clock says %s: set the clocks by NTP", name, stamp(c.NotBefore), stamp(now))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("%s has expired at %s, and this bridge's clock says %s", name, stamp(c.NotAfter), stamp(now))
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return name + " is not for clients (its extended key usage lacks clientAuth)"
	case errors.As(err, &unknown):
		return fmt.Sprintf("%s is of a CA (%s) that is neither the bridges' nor in agents.tls.clientCaFile", name, Subject(c.RawIssuer))
	}
	return fmt.Sprintf("%s: %v", name, err)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
