package secrets

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
)

// Method is a way to log in to Vault.
type Method string

// The methods, as secrets.vault.authMethod names them.
const (
	MethodToken      Method = "TOKEN"
	MethodKubernetes Method = "KUBERNETES"
	MethodUserpass   Method = "USERPASS"
	MethodAppRole    Method = "APPROLE"
)

// Methods lists them.
func Methods() []Method {
	return []Method{MethodKubernetes, MethodToken, MethodUserpass, MethodAppRole}
}

// serviceAccountToken is what Kubernetes mounts into each pod, and rotates.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// Login is how the agent logs in to Vault. What is read from a file is read at each login, so that it may be rotated.
type Login struct {
	Method Method
	// Mount of the auth method; "": the method's usual one.
	Mount string
	// Role is of KUBERNETES.
	Role string
	// TokenFile is the service account's (KUBERNETES; "": the pod's own) or Vault's (TOKEN).
	TokenFile string
	// Username is of USERPASS, RoleID of APPROLE.
	Username, RoleID string
	// Secret is Vault's token, the password or the secret id; SecretFile a file with it.
	Secret, SecretFile string
}

// check says what is missing.
func (l Login) check() error {
	switch {
	case l.Method == MethodKubernetes && l.Role == "":
		return errors.New("secrets.vault.role: missing; KUBERNETES needs the role that Vault bound to the agent's service account")
	case l.Method == MethodToken && l.Secret == "" && l.TokenFile == "":
		return errors.New("secrets.vault: TOKEN needs the environment's VAULT_TOKEN, or tokenFile")
	case l.Method == MethodUserpass && (l.Username == "" || l.Secret == "" && l.SecretFile == ""):
		return errors.New("secrets.vault: USERPASS needs username, and passwordFile or password")
	case l.Method == MethodAppRole && (l.RoleID == "" || l.Secret == "" && l.SecretFile == ""):
		return errors.New("secrets.vault: APPROLE needs roleId, and secretIdFile or secretId")
	}
	return nil
}

// do logs in.
func (l Login) do(ctx context.Context, client *api.Client) (*api.SecretAuth, error) {
	switch l.Method {
	case MethodKubernetes:
		jwt, err := word(orElse(l.TokenFile, serviceAccountToken))
		if err != nil {
			return nil, err
		}
		return write(ctx, client, "auth/"+orElse(l.Mount, "kubernetes")+"/login", map[string]any{"role": l.Role, "jwt": jwt})
	case MethodUserpass:
		password, err := l.secret()
		if err != nil {
			return nil, err
		}
		return write(ctx, client, "auth/"+orElse(l.Mount, "userpass")+"/login/"+url.PathEscape(l.Username), map[string]any{"password": password})
	case MethodAppRole:
		id, err := l.secret()
		if err != nil {
			return nil, err
		}
		return write(ctx, client, "auth/"+orElse(l.Mount, "approle")+"/login", map[string]any{"role_id": l.RoleID, "secret_id": id})
	case MethodToken:
		return l.lookUp(ctx, client)
	default:
		return nil, fmt.Errorf("authMethod %q is not known", l.Method)
	}
}

// lookUp asks how long a given token lives.
func (l Login) lookUp(ctx context.Context, client *api.Client) (*api.SecretAuth, error) {
	value := l.Secret
	if l.TokenFile != "" {
		var err error
		if value, err = word(l.TokenFile); err != nil {
			return nil, err
		}
	}
	client.SetToken(value)
	found, err := client.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		return nil, err
	}
	ttl, renewable := decode(found.Data)
	return &api.SecretAuth{ClientToken: value, LeaseDuration: ttl, Renewable: renewable}, nil
}

func (l Login) secret() (string, error) {
	if l.SecretFile != "" {
		return word(l.SecretFile)
	}
	return l.Secret, nil
}

func write(ctx context.Context, client *api.Client, path string, body map[string]any) (*api.SecretAuth, error) {
	answer, err := client.Logical().WriteWithContext(ctx, path, body)
	if err != nil {
		return nil, err
	}
	if answer == nil || answer.Auth == nil {
		return nil, errors.New("it answered without a token")
	}
	return answer.Auth, nil
}

// word reads a file that holds one secret and nothing else.
func word(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(content))
	if value == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return value, nil
}

func orElse(value, other string) string {
	if value != "" {
		return value
	}
	return other
}
