package bridge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/plugin"
	"github.com/fairlead/fairlead/proto/certfile"
	"github.com/fairlead/fairlead/proto/proof"
)

// trust is who the bridge is for agents, and by what it knows them and people.
type trust struct {
	// given is the certificate of agents.tls.certFile; nil: own makes one.
	given  *certfile.Pair
	agents *identity.Agents
	people *identity.Issuers
	// pluginGiven is the certificate of plugin.tls.certFile; plugins knows plugins by theirs.
	pluginGiven *certfile.Pair
	plugins     *identity.Plugins
	// clients are the certificates of agents and plugins that the bridges did not give, by the section of the configuration; nil: none are taken.
	clients map[string]*identity.Given
}

// buildTrust reads what the configuration names.
func (b *Bridge) buildTrust() (err error) {
	c, p := &b.cfg.Agents, &b.cfg.Plugin
	if b.trust.given, err = openPair("agents", c.TLS.CertFile, given(c.TLS)); err != nil {
		return err
	}
	if b.trust.pluginGiven, err = openPair("plugin", p.TLS.CertFile, given(config.TLS{CertFile: p.TLS.CertFile, KeyFile: p.TLS.KeyFile, KeyPasswordFile: p.TLS.KeyPasswordFile, CAFile: p.TLS.CAFile})); err != nil {
		return err
	}
	b.trust.clients = map[string]*identity.Given{}
	agents := identity.AgentsConfig{Tokens: b.tokens, Authority: b.authority.Load, Certificates: c.Certificates, Log: b.log}
	if agents.Given, err = b.openClients("agents", c.TLS.ClientCAFile, c.TLS.ClientCRLFile); err != nil {
		return err
	}
	b.trust.plugins = &identity.Plugins{Tokens: b.tokens, Authority: b.authority.Load, Names: p.TLS.ClientNames}
	if b.trust.plugins.Given, err = b.openClients("plugin", p.TLS.ClientCAFile, p.TLS.ClientCRLFile); err != nil {
		return err
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

// openPair reads the given certificate of a section; nil: none is given.
func openPair(section, certFile string, files certfile.Files) (*certfile.Pair, error) {
	if certFile == "" {
		return nil, nil //nolint:nilnil // see above
	}
	pair, err := certfile.Open(files)
	if err != nil {
		err = fmt.Errorf("%s.tls.certFile: %w", section, err)
	}
	return pair, err
}

// openClients reads whose client certificates a section believes that the bridges did not give; nil: nobody's.
func (b *Bridge) openClients(section, casFile, listsFile string) (g *identity.Given, err error) {
	if casFile == "" {
		return nil, nil //nolint:nilnil // see above
	}
	g = &identity.Given{}
	if g.CAs, err = certfile.OpenPool(casFile); err != nil {
		return nil, fmt.Errorf("%s.tls.clientCaFile: %w", section, err)
	}
	if listsFile != "" {
		if g.Revoked, err = certfile.OpenRevocations(listsFile, g.CAs); err != nil {
			return nil, fmt.Errorf("%s.tls.clientCrlFile: %w", section, err)
		}
	}
	b.trust.clients[section] = g
	return g, nil
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
	return nil, errors.New("the bridge has just started and has no certificate yet")
}

// pluginCertificate is what a plugin sees that calls over a network.
func (b *Bridge) pluginCertificate() (*tls.Certificate, error) {
	if b.trust.pluginGiven != nil {
		return b.trust.pluginGiven.Get(), nil
	}
	if own := b.ownForPlugin.Load(); own != nil {
		return (*own)()
	}
	return nil, errors.New("the bridge has just started and has no certificate yet")
}

// pluginRemote is how the plugin is known that calls over a network; nil: it calls by loopback.
func (b *Bridge) pluginRemote() *plugin.Remote {
	if !b.cfg.Plugin.MutualTLS {
		return nil
	}
	return &plugin.Remote{TLS: identity.PluginTLS(b.pluginCertificate), Identify: b.trust.plugins.Identify}
}

// issueForPlugin makes a certificate for a plugin, and tells whom it has to trust.
func (b *Bridge) issueForPlugin(ctx context.Context, csr []byte, life time.Duration, description string) (id string, certificate, ca []byte, err error) {
	made, err := b.trust.plugins.Issue(ctx, csr, life, description)
	if err != nil {
		return "", nil, nil, err
	}
	shown, err := b.pluginCertificate()
	if err != nil {
		return "", nil, nil, fmt.Errorf("%w: %w", identity.ErrUnavailable, err)
	}
	return made.ID, made.Certificate, shown.Certificate[len(shown.Certificate)-1], nil
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
	forPlugin := authority.Certificate(identity.ServerNames(host, append(append([]string(nil), b.cfg.Agents.TLSNames...), b.cfg.Plugin.TLS.Names...)))
	b.ownForPlugin.Store(&forPlugin)
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
	for _, p := range []struct {
		section, whose string
		pair           *certfile.Pair
	}{{"agents", "agents", b.trust.given}, {"plugin", "plugins", b.trust.pluginGiven}} {
		if p.pair == nil {
			continue
		}
		if err := p.pair.Problem(); err != nil {
			list = append(list, fmt.Sprintf("the present content of %s.tls.certFile and keyFile is not in use, the former is: %v", p.section, err))
		}
		if left := time.Until(p.pair.Get().Leaf.NotAfter); left < 72*time.Hour {
			list = append(list, fmt.Sprintf("the certificate of %s.tls.certFile expires in %s: %s cannot connect then", p.section, left.Round(time.Minute), p.whose))
		}
	}
	for _, section := range []string{"agents", "plugin"} {
		if g := b.trust.clients[section]; g != nil {
			list = append(list, g.Problems(section+".tls.clientCaFile", section+".tls.clientCrlFile")...)
		}
	}
	if problem := b.plugin.Problem(); problem != "" {
		list = append(list, problem)
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
