package dynamic

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairlead/fairlead/bridge/internal/identity"
)

// MaximumKubeconfig is how large a kubeconfig may be, in bytes.
const MaximumKubeconfig = 256 << 10

// kubeconfig is a kubeconfig with inline data alone. The other members are there to be refused by name.
type kubeconfig struct {
	APIVersion     string         `yaml:"apiVersion,omitempty"`
	Kind           string         `yaml:"kind,omitempty"`
	CurrentContext string         `yaml:"current-context"`
	Clusters       []namedCluster `yaml:"clusters"`
	Users          []namedUser    `yaml:"users"`
	Contexts       []namedContext `yaml:"contexts"`
	Preferences    map[string]any `yaml:"preferences,omitempty"`
	Extensions     []any          `yaml:"extensions,omitempty"`
}

type namedCluster struct {
	Name    string  `yaml:"name"`
	Cluster cluster `yaml:"cluster"`
}

type cluster struct {
	Server             string `yaml:"server"`
	Authority          string `yaml:"certificate-authority-data,omitempty"`
	Insecure           bool   `yaml:"insecure-skip-tls-verify,omitempty"`
	ServerName         string `yaml:"tls-server-name,omitempty"`
	DisableCompression bool   `yaml:"disable-compression,omitempty"`
	AuthorityFile      string `yaml:"certificate-authority,omitempty"`
	ProxyURL           string `yaml:"proxy-url,omitempty"`
	Extensions         []any  `yaml:"extensions,omitempty"`
}

type namedUser struct {
	Name string `yaml:"name"`
	User user   `yaml:"user"`
}

type user struct {
	Certificate     string              `yaml:"client-certificate-data,omitempty"`
	Key             string              `yaml:"client-key-data,omitempty"`
	Token           string              `yaml:"token,omitempty"`
	Username        string              `yaml:"username,omitempty"`
	Password        string              `yaml:"password,omitempty"`
	As              string              `yaml:"as,omitempty"`
	AsUID           string              `yaml:"as-uid,omitempty"`
	AsGroups        []string            `yaml:"as-groups,omitempty"`
	AsExtra         map[string][]string `yaml:"as-user-extra,omitempty"`
	CertificateFile string              `yaml:"client-certificate,omitempty"`
	KeyFile         string              `yaml:"client-key,omitempty"`
	TokenFile       string              `yaml:"tokenFile,omitempty"`
	Provider        any                 `yaml:"auth-provider,omitempty"`
	Exec            any                 `yaml:"exec,omitempty"`
	Extensions      []any               `yaml:"extensions,omitempty"`
}

type namedContext struct {
	Name    string `yaml:"name"`
	Context inner  `yaml:"context"`
}

type inner struct {
	Cluster    string `yaml:"cluster"`
	User       string `yaml:"user"`
	Namespace  string `yaml:"namespace,omitempty"`
	Extensions []any  `yaml:"extensions,omitempty"`
}

var unknownField = regexp.MustCompile(`field ([A-Za-z0-9._-]+) not found`)

// Narrow checks a kubeconfig (YAML or JSON, or base64 of either) and returns what its context needs and nothing else. context "" is its current one. servers are
// the addresses that are allowed, with * for any characters; none: every https one. Errors never quote it, but for names of fields and contexts.
func Narrow(content []byte, context string, servers []string) ([]byte, error) {
	if len(content) > MaximumKubeconfig {
		return nil, fmt.Errorf("has %d bytes, at most %d are taken", len(content), MaximumKubeconfig)
	}
	var k kubeconfig
	if err := k.read(content); err != nil {
		plain, failed := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(content)), ""))
		if failed != nil || k.read(plain) != nil {
			return nil, err
		}
	}
	if context == "" {
		context = k.CurrentContext
	}
	if context == "" {
		return nil, errors.New("has no current-context: name one of its contexts in context")
	}
	narrow, err := k.only(context)
	if err != nil {
		return nil, err
	}
	if err := narrow.check(servers); err != nil {
		return nil, err
	}
	return yaml.Marshal(narrow)
}

func (k *kubeconfig) read(content []byte) error {
	*k = kubeconfig{}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(k); err != nil {
		// The parser's error quotes what it read.
		if field := unknownField.FindStringSubmatch(err.Error()); field != nil {
			return fmt.Errorf("has the unknown field %q", field[1])
		}
		return errors.New("is no kubeconfig")
	}
	if len(k.Contexts)+len(k.Clusters) == 0 {
		return errors.New("is no kubeconfig: it has neither contexts nor clusters")
	}
	return nil
}

// only is the kubeconfig with one context, its cluster and its user.
func (k *kubeconfig) only(context string) (*kubeconfig, error) {
	out := &kubeconfig{APIVersion: "v1", Kind: "Config", CurrentContext: context}
	for _, c := range k.Contexts {
		if c.Name == context {
			c.Context.Extensions = nil
			out.Contexts = []namedContext{c}
			break
		}
	}
	if out.Contexts == nil {
		return nil, fmt.Errorf("has no context %q", context)
	}
	for _, c := range k.Clusters {
		if c.Name == out.Contexts[0].Context.Cluster {
			c.Cluster.Extensions = nil
			out.Clusters = []namedCluster{c}
			break
		}
	}
	if out.Clusters == nil {
		return nil, fmt.Errorf("has no cluster of the name that its context %q says", context)
	}
	for _, u := range k.Users {
		if u.Name == out.Contexts[0].Context.User {
			u.User.Extensions = nil
			out.Users = []namedUser{u}
			break
		}
	}
	if out.Users == nil {
		return nil, fmt.Errorf("has no user of the name that its context %q says", context)
	}
	return out, nil
}

// check refuses what is not inline, and servers that are not allowed.
func (k *kubeconfig) check(servers []string) error {
	c, u := k.Clusters[0].Cluster, k.Users[0].User
	for _, f := range []struct{ field, value, instead string }{
		{"certificate-authority", c.AuthorityFile, "certificate-authority-data"}, {"client-certificate", u.CertificateFile, "client-certificate-data"},
		{"client-key", u.KeyFile, "client-key-data"}, {"tokenFile", u.TokenFile, "token"},
	} {
		if f.value != "" {
			return fmt.Errorf("%s: a dynamic account's kubeconfig names no files; put the content into %s", f.field, f.instead)
		}
	}
	switch {
	case u.Exec != nil:
		return errors.New("exec: a dynamic account's kubeconfig runs no programs; use a token or a certificate, or an account in the agent's own file")
	case u.Provider != nil:
		return errors.New("auth-provider: Kubernetes clients have dropped these; use a token or a certificate")
	case c.ProxyURL != "":
		return errors.New("proxy-url: a dynamic account's kubeconfig names no proxy; the agent's HTTPS_PROXY is used")
	case u.Token == "" && u.Certificate == "" && u.Username == "":
		return errors.New("has neither token nor client-certificate-data")
	}
	return checkServer(c.Server, servers)
}

func checkServer(server string, allowed []string) error {
	address, err := url.Parse(server)
	if err != nil || address.Host == "" || address.User != nil || address.Scheme != "https" && address.Scheme != "http" {
		return errors.New("server: is no address; write https://HOST:6443")
	}
	origin := strings.ToLower(address.Scheme + "://" + address.Host)
	for _, pattern := range allowed {
		if identity.Matches(strings.ToLower(strings.TrimRight(pattern, "/")), origin) {
			return nil
		}
	}
	switch {
	case len(allowed) > 0:
		return fmt.Errorf("server: %s is not among accounts.dynamic.servers (%s)", origin, strings.Join(allowed, ", "))
	case address.Scheme != "https":
		return fmt.Errorf("server: %s would get the credentials in plaintext: use https, or allow it by accounts.dynamic.servers", origin)
	}
	return nil
}
