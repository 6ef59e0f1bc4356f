package secrets

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/agent/internal/cloud"
)

// requestLimit bounds one question to an engine.
const requestLimit = 20 * time.Second

// largest is the most that a secret may hold: etcd and Vault allow about a megabyte.
const largest = 4 << 20

// ErrNotFound: the engine answers and has no such secret.
var ErrNotFound = errors.New("not found")

// Options say where engines are.
type Options struct {
	// Vault is nil where none is configured.
	Vault *Vault
	// InCluster returns the pod's own access and namespace; nil: what Kubernetes mounts into each pod.
	InCluster func() (*rest.Config, string, error)
	// Cloud holds the accounts with cloud providers.
	Cloud *cloud.Cloud
}

// Reader reads secrets. It may be used by any number of goroutines.
type Reader struct {
	vault     *vaultClient
	inCluster func() (*rest.Config, string, error)
	cloud     *cloud.Cloud
}

// New checks the options. It talks to nobody.
func New(o Options) (*Reader, error) {
	r := &Reader{inCluster: o.InCluster, cloud: o.Cloud}
	if r.inCluster == nil {
		r.inCluster = inCluster
	}
	if o.Vault == nil {
		return r, nil
	}
	var err error
	r.vault, err = newVaultClient(*o.Vault)
	return r, err
}

// Run keeps tokens alive until ctx ends.
func (r *Reader) Run(ctx context.Context) {
	if r.vault != nil {
		r.vault.keep(ctx)
	}
}

// Read returns the secret as it is now. Errors name the reference.
func (r *Reader) Read(ctx context.Context, ref Reference) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	content, err := r.read(ctx, ref)
	switch {
	case err != nil:
		return nil, fmt.Errorf("secret %s: %w", ref, err)
	case len(content) == 0:
		return nil, fmt.Errorf("secret %s is empty", ref)
	}
	return content, nil
}

func (r *Reader) read(ctx context.Context, ref Reference) ([]byte, error) {
	switch ref.Engine {
	case EngineVault:
		return r.fromVault(ctx, ref)
	case EngineKubernetes:
		return r.fromKubernetes(ctx, ref)
	case EngineS3:
		return r.keyed(ref, yamlKey)(r.cloud.S3Object(ctx, ref.get("r"), ref.get("b"), ref.get("f")))
	case EngineGCS:
		return r.keyed(ref, yamlKey)(r.cloud.GCSObject(ctx, ref.get("b"), ref.get("f")))
	case EngineSecretsManager:
		return r.keyed(ref, jsonKey)(r.cloud.AWSSecret(ctx, ref.get("r"), ref.get("s")))
	default:
		return nil, fmt.Errorf("secret engine %q is not known", ref.Engine)
	}
}

func (r *Reader) fromVault(ctx context.Context, ref Reference) ([]byte, error) {
	if r.vault == nil {
		return nil, errors.New("no Vault is configured; set secrets.vault.enabled, url and authMethod")
	}
	value, err := r.vault.read(ctx, ref.get("e"), ref.get("p"), ref.get("k"))
	if err != nil {
		return nil, err
	}
	if ref.get("b") == "true" {
		decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
		if err != nil {
			return nil, errors.New("b:true, but the value is not base64")
		}
		return decoded, nil
	}
	return []byte(value), nil
}

// keyed takes the key that the reference names, if any, out of what was read.
func (r *Reader) keyed(ref Reference, take func(content []byte, key string) ([]byte, error)) func([]byte, error) ([]byte, error) {
	return func(content []byte, err error) ([]byte, error) {
		if err != nil || ref.get("k") == "" {
			return content, err
		}
		return take(content, ref.get("k"))
	}
}

// yamlKey follows a dotted path.
func yamlKey(content []byte, key string) ([]byte, error) {
	var at any
	if err := yaml.Unmarshal(content, &at); err != nil {
		return nil, errors.New("it is not YAML, so it has no keys") // the parser's error quotes the content
	}
	for _, name := range strings.Split(key, ".") {
		section, ok := at.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("key %s: %w", key, ErrNotFound)
		}
		if at, ok = section[name]; !ok {
			return nil, fmt.Errorf("key %s: %w", key, ErrNotFound)
		}
	}
	return text(at, key)
}

func jsonKey(content []byte, key string) ([]byte, error) {
	var all map[string]any
	if err := json.Unmarshal(content, &all); err != nil {
		return nil, errors.New("it is not a JSON object, so it has no keys")
	}
	value, ok := all[key]
	if !ok {
		return nil, fmt.Errorf("key %s: %w", key, ErrNotFound)
	}
	return text(value, key)
}

func text(value any, key string) ([]byte, error) {
	switch v := value.(type) {
	case string:
		return []byte(v), nil
	case nil:
		return nil, fmt.Errorf("key %s: it has no value", key)
	default:
		return json.Marshal(v)
	}
}
