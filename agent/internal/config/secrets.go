package config

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/fairlead/fairlead/agent/internal/secrets"
)

// Secrets says where secret references are read.
type Secrets struct {
	// Refresh is how often a kubeconfig that is a secret is read again.
	Refresh time.Duration
	// Vault is nil where none is configured.
	Vault *secrets.Vault
}

// defaultRefresh lets a rotated secret take effect within half a minute, at two requests a minute for each account.
const defaultRefresh = 30 * time.Second

// secretsDocument mirrors secrets.
type secretsDocument struct {
	RefreshSeconds *int64 `yaml:"refreshSeconds"`
	Vault          struct {
		Enabled *bool
		URL     string
		// AuthMethod and what it needs; Path is where the auth method is mounted.
		AuthMethod          string `yaml:"authMethod"`
		Role, Path          string
		Username, Password  string
		PasswordFile        string `yaml:"passwordFile"`
		UserAuthPath        string `yaml:"userAuthPath"`
		RoleID              string `yaml:"roleId"`
		SecretID            string `yaml:"secretId"`
		SecretIDFile        string `yaml:"secretIdFile"`
		Token               string
		TokenFile           string `yaml:"tokenFile"`
		ServiceAccountToken string `yaml:"serviceAccountTokenFile"`
		Namespace           string
		NoProxy             bool `yaml:"noProxy"`
		TLS                 struct {
			CACertFile         string `yaml:"cacertFile"`
			ServerName         string `yaml:"serverName"`
			ClientCertFile     string `yaml:"clientCertFile"`
			ClientKeyFile      string `yaml:"clientKeyFile"`
			InsecureSkipVerify bool   `yaml:"insecureSkipVerify"`
		} `yaml:"tls"`
	}
}

func (b *builder) secrets(d *secretsDocument) {
	out := &b.config.Secrets
	out.Refresh = defaultRefresh
	if s := d.RefreshSeconds; s != nil {
		if out.Refresh = time.Duration(*s) * time.Second; *s < 1 || *s > 86400 {
			b.fail("secrets.refreshSeconds: %d: want 1 to 86400", *s)
		}
	}
	v := &d.Vault
	if v.Enabled != nil && !*v.Enabled || v.Enabled == nil && v.URL == "" {
		return
	}
	method := secrets.Method(strings.ToUpper(strings.TrimSpace(v.AuthMethod)))
	made := secrets.Vault{
		URL: strings.TrimSpace(v.URL), Namespace: v.Namespace, NoProxy: v.NoProxy,
		TLS: secrets.VaultTLS{CAFile: path(v.TLS.CACertFile), ServerName: v.TLS.ServerName, CertFile: path(v.TLS.ClientCertFile), KeyFile: path(v.TLS.ClientKeyFile),
			InsecureSkipVerify: v.TLS.InsecureSkipVerify},
		Login: secrets.Login{Method: method, Mount: strings.Trim(v.Path, "/"), Role: v.Role},
	}
	login := &made.Login
	switch method {
	case secrets.MethodKubernetes:
		login.TokenFile = path(v.ServiceAccountToken)
	case secrets.MethodToken:
		login.TokenFile, login.Secret = path(v.TokenFile), v.Token
		if t := strings.TrimSpace(b.getenv("VAULT_TOKEN")); t != "" && login.TokenFile == "" {
			login.Secret = t
		}
	case secrets.MethodUserpass:
		login.Username, login.Secret, login.SecretFile = v.Username, v.Password, path(v.PasswordFile)
		if v.UserAuthPath != "" {
			login.Mount = strings.Trim(v.UserAuthPath, "/")
		}
	case secrets.MethodAppRole:
		login.RoleID, login.Secret, login.SecretFile = v.RoleID, v.SecretID, path(v.SecretIDFile)
	default:
		b.fail("secrets.vault.authMethod: %q: want one of %v", v.AuthMethod, secrets.Methods())
		return
	}
	// The reader says itself what is missing; whether it can be made does not depend on a network.
	if _, err := secrets.New(secrets.Options{Vault: &made}); err != nil {
		b.errs = append(b.errs, err)
		return
	}
	if made.TLS.InsecureSkipVerify {
		b.warn("secrets.vault.tls.insecureSkipVerify", "true: whoever answers at Vault's address gets the agent's proof of identity, and may hand out any kubeconfig")
	}
	if strings.HasPrefix(strings.ToLower(made.URL), "http://") {
		b.warn("secrets.vault.url", "plain http: secrets travel in plaintext")
	}
	out.Vault = &made
}

// path is a file's, with or without a scheme.
func path(value string) string { return strings.TrimPrefix(strings.TrimSpace(value), "file://") }

// kubeconfig sorts what an account says of its kubeconfig: a file, or a reference to a secret.
func (a *Account) kubeconfig(file, contents string) error {
	switch {
	case secrets.IsReference(file) && contents != "":
		return fmt.Errorf("kubeconfigFile and kubeconfigContents: give one of them")
	case secrets.IsReference(file):
		ref, err := secrets.Parse(file)
		a.KubeconfigSecret = &ref
		return prefixed("kubeconfigFile", err)
	case secrets.IsReference(contents):
		ref, err := secrets.Parse(contents)
		a.KubeconfigSecret = &ref
		a.KubeconfigFile = path(file)
		return prefixed("kubeconfigContents", err)
	case contents != "":
		return fmt.Errorf("kubeconfigContents: a configuration is no place for credentials; put the kubeconfig into a file or a secret, and name it in kubeconfigFile")
	}
	a.KubeconfigFile = path(file)
	return nil
}

func prefixed(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}

// validateCredentials tells what is wrong with where the account's credentials are.
func (a *Account) validateCredentials() error {
	switch {
	case a.ServiceAccount && a.KubeconfigFile != "":
		return fmt.Errorf("serviceAccount and kubeconfigFile %q: give one of them", a.KubeconfigFile)
	case a.ServiceAccount && a.KubeconfigSecret != nil:
		return fmt.Errorf("serviceAccount and kubeconfig %s: give one of them", a.KubeconfigSecret)
	case a.KubeconfigSecret != nil && a.KubeconfigFile != "":
		return fmt.Errorf("kubeconfigFile %q and kubeconfigContents %s: give one of them", a.KubeconfigFile, a.KubeconfigSecret)
	case a.ServiceAccount && a.Context != "":
		return fmt.Errorf("context: %q means nothing with serviceAccount: true; remove it", a.Context)
	case a.ServiceAccount, a.KubeconfigSecret != nil, a.Kubeconfig != nil:
		return nil
	case a.KubeconfigFile == "":
		return fmt.Errorf("kubeconfigFile: missing; name a kubeconfig file, or set serviceAccount: true to use the pod's own account")
	}
	info, err := os.Stat(a.KubeconfigFile)
	switch {
	case err != nil:
		return fmt.Errorf("kubeconfigFile: %w; mount the kubeconfig there, or correct the path", err)
	case info.IsDir():
		return fmt.Errorf("kubeconfigFile: %s is a directory; name the file in it", a.KubeconfigFile)
	}
	return nil
}
