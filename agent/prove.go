package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/identity"
	"github.com/fairlead/fairlead/agent/internal/session"
	"github.com/fairlead/fairlead/proto/certfile"
)

// prove adds to a session's configuration what the agent proves itself with.
func prove(cfg *config.Config, to *session.Config) error {
	c := &cfg.Clouddriver
	in := &c.Identity
	to.Token = func() (string, error) {
		token, err := c.Token.Token()
		return token.Reveal(), err
	}
	if in.ServiceAccountTokenFile != "" {
		to.ServiceAccountToken = func() (string, error) {
			token, err := c.ServiceAccountToken.Token()
			return token.Reveal(), err
		}
	}
	if in.ClientCertFile != "" {
		pair, err := certfile.Open(certfile.Files{Certificate: in.ClientCertFile, Key: in.ClientKeyFile, Password: password(in)})
		if err != nil {
			return fmt.Errorf("clouddriver.tls.clientCertFile: %w", err)
		}
		to.Given = pair
	}
	switch {
	case in.ProxyCommand != nil:
		to.Bearer = &identity.Command{Path: in.ProxyCommand.Path, Args: in.ProxyCommand.Args, JSON: in.ProxyCommand.JSON, Refresh: in.ProxyCommand.Refresh}
	case in.ProxyToken != config.TokenSource{}:
		to.Bearer = fixed{in.ProxyToken}
	}
	keep, err := keepOf(in)
	if err != nil {
		return err
	}
	to.Credential = identity.NewCredential(keep, to.Agent.GetName())
	return nil
}

// password returns the given key's password; nil: it has none.
func password(in *config.Identity) func() ([]byte, error) {
	switch {
	case in.ClientKeyPasswordFile != "":
		return func() ([]byte, error) {
			content, err := os.ReadFile(in.ClientKeyPasswordFile)
			return []byte(strings.TrimRight(string(content), "\r\n")), err
		}
	case in.ClientKeyPassword != "":
		return func() ([]byte, error) { return []byte(in.ClientKeyPassword.Reveal()), nil }
	}
	return nil
}

// keepOf is where an enrolled certificate outlives the process; nil: nowhere.
func keepOf(in *config.Identity) (identity.Keep, error) {
	if in.CertificateFile != "" {
		return identity.FileKeep(in.CertificateFile), nil
	}
	if in.CertificateSecret == "" {
		return nil, nil //nolint:nilnil // see above
	}
	access, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("clouddriver.auth.certificateSecret: %w; outside of a cluster use certificateFile", err)
	}
	namespace, err := ownNamespace()
	if err != nil {
		return nil, fmt.Errorf("clouddriver.auth.certificateSecret: %w", err)
	}
	return identity.NewSecretKeep(access, namespace, in.CertificateSecret)
}

// ownNamespace is that of the pod.
func ownNamespace() (string, error) {
	if namespace := os.Getenv("POD_NAMESPACE"); namespace != "" {
		return namespace, nil
	}
	content, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if namespace := strings.TrimSpace(string(content)); err == nil && namespace != "" {
		return namespace, nil
	}
	return "", errors.New("the pod's namespace is not known; set POD_NAMESPACE")
}

// fixed is a bearer token that does not change.
type fixed struct{ source config.TokenSource }

// Token implements session.Bearer.
func (f fixed) Token(context.Context) (string, error) {
	token, err := f.source.Token()
	return token.Reveal(), err
}

// Forget implements session.Bearer.
func (fixed) Forget() {}
