package secrets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("internal/poll.runtime_pollWait"), // idle connections of clients that live as long as the process
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// server is a real Vault, and what it was asked.
type server struct {
	*testenv.VaultServer

	t     *testing.T
	front *httptest.Server

	mu     sync.Mutex
	asked  map[string]int
	header http.Header
	away   bool
}

// newServer starts a Vault behind a proxy that counts requests and can be away.
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{VaultServer: testenv.Vault(t), t: t, asked: map[string]int{}}
	behind, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	s.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked[r.URL.Path]++
		s.header = r.Header.Clone()
		away := s.away
		s.mu.Unlock()
		if away {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.front.Close)
	return s
}

func (s *server) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked["/v1/"+path]
}

func (s *server) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *server) call(method, path string, body any) map[string]any {
	s.t.Helper()
	said, err := s.Call(s.t.Context(), method, path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return said
}

// put writes a secret to the kv engine of version 2.
func (s *server) put(path, key, value string) {
	s.t.Helper()
	s.call("POST", "secret/data/"+path, map[string]any{"data": map[string]any{key: value}})
}

func (s *server) root() string {
	s.t.Helper()
	content, err := os.ReadFile(s.TokenFile)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

// reader reads with a login, until the test ends.
func (s *server) reader(login Login, edit func(*Vault)) *Reader {
	s.t.Helper()
	v := Vault{URL: s.front.URL, NoProxy: true, Login: login}
	if edit != nil {
		edit(&v)
	}
	r, err := New(Options{Vault: &v})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	s.t.Cleanup(func() { stop(); running.Wait() })
	return r
}

// policy lets whoever has it read everything of secret/ and kv1/.
func (s *server) policy() {
	s.t.Helper()
	s.call("PUT", "sys/policies/acl/agent", map[string]any{"policy": `path "secret/data/*" { capabilities = ["read"] } path "kv1/*" { capabilities = ["read"] }`})
}

func ref(t *testing.T, text string) Reference {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *server) reads(r *Reader, reference, want string) {
	s.t.Helper()
	got, err := r.Read(s.t.Context(), ref(s.t, reference))
	if err != nil || string(got) != want {
		s.t.Errorf("%s: %q %v, want %q", reference, got, err, want)
	}
}

func TestBothVersionsOfKV(t *testing.T) {
	s := newServer(t)
	s.call("POST", "sys/mounts/kv1", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	s.call("POST", "kv1/a/b", map[string]any{"config": "of one", "number": 7})
	s.put("a/b", "config", "of two")
	s.put("coded", "config", "b2Yg\ndHdv")
	r := s.reader(Login{Method: MethodToken, Secret: s.root()}, nil)
	for range 2 {
		s.reads(r, "encrypted:vault!e:kv1!p:a/b!k:config", "of one")
		s.reads(r, "encrypted:vault!e:kv1!p:a/b!k:number", "7")
		s.reads(r, "encryptedFile:vault!e:secret!p:a/b!k:config", "of two")
		s.reads(r, "encryptedFile:vault!e:secret!p:data/a/b!k:config", "of two")
		s.reads(r, "encryptedFile:vault!e:secret!p:coded!k:config!b:true", "of two")
	}
	if n := s.count("sys/internal/ui/mounts/secret"); n != 1 {
		t.Errorf("the engine's version was asked for %d times", n)
	}
	s.call("DELETE", "secret/data/a/b", nil)
	for reference, want := range map[string]string{
		"encrypted:vault!e:secret!p:a/b!k:config":     "not found",
		"encrypted:vault!e:secret!p:nowhere!k:config": "not found",
		"encrypted:vault!e:kv1!p:nowhere!k:config":    "not found",
		"encrypted:vault!e:kv1!p:a/b!k:other":         "key other: not found",
		"encrypted:vault!e:nomount!p:a/b!k:other":     "vault answers 403", // it does not say what there is not
		"encrypted:vault!e:kv1!p:a/b!k:config!b:true": "not base64",
	} {
		if _, err := r.Read(t.Context(), ref(t, reference)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "of one") {
			t.Errorf("%s: %v, want %s", reference, err, want)
		}
	}
}

func TestEveryMethodLogsInOnceAndReads(t *testing.T) {
	s := newServer(t)
	s.policy()
	s.put("x", "k", "value")
	s.call("POST", "sys/auth/userpass", map[string]any{"type": "userpass"})
	s.call("POST", "sys/auth/people", map[string]any{"type": "userpass"})
	for _, mount := range []string{"userpass", "people"} {
		s.call("POST", "auth/"+mount+"/users/agent", map[string]any{"password": "pass of " + mount, "policies": "agent"})
	}
	s.call("POST", "sys/auth/approle", map[string]any{"type": "approle"})
	s.call("POST", "auth/approle/role/agent", map[string]any{"policies": "agent"})
	role := s.call("GET", "auth/approle/role/agent/role-id", nil)["data"].(map[string]any)["role_id"].(string)
	secret := s.call("POST", "auth/approle/role/agent/secret-id", nil)["data"].(map[string]any)["secret_id"].(string)
	given := s.call("POST", "auth/token/create", map[string]any{"policies": []string{"agent"}, "ttl": "1h"})["auth"].(map[string]any)["client_token"].(string)
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, login := range map[string]Login{
		"token":              {Method: MethodToken, Secret: given},
		"token in a file":    {Method: MethodToken, TokenFile: file(given)},
		"userpass":           {Method: MethodUserpass, Username: "agent", Secret: "pass of userpass"},
		"userpass elsewhere": {Method: MethodUserpass, Username: "agent", SecretFile: file("pass of people"), Mount: "people"},
		"approle":            {Method: MethodAppRole, RoleID: role, Secret: secret},
		"approle with file":  {Method: MethodAppRole, RoleID: role, SecretFile: file(secret)},
		"kubernetes":         s.kubernetes(),
	} {
		t.Run(name, func(t *testing.T) {
			before := s.logins()
			r := s.reader(login, nil)
			for range 3 {
				s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "value")
			}
			if n := s.logins() - before; n != 1 {
				t.Errorf("logged in %d times", n)
			}
		})
	}
	if _, err := s.reader(Login{Method: MethodUserpass, Username: "agent", Secret: "wrong-password"}, nil).Read(t.Context(), ref(t, "encrypted:vault!e:secret!p:x!k:k")); err == nil ||
		!strings.Contains(err.Error(), "log in to Vault (USERPASS): vault answers 400: invalid username or password") || strings.Contains(err.Error(), "wrong-password") {
		t.Error(err)
	}
}

func (s *server) logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for path, count := range s.asked {
		if strings.Contains(path, "/login") || strings.HasSuffix(path, "/lookup-self") {
			n += count
		}
	}
	return n
}

// kubernetes lets a service account of a real cluster log in.
func (s *server) kubernetes() Login {
	t := s.t
	config, client := cluster(t)
	reviewer, agent := serviceAccount(t, client, "vault-reviewer"), serviceAccount(t, client, "vault-agent")
	_, err := client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "vault-reviewer-"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "vault-reviewer", Namespace: "default"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.call("POST", "sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	s.call("POST", "auth/kubernetes/config", map[string]any{"kubernetes_host": config.Host, "kubernetes_ca_cert": string(config.CAData), "token_reviewer_jwt": reviewer,
		"disable_iss_validation": true, "disable_local_ca_jwt": true})
	s.call("POST", "auth/kubernetes/role/fairlead", map[string]any{"bound_service_account_names": "vault-agent", "bound_service_account_namespaces": "default", "policies": "agent", "ttl": "1h"})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(agent), 0o600); err != nil {
		t.Fatal(err)
	}
	return Login{Method: MethodKubernetes, Role: "fairlead", TokenFile: file}
}

func cluster(t *testing.T) (*rest.Config, *kubernetes.Clientset) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", testenv.Kube(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return config, client
}

func serviceAccount(t *testing.T, client *kubernetes.Clientset, name string) string {
	t.Helper()
	if _, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestTokensAreRenewedAndReplacedAtTheEndOfTheirLife(t *testing.T) {
	s := newServer(t)
	s.policy()
	s.put("x", "k", "value")
	s.call("POST", "sys/auth/userpass", map[string]any{"type": "userpass"})
	s.call("POST", "auth/userpass/users/agent", map[string]any{"password": "p", "token_policies": "agent", "token_ttl": "2s", "token_max_ttl": "5s"})
	r := s.reader(Login{Method: MethodUserpass, Username: "agent", Secret: "p"}, nil)
	s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "value")
	eventually(t, "the token was renewed twice", func() bool { return s.count("auth/token/renew-self") >= 2 })
	eventually(t, "the agent has logged in again", func() bool { return s.count("auth/userpass/login/agent") >= 2 })
	s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "value")
}

func TestATokenThatWasRevokedIsReplacedAtOnce(t *testing.T) {
	s := newServer(t)
	s.policy()
	s.put("x", "k", "value")
	s.call("POST", "sys/auth/userpass", map[string]any{"type": "userpass"})
	s.call("POST", "auth/userpass/users/agent", map[string]any{"password": "p", "token_policies": "agent"})
	r := s.reader(Login{Method: MethodUserpass, Username: "agent", Secret: "p"}, nil)
	s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "value")
	s.call("POST", "sys/leases/revoke-prefix/auth/userpass/login/agent", nil)
	s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "value")
	if n := s.count("auth/userpass/login/agent"); n != 2 {
		t.Errorf("logged in %d times", n)
	}
}

func TestARotatedSecretIsReadAndAVaultThatIsAwayIsAnError(t *testing.T) {
	s := newServer(t)
	s.put("x", "k", "one")
	r := s.reader(Login{Method: MethodToken, Secret: s.root()}, nil)
	s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "one")
	s.put("x", "k", "two")
	s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "two")
	s.setAway(true)
	if got, err := r.Read(t.Context(), ref(t, "encrypted:vault!e:secret!p:x!k:k")); err == nil {
		t.Errorf("read %q while Vault is away", got)
	}
	s.setAway(false)
	s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "two")
}

func TestVaultIsRecognisedByItsCA(t *testing.T) {
	s := newServer(t)
	s.put("x", "k", "value")
	with := func(tls VaultTLS) *Reader {
		return s.reader(Login{Method: MethodToken, Secret: s.root()}, func(v *Vault) { v.URL, v.TLS = s.TLSURL, tls })
	}
	s.reads(with(VaultTLS{CAFile: s.CAFile}), "encrypted:vault!e:secret!p:x!k:k", "value")
	s.reads(with(VaultTLS{CAFile: s.CAFile, ServerName: "localhost"}), "encrypted:vault!e:secret!p:x!k:k", "value")
	s.reads(with(VaultTLS{InsecureSkipVerify: true}), "encrypted:vault!e:secret!p:x!k:k", "value")
	for _, tls := range []VaultTLS{{}, {CAFile: s.CAFile, ServerName: "other.example.com"}} {
		if _, err := with(tls).Read(t.Context(), ref(t, "encrypted:vault!e:secret!p:x!k:k")); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%+v: %v", tls, err)
		}
	}
}

func TestTheNamespaceIsSent(t *testing.T) {
	s := newServer(t)
	s.put("x", "k", "value")
	t.Setenv("VAULT_NAMESPACE", "of the environment")
	t.Setenv("VAULT_TOKEN", "of the environment")
	r := s.reader(Login{Method: MethodToken, Secret: s.root()}, func(v *Vault) { v.Namespace = "admin/team" })
	// This Vault has no namespaces: what is sent is all that can be seen here.
	s.reads(r, "encrypted:vault!e:secret!p:x!k:k", "value")
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.header.Get("X-Vault-Namespace"); strings.Trim(got, "/") != "admin/team" {
		t.Errorf("namespace %q", got)
	}
}

func TestAVaultThatDoesNotAnswerEndsWithTheContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	r, err := New(Options{Vault: &Vault{URL: "http://" + listener.Addr().String(), NoProxy: true, Login: Login{Method: MethodToken, Secret: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("enough")) })
	if _, err := r.Read(ctx, ref(t, "encrypted:vault!e:secret!p:x!k:k")); err == nil {
		t.Error("read from nowhere")
	}
}

func TestSecretsOfKubernetes(t *testing.T) {
	config, client := cluster(t)
	namespace := fmt.Sprintf("secrets-%d", time.Now().UnixNano())
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"config": []byte("value")}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	of := func(config *rest.Config, namespace string) *Reader {
		r, err := New(Options{InCluster: func() (*rest.Config, string, error) { return config, namespace, nil }})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for reference, in := range map[string]string{"encryptedFile:k8s!n:s!k:config": namespace, "encrypted:k8s!ns:" + namespace + "!n:s!k:config": "default"} {
		if got, err := of(config, in).Read(t.Context(), ref(t, reference)); err != nil || string(got) != "value" {
			t.Errorf("%s: %q %v", reference, got, err)
		}
	}
	nobody := rest.AnonymousClientConfig(config)
	nobody.BearerToken = serviceAccount(t, client, "secrets-nobody")
	wrong := map[string]*Reader{
		"encrypted:k8s!n:s!k:other":      of(config, namespace),
		"encrypted:k8s!n:absent!k:other": of(config, namespace),
		"encrypted:k8s!n:s!k:config":     of(nobody, namespace),
	}
	for _, reference := range slices.Sorted(maps.Keys(wrong)) {
		_, err := wrong[reference].Read(t.Context(), ref(t, reference))
		if err == nil || strings.Contains(err.Error(), "value") {
			t.Errorf("%s: %v", reference, err)
		}
		t.Log(err)
	}
	if _, err := wrong["encrypted:k8s!n:absent!k:other"].Read(t.Context(), ref(t, "encrypted:k8s!n:absent!k:x")); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
