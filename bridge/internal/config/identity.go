package config

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairlead/fairlead/bridge/internal/identity"
)

// rules is a list in the configuration whose members are sections; it reads itself.
type rules interface {
	read(r *reader, n *yaml.Node, path string)
	kind() string
}

// CertificateRules are agents.certificates.
type CertificateRules []identity.CertificateRule

func (*CertificateRules) kind() string    { return "a list of rules for certificates" }
func (*ServiceAccountRules) kind() string { return "a list of rules for service-account tokens" }
func (*PeopleRules) kind() string         { return "a list of rules for people's tokens" }

func (list *CertificateRules) read(r *reader, n *yaml.Node, path string) {
	*list = nil
	for i, item := range r.items(n, path) {
		var rule identity.CertificateRule
		at := fmt.Sprintf("%s[%d]", path, i)
		r.members(item, at, map[string]func(string, *yaml.Node){
			"accounts": func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &rule.Accounts) },
			"subject":  func(at string, n *yaml.Node) { r.decode(n, at, "a list of regular expressions", &rule.Subject) },
			"issuer":   func(at string, n *yaml.Node) { r.decode(n, at, "a list of regular expressions", &rule.Issuer) },
			"dns":      func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &rule.DNS) },
			"uri":      func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &rule.URI) },
		})
		if err := rule.Compile(); err != nil {
			r.problem(item, "%s: %w", at, err)
		}
		*list = append(*list, rule)
	}
}

// ServiceAccountRules are agents.serviceAccounts.
type ServiceAccountRules []identity.TokenRule

func (list *ServiceAccountRules) read(r *reader, n *yaml.Node, path string) {
	*list = nil
	for i, item := range r.items(n, path) {
		var rule identity.TokenRule
		at := fmt.Sprintf("%s[%d]", path, i)
		known := issuerKeys(r, &rule)
		known["subjects"] = func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &rule.Values) }
		known["accounts"] = func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &rule.Accounts) }
		r.members(item, at, known)
		if err := rule.Check(); err != nil {
			r.problem(item, "%s: %w", at, err)
		}
		*list = append(*list, rule)
	}
}

// PeopleRules are admin.oidc.
type PeopleRules []identity.TokenRule

func (list *PeopleRules) read(r *reader, n *yaml.Node, path string) {
	*list = nil
	for i, item := range r.items(n, path) {
		rule := identity.TokenRule{Claim: "groups"}
		at := fmt.Sprintf("%s[%d]", path, i)
		known := issuerKeys(r, &rule)
		known["claim"] = func(at string, n *yaml.Node) { r.decode(n, at, "the name of a claim", &rule.Claim) }
		known["values"] = func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &rule.Values) }
		known["role"] = func(at string, n *yaml.Node) { r.decode(n, at, "a role", &rule.Role) }
		known["accounts"] = func(at string, n *yaml.Node) { r.decode(n, at, "a list of patterns", &rule.Accounts) }
		r.members(item, at, known)
		err := rule.Check()
		if rule.Role == "" {
			err = errors.Join(err, fmt.Errorf("role: is not set; give one of %s", identity.Roles))
		}
		if err != nil {
			r.problem(item, "%s: %w", at, err)
		}
		*list = append(*list, rule)
	}
}

// issuerKeys are what rules for tokens have in common.
func issuerKeys(r *reader, rule *identity.TokenRule) map[string]func(string, *yaml.Node) {
	text := func(into *string) func(string, *yaml.Node) {
		return func(at string, n *yaml.Node) { r.decode(n, at, "a text", into) }
	}
	return map[string]func(string, *yaml.Node){
		"issuer": text(&rule.Issuer), "audience": text(&rule.Audience), "jwks": text(&rule.JWKS), "jwksFile": text(&rule.JWKSFile),
		"jwksURL": text(&rule.JWKSURL), "caFile": text(&rule.CAFile), "tokenFile": text(&rule.TokenFile),
	}
}

// parseRules reads rules from one text, YAML or JSON, as the environment holds them.
func parseRules(into rules, text string) error {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) == 0 {
		return errors.New("is not a list of rules in YAML or JSON")
	}
	r := &reader{file: "value"}
	into.read(r, document.Content[0], "rules")
	return errors.Join(r.problems...)
}

// checkIdentity says what makes no sense about who agents and people are.
func (c *Config) checkIdentity() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	t, p := &c.Agents.TLS, &c.Plugin.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		bad("agents.tls.certFile and agents.tls.keyFile: give both, or neither for the bridges' own certificates")
	}
	if t.CertFile == "" && t.KeyPasswordFile+t.CAFile != "" {
		bad("agents.tls.keyPasswordFile and agents.tls.caFile: mean nothing without agents.tls.certFile")
	}
	if c.Agents.Plaintext && t.CertFile+t.ClientCAFile != "" && !c.Agents.Proxied {
		bad("agents.plaintext: true means that there is no TLS here, which contradicts agents.tls; remove one of them, or set agents.proxied for identities inside the stream")
	}
	if (t.ClientCAFile == "") != (len(c.Agents.Certificates) == 0) {
		bad("agents.tls.clientCaFile and agents.certificates: give both; the one says whose certificates are believed, the other which accounts their holders have")
	}
	if t.ClientCRLFile != "" && t.ClientCAFile == "" {
		bad("agents.tls.clientCrlFile: means nothing without agents.tls.clientCaFile; the bridges' own certificates are revoked with \"fairlead token revoke\"")
	}
	problems = append(problems, c.checkPlugin()...)
	for _, f := range []struct{ path, file string }{
		{"agents.tls.certFile", t.CertFile}, {"agents.tls.keyFile", t.KeyFile}, {"agents.tls.keyPasswordFile", t.KeyPasswordFile},
		{"agents.tls.caFile", t.CAFile}, {"agents.tls.clientCaFile", t.ClientCAFile}, {"agents.tls.clientCrlFile", t.ClientCRLFile},
		{"plugin.tls.certFile", p.CertFile}, {"plugin.tls.keyFile", p.KeyFile}, {"plugin.tls.keyPasswordFile", p.KeyPasswordFile},
		{"plugin.tls.caFile", p.CAFile}, {"plugin.tls.clientCaFile", p.ClientCAFile}, {"plugin.tls.clientCrlFile", p.ClientCRLFile},
	} {
		if f.file == "" {
			continue
		}
		if _, err := os.Stat(f.file); err != nil {
			bad("%s: %w", f.path, err)
		}
	}
	if n := c.Cache.MaximumApplications; n < 1 {
		bad("cache.maximumApplications: %d is not above zero", n)
	}
	if n := c.Cache.MaximumLinks; n < 1 {
		bad("cache.maximumLinks: %d is not above zero", n)
	}
	if c.Admin.AuditRetention <= 0 {
		bad("admin.auditRetention: %s is not above zero", c.Admin.AuditRetention)
	}
	return problems
}

// checkPlugin says what makes no sense about how the plugin is known.
func (c *Config) checkPlugin() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	p := &c.Plugin.TLS
	if !c.Plugin.MutualTLS {
		if len(p.Names)+len(p.ClientNames) > 0 || p.CertFile+p.KeyFile+p.KeyPasswordFile+p.CAFile+p.ClientCAFile+p.ClientCRLFile != "" {
			bad("plugin.tls: means nothing without plugin.mutualTLS: true")
		}
		return problems
	}
	if c.Plugin.SecretFile != "" {
		bad("plugin.secretFile: with plugin.mutualTLS the plugin is known by its certificate and shows no secret; take one of them out")
	}
	if (p.CertFile == "") != (p.KeyFile == "") {
		bad("plugin.tls.certFile and plugin.tls.keyFile: give both, or neither for the bridges' own certificates")
	}
	if p.CertFile == "" && p.KeyPasswordFile+p.CAFile != "" {
		bad("plugin.tls.keyPasswordFile and plugin.tls.caFile: mean nothing without plugin.tls.certFile")
	}
	if (p.ClientCAFile == "") != (len(p.ClientNames) == 0) {
		bad("plugin.tls.clientCaFile and plugin.tls.clientNames: give both; the one says whose certificates are believed, the other which of them are a plugin's")
	}
	if p.ClientCRLFile != "" && p.ClientCAFile == "" {
		bad("plugin.tls.clientCrlFile: means nothing without plugin.tls.clientCaFile; the bridges' own certificates are revoked with \"fairlead token revoke\"")
	}
	for _, name := range p.ClientNames {
		if strings.Trim(name, "*") == "" {
			bad("plugin.tls.clientNames: %q fits every certificate of the CA, and who gets in may run commands on every account; write the plugin's name", name)
		}
	}
	return problems
}
