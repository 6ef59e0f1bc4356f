package credentials

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/agent/internal/secrets"
)

// Spec is where an account's credentials are: exactly one of InCluster, File, Secret and Inline.
type Spec struct {
	// InCluster: the pod's service account.
	InCluster bool
	// File is a kubeconfig file.
	File string
	// Secret is a kubeconfig.
	Secret *secrets.Reference
	// Inline is a kubeconfig itself; it may name no files and run no programs.
	Inline []byte
	// Context of the kubeconfig; "": its current one.
	Context string
}

// String names the place.
func (s Spec) String() string {
	switch {
	case s.InCluster:
		return "serviceAccount"
	case s.Inline != nil:
		return "kubeconfig"
	case s.Secret != nil:
		return "kubeconfig of " + s.Secret.String()
	default:
		return "kubeconfigFile " + s.File
	}
}

// How often sources are looked at. A file's look costs a few system calls; a secret's a request.
const (
	fileInterval   = 2 * time.Second
	secretInterval = 30 * time.Second
)

// source reads an account's credentials.
type source struct {
	spec    Spec
	policy  Policy
	secrets *secrets.Reader
	every   time.Duration

	// seen is what the files looked like when they were read last, watched which they are.
	seen    string
	watched []string
}

// read returns the Access as it is now; nil: nothing has changed since the last time. It is called by one goroutine.
func (s *source) read(ctx context.Context) (*Access, error) {
	// Before reading: what changes meanwhile looks different the next time.
	looks := ""
	if s.spec.Inline != nil && s.seen != "" {
		return nil, nil //nolint:nilnil // see above
	}
	if s.spec.Secret == nil && s.spec.Inline == nil {
		if looks = look(s.watched); looks != "" && looks == s.seen {
			return nil, nil //nolint:nilnil // see above
		}
	}
	access, files, err := s.load(ctx)
	if !slices.Equal(files, s.watched) {
		looks = ""
	}
	if s.spec.Inline != nil && err == nil {
		looks = "inline"
	}
	s.watched, s.seen = files, looks
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.spec, err)
	}
	return access, nil
}

// load reads everything; it returns the files that it read, also when it failed.
func (s *source) load(ctx context.Context) (*Access, []string, error) {
	switch {
	case s.spec.InCluster:
		return s.inCluster()
	case s.spec.Inline != nil:
		access, err := s.policy.inline(s.spec.Inline, s.spec.Context)
		return access, nil, err
	case s.spec.Secret != nil:
		content, err := s.secrets.Read(ctx, *s.spec.Secret)
		if err != nil {
			return nil, nil, err
		}
		access, _, err := s.policy.parse(content, s.spec.Context, "")
		if err != nil {
			return nil, nil, err
		}
		access.Stamp = stamp(content)
		return access, nil, nil
	}
	files := []string{s.spec.File}
	content, err := os.ReadFile(s.spec.File)
	if err != nil {
		return nil, files, err
	}
	access, named, err := s.policy.parse(content, s.spec.Context, filepath.Dir(s.spec.File))
	files = append(files, named...)
	if err != nil {
		return nil, files, err
	}
	// Of what was read, not of the file again: it may be another one by now, which would pass for known when it is read. What it names is read by
	// client-go, later.
	access.Stamp, err = stampFiles(named, content)
	return access, files, err
}

func (s *source) inCluster() (*Access, []string, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("this is not a pod with a service account: %w", err)
	}
	files := []string{config.BearerTokenFile, config.CAFile}
	made, err := stampFiles(files)
	return &Access{Config: config, Namespace: podNamespace(), Stamp: made}, files, err
}

// namespaceFile is what Kubernetes mounts into each pod.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

func podNamespace() string {
	if ns := os.Getenv("POD_NAMESPACE"); ns != "" {
		return ns
	}
	if content, err := os.ReadFile(namespaceFile); err == nil {
		if ns := strings.TrimSpace(string(content)); ns != "" {
			return ns
		}
	}
	return "default"
}

func stamp(contents ...[]byte) string {
	sum := sha256.New()
	for _, c := range contents {
		_, _ = fmt.Fprintf(sum, "%d:", len(c))
		_, _ = sum.Write(c)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func stampFiles(files []string, contents ...[]byte) (string, error) {
	for _, f := range files {
		if f == "" {
			continue
		}
		content, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		contents = append(contents, content)
	}
	return stamp(contents...), nil
}

// settled is how old a file must be for its time to say that it has not changed since: a later write gets a later time.
const settled = 2 * time.Second

// look tells files apart without reading them; "": read them. Symbolic links are followed, so that a swap of a mounted volume shows.
func look(files []string) string {
	var b strings.Builder
	for _, f := range files {
		if f == "" {
			continue
		}
		info, err := os.Stat(f)
		if err != nil || time.Since(info.ModTime()) < settled {
			return ""
		}
		at, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return ""
		}
		_, _ = fmt.Fprintf(&b, "%d %d %d %d\n", at.Dev, at.Ino, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
