package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/testenv"
)

// vaultPlace is a place whose account's kubeconfig is in a real Vault, for a real cluster.
type vaultPlace struct {
	*place

	admin  *rest.Config
	client *kubernetes.Clientset
	vault  *testenv.VaultServer
	away   atomic.Bool
}

func newVaultPlace(t *testing.T) *vaultPlace {
	v := &vaultPlace{place: newPlace(t), vault: testenv.Vault(t)}
	var err error
	if v.admin, err = clientcmd.BuildConfigFromFlags("", testenv.Kube(t).Kubeconfig); err != nil {
		t.Fatal(err)
	}
	if err := rest.LoadTLSFiles(v.admin); err != nil {
		t.Fatal(err)
	}
	if v.client, err = kubernetes.NewForConfig(v.admin); err != nil {
		t.Fatal(err)
	}
	behind, err := url.Parse(v.vault.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v.away.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	root, err := os.ReadFile(v.vault.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("VAULT_TOKEN", string(root))
	v.write("armory-agent.yml", fmt.Sprintf(`
secrets: {refreshSeconds: 1, vault: {enabled: true, url: '%s', authMethod: TOKEN, noProxy: true}}
kubernetes: {accounts: [{name: prod, kubeconfigFile: 'encryptedFile:vault!e:secret!p:prod!k:kubeconfig'}]}
`, front.URL))
	return v
}

// put gives the account a new service account, and writes its kubeconfig to Vault.
func (v *vaultPlace) put(user string) {
	v.t.Helper()
	ctx, meta := v.t.Context(), metav1.ObjectMeta{Name: user, Namespace: "default"}
	if _, err := v.client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		v.t.Fatal(err)
	}
	if _, err := v.client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: user, Namespace: "default"}}}, metav1.CreateOptions{}); err != nil {
		v.t.Fatal(err)
	}
	token, err := v.client.CoreV1().ServiceAccounts("default").CreateToken(ctx, user, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		v.t.Fatal(err)
	}
	kubeconfig, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{"server": v.admin.Host, "certificate-authority-data": v.admin.CAData}}},
		"users":    []any{map[string]any{"name": "u", "user": map[string]any{"token": token.Status.Token}}},
		"contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "c", "user": "u"}}},
	})
	if err != nil {
		v.t.Fatal(err)
	}
	if _, err := v.vault.Call(ctx, "POST", "secret/data/prod", map[string]any{"data": map[string]any{"kubeconfig": string(kubeconfig)}}); err != nil {
		v.t.Fatal(err)
	}
}

// asks reads something of the cluster as an operation would.
func (v *vaultPlace) asks() error {
	v.fleet.mu.Lock()
	cluster := v.fleet.members["prod"].cluster
	v.fleet.mu.Unlock()
	ctx, cancel := context.WithTimeout(v.t.Context(), 10*time.Second)
	defer cancel()
	config, err := cluster.Client(ctx).ToRESTConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	return err
}

func TestAKubeconfigInVaultIsRotatedWithoutARestartAndOutlivesVault(t *testing.T) {
	v := newVaultPlace(t)
	v.put("rotation-one")
	v.start()
	v.eventually("the account is served", func() bool { return len(v.records()) == 1 })
	before := v.records()["prod"]
	if err := v.asks(); err != nil {
		t.Fatal(err)
	}

	v.put("rotation-two")
	if err := v.client.CoreV1().ServiceAccounts("default").Delete(t.Context(), "rotation-one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	v.eventually("the new credentials are in use", func() bool { return v.asks() == nil })

	v.away.Store(true)
	v.eventually("the problem is told", func() bool { return v.fleet.all()[0].state() == "troubled" })
	if err := v.asks(); err != nil {
		t.Error("while Vault is away:", err)
	}
	if text := v.fleet.all()[0].problem; !strings.Contains(text, "encryptedFile:vault!e:secret!p:prod!k:kubeconfig") {
		t.Error(text)
	}
	v.away.Store(false)
	v.put("rotation-three")
	if err := v.client.CoreV1().ServiceAccounts("default").Delete(t.Context(), "rotation-two", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	v.eventually("the newest credentials are in use", func() bool { return v.asks() == nil && v.fleet.all()[0].state() == "served" })
	if v.records()["prod"] != before {
		t.Error("the account was started anew")
	}
}

func TestAnAccountWhoseVaultIsAwayAtTheStartComesWithVault(t *testing.T) {
	v := newVaultPlace(t)
	v.put("late")
	v.away.Store(true)
	v.start()
	v.eventually("the problem is told", func() bool {
		all := v.fleet.all()
		return all[0].state() == "waiting" && strings.Contains(all[0].problem, "log in to Vault")
	})
	v.away.Store(false)
	v.eventually("the account is served", func() bool { return len(v.records()) == 1 && v.asks() == nil })
}

func TestAnotherVaultIsFoundWithoutARestart(t *testing.T) {
	v := newVaultPlace(t)
	v.put("moving")
	content, err := os.ReadFile(v.file("armory-agent.yml"))
	if err != nil {
		t.Fatal(err)
	}
	v.write("armory-agent.yml", strings.Replace(string(content), "http://127.0.0.1", "http://nowhere.invalid:1/", 1))
	r := v.start()
	v.eventually("the problem is told", func() bool { return strings.Contains(v.fleet.all()[0].problem, "log in to Vault") })
	v.write("armory-agent.yml", string(content))
	v.eventually("the account is served", func() bool { return len(v.records()) == 1 && v.asks() == nil })
	if s := r.shown(); len(s.AfterRestart) > 0 {
		t.Errorf("%+v", s)
	}
}
