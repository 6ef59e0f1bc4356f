package config

import (
	"os"
	"strings"
	"time"
)

// Identity is what the agent proves itself with, beside or in the place of its enrolment token, and what it shows to something that
// stands between it and its bridge.
type Identity struct {
	// CertificateFile or CertificateSecret is where an enrolled certificate outlives the process; both empty: it does not.
	CertificateFile, CertificateSecret string
	// ServiceAccountTokenFile holds a projected token; "": none.
	ServiceAccountTokenFile string
	// ClientCertFile and ClientKeyFile are a given certificate; "": none.
	ClientCertFile, ClientKeyFile, ClientKeyPasswordFile string
	ClientKeyPassword                                    Secret
	// ProxyToken is a fixed bearer token for what stands between; ProxyCommand prints one.
	ProxyToken   TokenSource
	ProxyCommand *Command
}

// Command prints a token.
type Command struct {
	Path    string
	Args    []string
	JSON    bool
	Refresh time.Duration
}

// authDocument mirrors clouddriver.auth.
type authDocument struct {
	Token                   string
	TokenFile               string `yaml:"tokenFile"`
	ServiceAccountTokenFile string `yaml:"serviceAccountTokenFile"`
	CertificateFile         string `yaml:"certificateFile"`
	CertificateSecret       string `yaml:"certificateSecret"`
	TokenCommand            struct {
		Command                string
		Args                   []string
		Format                 string
		RefreshIntervalSeconds int64 `yaml:"refreshIntervalSeconds"`
	} `yaml:"tokenCommand"`
}

// tlsDocument mirrors clouddriver.tls.
type tlsDocument struct {
	ServerName            string `yaml:"serverName"`
	CacertFile            string `yaml:"cacertFile"`
	Pin                   string
	Proxied               bool
	ClientCertFile        string `yaml:"clientCertFile"`
	ClientKeyFile         string `yaml:"clientKeyFile"`
	ClientKeyFilePassword string `yaml:"clientKeyFilePassword"`
	ClientKeyPassword     string `yaml:"clientKeyPassword"`
	ClientKeyPasswordFile string `yaml:"clientKeyPasswordFile"`
}

// tokenPrefix begins every enrolment token.
const tokenPrefix = "flt_"

// identity takes clouddriver.auth and the client's part of clouddriver.tls.
func (b *builder) identity(auth *authDocument, tls *tlsDocument) {
	out := &b.config.Clouddriver.Identity
	out.ServiceAccountTokenFile = path(auth.ServiceAccountTokenFile)
	out.CertificateFile, out.CertificateSecret = path(auth.CertificateFile), auth.CertificateSecret
	b.given(tls, out)
	value, file := strings.TrimSpace(auth.Token), path(auth.TokenFile)
	environment := strings.TrimSpace(b.getenv("FAIRLEAD_TOKEN"))
	others := environment != "" || file != "" || out.ServiceAccountTokenFile != "" || out.ClientCertFile != ""
	if value != "" && others && !strings.HasPrefix(value, tokenPrefix) {
		// As in the replaced product.
		out.ProxyToken, value = StaticToken(value), ""
	}
	b.command(auth, out)
	ways := 0
	for _, given := range []bool{value+file+environment != "", out.ServiceAccountTokenFile != "", out.ClientCertFile != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		b.fail("clouddriver.auth and clouddriver.tls: an enrolment token, serviceAccountTokenFile and clientCertFile each say who the agent is; give one of them")
	case ways == 0 || value+file+environment != "":
		b.token(value, file, environment)
	case out.ServiceAccountTokenFile != "":
		b.config.Clouddriver.ServiceAccountToken = FileToken(out.ServiceAccountTokenFile)
		if _, err := os.Stat(out.ServiceAccountTokenFile); err != nil {
			b.fail("clouddriver.auth.serviceAccountTokenFile: %w; mount a projected serviceAccountToken volume there, with the audience that the bridge's rule has", err)
		}
	}
	switch {
	case out.CertificateFile != "" && out.CertificateSecret != "":
		b.fail("clouddriver.auth.certificateFile and certificateSecret: give one of them")
	case out.CertificateFile+out.CertificateSecret != "" && (out.ServiceAccountTokenFile != "" || out.ClientCertFile != ""):
		b.fail("clouddriver.auth.certificateFile and certificateSecret: keep what an enrolment token is exchanged for, and there is none; remove them")
	}
}

// given takes a client certificate that somebody else renews.
func (b *builder) given(tls *tlsDocument, out *Identity) {
	out.ClientCertFile, out.ClientKeyFile, out.ClientKeyPasswordFile = path(tls.ClientCertFile), path(tls.ClientKeyFile), path(tls.ClientKeyPasswordFile)
	// The replaced product's documentation has both names.
	out.ClientKeyPassword = Secret(tls.ClientKeyFilePassword + tls.ClientKeyPassword)
	switch {
	case tls.ClientKeyFilePassword != "" && tls.ClientKeyPassword != "", out.ClientKeyPassword != "" && out.ClientKeyPasswordFile != "":
		b.fail("clouddriver.tls.clientKeyFilePassword, clientKeyPassword and clientKeyPasswordFile: give one of them")
	case (out.ClientCertFile == "") != (out.ClientKeyFile == ""):
		b.fail("clouddriver.tls.clientCertFile and clientKeyFile: give both")
	case b.config.Clouddriver.Insecure && out.ClientCertFile != "" && b.config.Clouddriver.TLS.Pin == "":
		b.fail("clouddriver.tls.clientCertFile: without TLS the certificate is proven inside the stream, which needs clouddriver.tls.pin")
	}
}

// command takes clouddriver.auth.tokenCommand.
func (b *builder) command(auth *authDocument, out *Identity) {
	in := &auth.TokenCommand
	if in.Command == "" {
		if len(in.Args) > 0 || in.Format != "" {
			b.fail("clouddriver.auth.tokenCommand.command: missing; name the program that prints the token")
		}
		return
	}
	switch {
	case in.Format != "" && in.Format != "raw" && in.Format != "json":
		b.fail("clouddriver.auth.tokenCommand.format: %q: want raw or json", in.Format)
	case in.RefreshIntervalSeconds < 0:
		b.fail("clouddriver.auth.tokenCommand.refreshIntervalSeconds: %d: is negative; 0 runs the program again when a connection was refused", in.RefreshIntervalSeconds)
	case out.ProxyToken != TokenSource{}:
		b.fail("clouddriver.auth.token and tokenCommand: both are for what stands between agent and bridge; give one of them")
	}
	out.ProxyCommand = &Command{Path: in.Command, Args: in.Args, JSON: in.Format == "json", Refresh: time.Duration(in.RefreshIntervalSeconds) * time.Second}
}
