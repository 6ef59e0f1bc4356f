package secrets

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// podNamespace is what Kubernetes mounts into each pod.
const podNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

func inCluster() (*rest.Config, string, error) {
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, "", fmt.Errorf("k8s references are read with the pod's service account, and this is not a pod: %w", err)
	}
	content, err := os.ReadFile(podNamespace)
	return c, strings.TrimSpace(string(content)), err
}

// fromKubernetes asks the API server of the agent's own cluster.
func (r *Reader) fromKubernetes(ctx context.Context, ref Reference) ([]byte, error) {
	config, namespace, err := r.inCluster()
	if err != nil {
		return nil, err
	}
	if ns := ref.get("ns"); ns != "" {
		namespace = ns
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	address := server.JoinPath("api/v1/namespaces", url.PathEscape(namespace), "secrets", url.PathEscape(ref.get("n")))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largest))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		var status metav1.Status
		_ = json.Unmarshal(body, &status)
		if answer.StatusCode == http.StatusNotFound {
			return nil, fmt.Errorf("namespace %s: %w", namespace, ErrNotFound)
		}
		return nil, fmt.Errorf("namespace %s: %s: %s; the agent's service account needs `get` on this secret", namespace, answer.Status, status.Message)
	}
	var secret corev1.Secret
	if err := json.Unmarshal(body, &secret); err != nil {
		return nil, fmt.Errorf("namespace %s: the API server's answer is no Secret", namespace)
	}
	value, ok := secret.Data[ref.get("k")]
	if !ok {
		return nil, fmt.Errorf("key %s: %w", ref.get("k"), ErrNotFound)
	}
	return value, nil
}
