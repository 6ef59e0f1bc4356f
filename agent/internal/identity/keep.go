package identity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
)

// Keep is where a key and its certificate outlive the process, as PEM. Its String names the place for people.
type Keep interface {
	fmt.Stringer
	// Load returns what is there, nil if nothing is.
	Load(ctx context.Context) ([]byte, error)
	// Offer stores a text unless there is one already, and returns the one that is there.
	Offer(ctx context.Context, text []byte) ([]byte, error)
	// Save replaces what is there.
	Save(ctx context.Context, text []byte) error
}

// FileKeep keeps in a file that its owner alone can read.
type FileKeep string

// String implements Keep.
func (f FileKeep) String() string { return "clouddriver.auth.certificateFile " + string(f) }

// Load implements Keep.
func (f FileKeep) Load(context.Context) ([]byte, error) {
	info, err := os.Stat(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("every user may read it (mode %04o): chmod 0600 it", info.Mode().Perm())
	}
	return os.ReadFile(string(f))
}

// Offer implements Keep.
func (f FileKeep) Offer(ctx context.Context, text []byte) ([]byte, error) {
	temporary, err := f.write(text)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(temporary) }()
	// A link, so that of several processes one wins and nobody reads half of it.
	if err := os.Link(temporary, string(f)); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return f.Load(ctx)
}

// Save implements Keep.
func (f FileKeep) Save(_ context.Context, text []byte) error {
	temporary, err := f.write(text)
	if err != nil {
		return err
	}
	return os.Rename(temporary, string(f))
}

func (f FileKeep) write(text []byte) (string, error) {
	temporary, err := os.CreateTemp(filepath.Dir(string(f)), ".fairlead-certificate-*") // made with mode 0600
	if err != nil {
		return "", err
	}
	_, err = temporary.Write(text)
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return "", errors.Join(err, os.Remove(temporary.Name()))
	}
	return temporary.Name(), nil
}

// secretField holds the text in a Secret.
const secretField = "certificate.pem"

// SecretKeep keeps in a Secret, which the agent's service account must be allowed to get, create and update.
type SecretKeep struct {
	secrets         typedv1.SecretInterface
	namespace, name string
}

// NewSecretKeep returns a place in a Secret of a cluster.
func NewSecretKeep(config *rest.Config, namespace, name string) (*SecretKeep, error) {
	client, err := typedv1.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &SecretKeep{secrets: client.Secrets(namespace), namespace: namespace, name: name}, nil
}

// String implements Keep.
func (s *SecretKeep) String() string {
	return "clouddriver.auth.certificateSecret " + s.namespace + "/" + s.name
}

// Load implements Keep.
func (s *SecretKeep) Load(ctx context.Context) ([]byte, error) {
	secret, err := s.secrets.Get(ctx, s.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, s.explain(err)
	}
	return secret.Data[secretField], nil
}

// Offer implements Keep.
func (s *SecretKeep) Offer(ctx context.Context, text []byte) ([]byte, error) {
	kept := text
	err := s.change(ctx, func(had []byte) []byte {
		if kept = text; len(had) > 0 {
			kept = had
		}
		return kept
	})
	return kept, err
}

// Save implements Keep.
func (s *SecretKeep) Save(ctx context.Context, text []byte) error {
	return s.change(ctx, func([]byte) []byte { return text })
}

// change makes the Secret hold what next returns for what it holds; it is asked again when somebody else changed the Secret meanwhile.
func (s *SecretKeep) change(ctx context.Context, next func(had []byte) []byte) error {
	clash := func(err error) bool {
		return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
	}
	return s.explain(retry.OnError(retry.DefaultBackoff, clash, func() error {
		secret, err := s.secrets.Get(ctx, s.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.name, Namespace: s.namespace}, Data: map[string][]byte{secretField: next(nil)}}
			_, err = s.secrets.Create(ctx, secret, metav1.CreateOptions{})
			return err
		}
		if err != nil {
			return err
		}
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[secretField] = next(secret.Data[secretField])
		_, err = s.secrets.Update(ctx, secret, metav1.UpdateOptions{})
		return err
	}))
}

func (s *SecretKeep) explain(err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w; the agent's service account needs a Role with the verbs get and update on this Secret, and create on secrets", err)
	}
	return err
}
