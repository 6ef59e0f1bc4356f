package identity_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/fairlead/fairlead/agent/internal/identity"
	"github.com/fairlead/fairlead/testenv"
)

// TestACertificateIsKeptInASecretWithTheRightsThatTheDocumentationNames has a real API server decide about them.
func TestACertificateIsKeptInASecretWithTheRightsThatTheDocumentationNames(t *testing.T) {
	admin, err := clientcmd.BuildConfigFromFlags("", testenv.Kube(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	ctx, namespace := t.Context(), "keeps"
	create := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	create(err)
	for _, name := range []string{"agent", "stranger"} {
		_, err = kube.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		create(err)
	}
	_, err = kube.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "keep"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"certificate"}, Verbs: []string{"get", "update"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
	}}, metav1.CreateOptions{})
	create(err)
	_, err = kube.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "keep"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "keep"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: "agent"}}}, metav1.CreateOptions{})
	create(err)
	keep := func(name string) *identity.SecretKeep {
		t.Helper()
		token, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		create(err)
		access := rest.AnonymousClientConfig(admin)
		access.BearerToken = token.Status.Token
		k, err := identity.NewSecretKeep(access, namespace, "certificate")
		create(err)
		return k
	}
	ours := keep("agent")
	// Replicas that start together agree on one key.
	offers := make([]string, 4)
	var group sync.WaitGroup
	for i := range offers {
		group.Go(func() {
			kept, err := ours.Offer(ctx, []byte{byte('a' + i)})
			if err != nil {
				t.Error(err)
			}
			offers[i] = string(kept)
		})
	}
	group.Wait()
	for _, kept := range offers {
		if kept != offers[0] {
			t.Errorf("they keep %q", offers)
		}
	}
	create(ours.Save(ctx, nil))
	c := identity.NewCredential(ours, "agent")
	request, _, err := c.Request(ctx)
	create(err)
	create(c.Accept(ctx, time.Now(), sign(t, request), 24*time.Hour, 16*time.Hour))
	next := identity.NewCredential(keep("agent"), "agent")
	create(next.Load(ctx))
	if have, due := next.Certificate(time.Now()); have == nil || due {
		t.Error("the next process finds nothing")
	}
	if err := identity.NewCredential(keep("stranger"), "agent").Load(ctx); err == nil || !strings.Contains(err.Error(), "needs a Role with the verbs get and update on this Secret, and create on secrets") ||
		!strings.Contains(err.Error(), "clouddriver.auth.certificateSecret keeps/certificate") {
		t.Errorf("without rights: %v", err)
	}
}
