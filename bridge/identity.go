package bridge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/proto/certfile"
	"github.com/fairlead/fairlead/proto/proof"
)

// trust is who the bridge is for agents, and by what it knows them and people.
type trust struct {
	// given is the certificate of agents.tls.certFile; nil: own makes one.
	given     *certfile.Pair
	clientCAs *certfile.Pool
	agents    *identity.Agents
	people    *identity.Issuers
}

// buildTrust reads what the configuration names.
func (b *Bridge) buildTrust() (err error) {
	c := &b.cfg.Agents
	if c.TLS.CertFile != "" {
		if b.trust.given, err = certfile.Open(given(c.TLS)); err != nil {
			return fmt.Errorf("agents.tls.certFile: %w", err)
		}
	}
	agents := identity.AgentsConfig{Tokens: b.tokens, Authority: b.authority.Load, Certificates: c.Certificates, Log: b.log}
	if c.TLS.ClientCAFile != "" {
		if b.trust.clientCAs, err = certfile.OpenPool(c.TLS.ClientCAFile); err != nil {
			return fmt.Errorf("agents.tls.clientCaFile: %w", err)
		}
		agents.ClientCAs = b.trust.clientCAs.Get
	}
	if len(c.ServiceAccounts) > 0 {
		if agents.ServiceAccounts, err = identity.NewIssuers(c.ServiceAccounts); err != nil {
			return fmt.Errorf("agents.serviceAccounts%w", err)
		}
	}
	if len(b.cfg.Admin.OIDC) > 0 {
		if b.trust.people, err = identity.NewIssuers(b.cfg.Admin.OIDC); err != nil {
			return fmt.Errorf("admin.oidc%w", err)
		}
	}
	b.trust.agents = identity.NewAgents(agents)
	b.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "certificate_expiry_timestamp_seconds",
		Help: "When the certificate that agents see expires; 0: there is none yet."}, b.certificateExpiry))
	return nil
}

func given(t config.TLS) certfile.Files {
	files := certfile.Files{Certificate: t.CertFile, Key: t.KeyFile, CA: t.CAFile}
	if t.KeyPasswordFile != "" {
		files.Password = func() ([]byte, error) {
			content, err := os.ReadFile(t.KeyPasswordFile)
			return []byte(strings.TrimRight(string(content), "\r\n")), err
		}
	}
	return files
}

// certificate is what agents see of the bridge.
func (b *Bridge) certificate() (*tls.Certificate, error) {
	if b.trust.given != nil {
		return b.trust.given.Get(), nil
	}
	if own := b.own.Load(); own != nil {
		return (*own)()
	}
	return nil, fmt.Errorf("the bridge has just started and has no certificate yet")
}

// prover is what the bridge proves itself with inside the stream; nil where TLS does that.
func (b *Bridge) prover() func() (*tls.Certificate, error) {
	if !b.cfg.Agents.Plaintext && !b.cfg.Agents.Proxied {
		return nil
	}
	return b.certificate
}

// adopt takes the authority that was read.
func (b *Bridge) adopt(authority *identity.Authority) {
	host, err := os.Hostname()
	if err != nil {
		b.log.Warn("this host's name is not known and not in the certificate", "error", err)
	}
	own := authority.Certificate(identity.ServerNames(host, b.cfg.Agents.TLSNames))
	b.own.Store(&own)
	b.authority.Store(authority)
}

// pin is what agents know the bridges by: the last certificate of the chain that they are shown.
func (b *Bridge) pin() string {
	if b.trust.given != nil {
		chain := b.trust.given.Get().Certificate
		if top, err := x509.ParseCertificate(chain[len(chain)-1]); err == nil {
			return proof.Pin(top)
		}
	}
	if authority := b.authority.Load(); authority != nil {
		return authority.Pin()
	}
	return ""
}

func (b *Bridge) certificateExpiry() float64 {
	c, err := b.certificate()
	if err != nil || c.Leaf == nil {
		return 0
	}
	return float64(c.Leaf.NotAfter.Unix())
}

// agentsAddress is where agents dial, as far as the configuration tells.
func (b *Bridge) agentsAddress() string {
	if b.cfg.Agents.Advertise != "" || len(b.cfg.Agents.TLSNames) == 0 {
		return b.cfg.Agents.Advertise
	}
	_, port, err := net.SplitHostPort(b.cfg.Agents.Address)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(b.cfg.Agents.TLSNames[0], port)
}

// trustProblems says what is wrong with given files.
func (b *Bridge) trustProblems() (list []string) {
	if b.trust.given != nil {
		if err := b.trust.given.Problem(); err != nil {
			list = append(list, fmt.Sprintf("the present content of agents.tls.certFile and keyFile is not in use, the former is: %v", err))
		}
		if left := time.Until(b.trust.given.Get().Leaf.NotAfter); left < 72*time.Hour {
			list = append(list, fmt.Sprintf("the certificate of agents.tls.certFile expires in %s: agents cannot connect then", left.Round(time.Minute)))
		}
	}
	if b.trust.clientCAs != nil {
		if err := b.trust.clientCAs.Problem(); err != nil {
			list = append(list, fmt.Sprintf("the present content of agents.tls.clientCaFile is not in use, the former is: %v", err))
		}
	}
	return list
}

// rotate seals everything that is stored encrypted with the newest key.
func (b *Bridge) rotate(ctx context.Context) (id string, sealed int, err error) {
	return identity.Rotate(ctx, b.store, b.key)
}

const (
	keysInterval  = 10 * time.Second
	auditInterval = time.Hour
	// auditBatch is how many entries go at once, so that no statement takes long.
	auditBatch = 1000
)

// keepHouse tells other bridges which keys this one has, and forgets old entries of the audit trail, until ctx ends.
func (b *Bridge) keepHouse(ctx context.Context) error {
	keys := time.NewTicker(keysInterval)
	defer keys.Stop()
	audit := time.NewTicker(auditInterval)
	defer audit.Stop()
	for {
		if err := b.store.SetKeyIDs(ctx, b.cfg.Name, strings.Join(b.key.IDs(), ",")); err != nil && ctx.Err() == nil {
			b.log.Debug("the ids of this bridge's keys could not be stored", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-keys.C:
		case <-audit.C:
			for n := int64(auditBatch); n == auditBatch && ctx.Err() == nil; {
				var err error
				if n, err = b.store.ForgetAudit(ctx, b.cfg.Admin.AuditRetention.Milliseconds(), auditBatch); err != nil {
					b.log.Debug("old audit entries could not be deleted", "error", err)
				}
			}
		}
	}
}
