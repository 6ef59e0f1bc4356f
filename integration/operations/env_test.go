// Package operations compares what is done through a bridge and an agent with what a real kubectl does, and what Clouddriver does on an
// agent's account with what it does on a stock account of the same cluster.
//
// The differential suite (TestCommandsThroughBridgeAndAgent) runs the case files of testdata/cases: command lines and standard
// input, first-hand through kubectl and through plugin endpoint, bridge and agent, from equal state. What must differ between any two runs
// is masked (mask_test.go) and nothing else.
package operations

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

func TestMain(m *testing.M) {
	// Idle connections to servers that have ended are nobody's goroutines.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

// limited is the second account of the agent: it may read ConfigMaps, Services and Pods and make ConfigMaps, and nothing else.
const limited = "limited"

// chain is an environment with two accounts, and for each the kubeconfig that its agent uses.
type chain struct {
	*testenv.Env

	kubeconfigs map[string]string // by account
	home        string            // of kubectl: its cache of discovery
}

// up brings an environment without Clouddriver up and gives its agent the limited account.
func up(t *testing.T) *chain {
	t.Helper()
	env := testenv.UpForTest(t, testenv.Options{Clouddriver: testenv.NoClouddriver})
	dir := filepath.Dir(env.Agents[0].Config)
	c := &chain{Env: env, home: t.TempDir(), kubeconfigs: map[string]string{
		env.Clusters[0].Account: filepath.Join(dir, "kubeconfig"),
		limited:                 filepath.Join(dir, "limited-kubeconfig"),
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must(t, c.makeLimitedAccess(ctx))
	must(t, c.addLimitedAccount(ctx))
	must(t, env.Restart(ctx, "agent", 0, false))
	must(t, testenv.Wait(ctx, c.accountsConnected))
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeLimitedAccess makes a service account that may do little, and its kubeconfig.
func (c *chain) makeLimitedAccess(ctx context.Context) error {
	kube, err := c.Kube(0)
	if err != nil {
		return err
	}
	meta := metav1.ObjectMeta{Name: "fairlead-limited", Namespace: metav1.NamespaceSystem}
	if _, err := kube.CoreV1().ServiceAccounts(meta.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		return err
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: meta.Name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps", "services", "pods"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create"}},
	}}
	if _, err := kube.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := kube.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: meta.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: meta.Name, Namespace: meta.Namespace}},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	token, err := kube.CoreV1().ServiceAccounts(meta.Namespace).CreateToken(ctx, meta.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(c.kubeconfigs[c.Clusters[0].Account])
	if err != nil {
		return err
	}
	for _, user := range config.AuthInfos {
		user.Token = token.Status.Token
	}
	return clientcmd.WriteToFile(*config, c.kubeconfigs[limited])
}

// addLimitedAccount writes the account into the agent's configuration, and an enrolment token that covers both.
func (c *chain) addLimitedAccount(ctx context.Context) error {
	content, err := os.ReadFile(c.Agents[0].Config)
	if err != nil {
		return err
	}
	var config struct {
		Clouddriver struct {
			Auth struct {
				TokenFile string `yaml:"tokenFile"`
			}
			Rest map[string]any `yaml:",inline"`
		}
		Kubernetes struct {
			Accounts []any
		}
		Rest map[string]any `yaml:",inline"`
	}
	if err := yaml.Unmarshal(content, &config); err != nil {
		return err
	}
	config.Kubernetes.Accounts = append(config.Kubernetes.Accounts, map[string]any{
		"name": limited, "kubeconfigFile": c.kubeconfigs[limited], "kinds": []string{"configMap", "service", "pod"},
	})
	if content, err = yaml.Marshal(config); err != nil {
		return err
	}
	if err := os.WriteFile(c.Agents[0].Config, content, 0o600); err != nil {
		return err
	}
	client, err := c.Bridges[0].AdminClient()
	if err != nil {
		return err
	}
	answer, err := client.CreateToken(ctx, connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: []string{c.Clusters[0].Account, limited}}))
	if err != nil {
		return err
	}
	return os.WriteFile(config.Clouddriver.Auth.TokenFile, []byte(answer.Msg.GetToken()), 0o600)
}

func (c *chain) accountsConnected(ctx context.Context) error {
	client, err := c.Bridges[0].AdminClient()
	if err != nil {
		return err
	}
	answer, err := client.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
	if err != nil {
		return err
	}
	var connected []string
	for _, a := range answer.Msg.GetAccounts() {
		if a.GetState() == "connected" {
			connected = append(connected, a.GetName())
		}
	}
	slices.Sort(connected)
	if want := []string{c.Clusters[0].Account, limited}; !slices.Equal(connected, want) {
		return fmt.Errorf("accounts %s are connected, want %s", strings.Join(connected, ", "), strings.Join(want, ", "))
	}
	return nil
}
