package testenv

import (
	"context"
	"encoding/json"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// serviceAccountKubeconfig makes a service account with all rights and a kubeconfig of it: each program that reaches a
// cluster has credentials of its own.
func serviceAccountKubeconfig(ctx context.Context, adminKubeconfig, name string) ([]byte, error) {
	config, err := clientcmd.BuildConfigFromFlags("", adminKubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	meta := metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceSystem}
	_, err = client.CoreV1().ServiceAccounts(meta.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: meta.Namespace}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	// As long as an environment may live.
	seconds := int64((30 * 24 * time.Hour).Seconds())
	token, err := client.CoreV1().ServiceAccounts(meta.Namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return tokenKubeconfig(config, name, token.Status.Token)
}

// ServiceAccountKubeconfig makes a service account with all rights in kube-system of an administrator's cluster, and returns a kubeconfig of it,
// for tests whose accounts need credentials of their own.
func ServiceAccountKubeconfig(ctx context.Context, adminKubeconfig, name string) ([]byte, error) {
	return serviceAccountKubeconfig(ctx, adminKubeconfig, name)
}

// tokenKubeconfig is a kubeconfig with that token and everything inline.
func tokenKubeconfig(config *rest.Config, user, token string) ([]byte, error) {
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, err
	}
	cluster := map[string]any{"server": config.Host}
	if len(config.CAData) > 0 {
		cluster["certificate-authority-data"] = config.CAData // base64, as encoding/json writes bytes
	}
	// JSON is YAML.
	return json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "cluster",
		"clusters": []any{map[string]any{"name": "cluster", "cluster": cluster}},
		"users":    []any{map[string]any{"name": user, "user": map[string]any{"token": token}}},
		"contexts": []any{map[string]any{"name": "cluster", "context": map[string]any{"cluster": "cluster", "user": user}}},
	}, "", "  ")
}
