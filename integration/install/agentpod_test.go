package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	appsv1 "k8s.io/api/apps/v1"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
	"github.com/fairlead/fairlead/testenv"
)

// programs builds our programs once for all tests: what `make build` makes.
var programs = sync.OnceValues(func() (map[string][]string, error) {
	directory := filepath.Join(scratch, "programs")
	all := map[string][]string{}
	for image, source := range map[string]string{
		"fairlead-agent": "./agent/cmd/fairlead-agent", "fairlead-bridge": "./bridge/cmd/fairlead-bridge", "fairlead": "./bridge/cmd/fairlead",
		"clouddriver-plugin": "./plugin-descriptor/cmd/plugin-copy", "plugin-release": "./plugin-descriptor/cmd/plugin-release",
	} {
		all[image] = []string{filepath.Join(directory, image)}
		build := exec.Command("go", "build", "-C", "../..", "-o", all[image][0], source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
	}
	return all, nil
})

// scratch is for what all tests share.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "fairlead-install-"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// within bounds a step.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// enrol makes an enrolment token at a bridge.
func enrol(t *testing.T, client adminv1connect.AdminServiceClient, accounts ...string) (token, pin string) {
	t.Helper()
	made, err := client.CreateToken(within(t, time.Minute), connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: accounts, Description: t.Name()}))
	must(t, err)
	return made.Msg.GetToken(), made.Msg.GetCaPin()
}

// agentPod is the agent of some manifests.
type agentPod struct {
	*Pod

	t         *testing.T
	container *corev1.Container
	log       *log
}

// log is a process's output.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serviceAccountKubeconfig is a kubeconfig with a token of a service account: what its pod would have been given.
func serviceAccountKubeconfig(t *testing.T, env *testenv.Env, namespace, name string) []byte {
	t.Helper()
	kube, err := env.Kube(0)
	must(t, err)
	made, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, &authv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	config, err := clientcmd.LoadFromFile(env.Clusters[0].Kubeconfig)
	must(t, err)
	must(t, clientcmd.ResolveLocalPaths(config))
	user := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo]
	*user = *user.DeepCopy()
	user.ClientCertificate, user.ClientKey, user.ClientCertificateData, user.ClientKeyData, user.Token = "", "", nil, nil, made.Status.Token
	content, err := clientcmd.Write(*config)
	must(t, err)
	return content
}

// newAgentPod prepares the pod of the agent's Deployment (or Job). Accounts with serviceAccount: true get a kubeconfig with the service
// account's token, since only a pod finds one by itself.
func newAgentPod(t *testing.T, env *testenv.Env, all []*object, template corev1.PodTemplateSpec, namespace string) *agentPod {
	t.Helper()
	built, err := programs()
	must(t, err)
	health, metrics := testenv.FreePort(t), testenv.FreePort(t)
	dir := t.TempDir()
	a := &agentPod{t: t, log: &log{}, container: &template.Spec.Containers[0]}
	a.Pod = &Pod{Spec: template.Spec, Namespace: namespace, Objects: all, Dir: dir, Programs: built, Ports: map[int32]int{8082: health, 8008: metrics}}
	a.Edit = func(name string, content []byte) ([]byte, error) {
		if name != "fairlead-agent.yml" {
			return content, nil
		}
		config := map[string]any{}
		if err := yaml.UnmarshalStrict(content, &config); err != nil {
			return nil, err
		}
		config["server"] = map[string]any{"host": "127.0.0.1", "port": health}
		config["prometheus"] = map[string]any{"enabled": true, "port": metrics}
		kubernetes, _ := config["kubernetes"].(map[string]any)
		accounts, _ := kubernetes["accounts"].([]any)
		for _, entry := range accounts {
			account, _ := entry.(map[string]any)
			if account["serviceAccount"] != true {
				continue
			}
			file := filepath.Join(dir, "service-account.kubeconfig")
			if err := os.WriteFile(file, serviceAccountKubeconfig(t, env, namespace, template.Spec.ServiceAccountName), 0o600); err != nil {
				return nil, err
			}
			delete(account, "serviceAccount")
			account["kubeconfigFile"] = file
		}
		return yaml.Marshal(config)
	}
	must(t, a.Prepare())
	return a
}

// run starts the agent and waits until its readiness probe succeeds.
func (a *agentPod) run() {
	a.t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(a.t.Context()))
	cmd, err := a.Command(ctx, a.container, a.log)
	must(a.t, err)
	must(a.t, cmd.Start())
	a.t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // ended by us
		if a.t.Failed() {
			a.t.Logf("end of the agent's log:\n%s", tail(a.log.String()))
		}
	})
	must(a.t, testenv.Wait(within(a.t, time.Minute), func(ctx context.Context) error { return a.Probe(ctx, a.container, a.container.ReadinessProbe) }))
	must(a.t, a.Probe(a.t.Context(), a.container, a.container.LivenessProbe))
}

func tail(text string) string {
	return text[max(0, len(text)-6000):]
}

// answer is what a kubectl command line through bridge and agent gave.
type answer struct {
	stdout, stderr string
	code           int
}

// kubectl runs a command line on an account, as an operator would.
func kubectl(t *testing.T, bridge testenv.Bridge, account string, stdin string, arguments ...string) answer {
	t.Helper()
	built, err := programs()
	must(t, err)
	cmd := exec.CommandContext(within(t, time.Minute), built["fairlead"][0], append([]string{"--bridge", bridge.Admin, "--token-file", bridge.AdminTokenFile, "kubectl", account, "--"}, arguments...)...)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// accountNames are those that a bridge knows.
func accountNames(t *testing.T, client adminv1connect.AdminServiceClient) []string {
	t.Helper()
	list, err := client.ListAccounts(within(t, time.Minute), connect.NewRequest(&adminv1.ListAccountsRequest{}))
	must(t, err)
	var names []string
	for _, a := range list.Msg.GetAccounts() {
		names = append(names, a.GetName())
	}
	return names
}

func deploymentOf(t *testing.T, all []*object, name string) *appsv1.Deployment {
	t.Helper()
	return find[appsv1.Deployment](t, all, "Deployment", name)
}
