package install

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
	"github.com/fairlead/fairlead/testenv"
)

// TestAgentOnARealAPIServer installs the agent with Helm's and kustomize's own libraries on a real API server, and runs what was installed.
func TestAgentOnARealAPIServer(t *testing.T) {
	env := testenv.UpForTest(t, testenv.Options{Clouddriver: testenv.NoClouddriver})
	kube, err := env.Kube(0)
	must(t, err)
	client, err := env.Bridges[0].AdminClient()
	must(t, err)
	x := &agentWorld{env: env, kube: kube, admin: client, bridge: env.Bridges[0]}
	for _, ns := range []string{"shop", "pay"} {
		x.namespace(t, ns)
	}
	fixed, err := Objects([]byte(strings.ReplaceAll(fmt.Sprintf(web, "shop"), `"web"`, `"fixed"`)))
	must(t, err)
	x.apply(t, fixed)
	t.Run("levels", func(t *testing.T) {
		for _, level := range []string{"view", "deploy", "admin"} {
			t.Run(level, func(t *testing.T) { x.level(t, level) })
		}
		t.Run("namespaces", x.namespaced)
	})
	t.Run("life of a release", x.life)
	t.Run("kustomize", x.kustomized)
	t.Run("one file", x.oneFile)
	t.Run("commands of agent join", x.join)
	t.Run("operator", x.operator)
	t.Run("documentation", x.documentation)
	t.Run("what is applied beside Spinnaker", x.beside)
}

type agentWorld struct {
	env    *testenv.Env
	kube   kubernetes.Interface
	admin  adminv1connect.AdminServiceClient
	bridge testenv.Bridge
	// apiServer is how agents reach the API server, where that differs from how tests do.
	apiServer string
}

func (x *agentWorld) namespace(t *testing.T, name string) {
	t.Helper()
	_, err := x.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(t, err)
}

// helm is Helm's configuration for a namespace of the cluster.
func (x *agentWorld) helm(t *testing.T, namespace string) *action.Configuration {
	t.Helper()
	flags := genericclioptions.NewConfigFlags(true)
	flags.KubeConfig, flags.Namespace = &x.env.Clusters[0].Kubeconfig, &namespace
	config := &action.Configuration{}
	must(t, config.Init(flags, namespace, "secret", t.Logf))
	return config
}

// helmPatience bounds what Helm waits for; kwok makes pods ready within a second, on a busy machine within a minute.
const helmPatience = 5 * time.Minute

func (x *agentWorld) install(t *testing.T, namespace string, values map[string]any) *release.Release {
	t.Helper()
	install := action.NewInstall(x.helm(t, namespace))
	install.ReleaseName, install.Namespace, install.CreateNamespace = "agent", namespace, true
	install.Wait, install.Timeout = true, helmPatience
	made, err := install.RunWithContext(t.Context(), load(t), values)
	must(t, err)
	return made
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	loaded, err := loader.Load(chartDirectory)
	must(t, err)
	return loaded
}

// values are those of an agent that serves one account here.
func (x *agentWorld) values(t *testing.T, account, more string) map[string]any {
	t.Helper()
	token, pin := enrol(t, x.admin, account)
	return values(t, fmt.Sprintf(`
bridge: {address: %q, caPin: %q}
token: {value: %q}
accounts: [{name: %q, serviceAccount: true}]
%s`, x.bridge.Agents, pin, token, account, more))
}

// start runs the agent of a release.
func (x *agentWorld) start(t *testing.T, made *release.Release) *agentPod {
	t.Helper()
	all, err := Objects([]byte(made.Manifest))
	must(t, err)
	a := newAgentPod(t, x.env, all, deploymentOf(t, all, "agent-fairlead-agent").Spec.Template, made.Namespace)
	a.run()
	return a
}

const (
	web = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":%q},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"example.com/c"}]}}}}`
	key = `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"key","namespace":%q},"stringData":{"a":"b"}}`
	crd = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.%s.example.com"},"spec":{"group":"%[1]s.example.com","scope":"Namespaced","names":{"plural":"things","singular":"thing","kind":"Thing"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`
)

// expect runs operations and asserts which of them the API server allows.
func (x *agentWorld) expect(t *testing.T, account string, operations []operation) {
	t.Helper()
	// An agent is ready when it is connected; its accounts are accepted a moment later.
	must(t, testenv.Wait(within(t, time.Minute), func(context.Context) error {
		if names := accountNames(t, x.admin); !slices.Contains(names, account) {
			return fmt.Errorf("the bridge knows %v", names)
		}
		return nil
	}))
	for _, o := range operations {
		a := kubectl(t, x.bridge, account, o.stdin, strings.Fields(o.command)...)
		forbidden := a.code != 0 && strings.Contains(strings.ToLower(a.stderr), "forbidden")
		switch {
		case o.allowed && a.code != 0:
			t.Errorf("%s: %s: exit code %d: %s", account, o.command, a.code, a.stderr)
		case !o.allowed && !forbidden:
			t.Errorf("%s: %s is not forbidden: exit code %d: %s%s", account, o.command, a.code, a.stdout, a.stderr)
		}
	}
}

type operation struct {
	command, stdin string
	allowed        bool
}

// level installs the agent with a level of rights, and does what Clouddriver would.
func (x *agentWorld) level(t *testing.T, level string) {
	account := "level-" + level
	x.start(t, x.install(t, "fairlead-"+level, x.values(t, account, "rbac: {level: "+level+"}")))
	deploys, everything := level != "view", level == "admin"
	x.expect(t, account, []operation{
		{"-o json get namespace", "", true},
		{"-o json get deployment,replicaSet,pod,service,ingress.networking.k8s.io --namespace shop", "", true},
		{"-o json get job,cronJob,statefulSet,daemonSet,networkPolicy.networking.k8s.io --namespace shop", "", true},
		{"-o json get event --namespace shop", "", true},
		{"-o json get secret --namespace shop", "", deploys},
		{"-o json get clusterRole", "", everything},
		{"apply -o json -f -", fmt.Sprintf(web, "shop"), deploys},
		{"apply -o json -f -", fmt.Sprintf(key, "shop"), deploys},
		{"apply -o json -f -", fmt.Sprintf(crd, level), everything},
		{"scale --replicas=2 deployment/fixed --namespace shop", "", deploys},
		{"delete deployment web --namespace shop", "", deploys},
		{"delete secret key --namespace shop", "", deploys},
	})
}

// namespaced gives the agent Roles in one namespace, and nothing else.
func (x *agentWorld) namespaced(t *testing.T) {
	const account = "level-namespaces"
	token, pin := enrol(t, x.admin, account)
	x.start(t, x.install(t, "fairlead-namespaces", values(t, fmt.Sprintf(`
bridge: {address: %q, caPin: %q}
token: {value: %q}
accounts: [{name: %s, serviceAccount: true, onlyNamespacedResources: true, namespaces: [pay]}]
rbac: {level: deploy, namespaces: [pay]}`, x.bridge.Agents, pin, token, account))))
	x.expect(t, account, []operation{
		{"-o json get pod --namespace pay", "", true},
		{"-o json get pod --namespace shop", "", false},
		{"apply -o json -f -", fmt.Sprintf(web, "pay"), true},
		{"apply -o json -f -", fmt.Sprintf(web, "shop"), false},
		{"delete deployment web --namespace pay", "", true},
	})
}

// life is install, upgrade, rollback and uninstall.
func (x *agentWorld) life(t *testing.T) {
	const account, namespace = "released", "fairlead-life"
	first := x.install(t, namespace, x.values(t, account, "rbac: {level: view}"))
	a := x.start(t, first)
	x.expect(t, account, []operation{{"apply -o json -f -", fmt.Sprintf(web, "shop"), false}})

	upgrade := action.NewUpgrade(x.helm(t, namespace))
	upgrade.Namespace, upgrade.Wait, upgrade.Timeout, upgrade.ReuseValues = namespace, true, helmPatience, true
	second, err := upgrade.RunWithContext(t.Context(), "agent", load(t), map[string]any{"replicas": 2, "rbac": map[string]any{"level": "deploy"}})
	must(t, err)
	if second.Version != 2 || second.Info.Status != release.StatusDeployed {
		t.Errorf("upgraded: version %d, %s", second.Version, second.Info.Status)
	}
	x.expect(t, account, []operation{{"apply -o json -f -", fmt.Sprintf(web, "shop"), true}, {"delete deployment web --namespace shop", "", true}})
	budgets, err := x.kube.PolicyV1().PodDisruptionBudgets(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	if len(budgets.Items) != 1 {
		t.Errorf("%d disruption budgets for two replicas", len(budgets.Items))
	}

	rollback := action.NewRollback(x.helm(t, namespace))
	rollback.Version, rollback.Wait, rollback.Timeout = 1, true, helmPatience
	must(t, rollback.Run("agent"))
	x.expect(t, account, []operation{{"apply -o json -f -", fmt.Sprintf(web, "shop"), false}})

	// The hook's Job would run in the cluster, whose nodes are played: its pod is run here, then Helm goes through with the uninstall.
	x.leave(t, first, a)
	uninstall := action.NewUninstall(x.helm(t, namespace))
	uninstall.Wait, uninstall.Timeout = true, helmPatience
	_, err = uninstall.Run("agent")
	must(t, err)
	for what, list := range map[string]func() (int, error){
		"ClusterRole": func() (int, error) {
			l, err := x.kube.RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=fairlead,app.kubernetes.io/instance=agent"})
			n := 0
			for _, r := range l.Items {
				if strings.HasPrefix(r.Name, namespace) {
					n++
				}
			}
			return n, err
		},
		"Secret": func() (int, error) {
			l, err := x.kube.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
			return len(l.Items), err
		},
		"Job": func() (int, error) {
			l, err := x.kube.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
			return len(l.Items), err
		},
	} {
		n, err := list()
		must(t, err)
		if n > 0 {
			t.Errorf("%d %s are left after the uninstall", n, what)
		}
	}
}

// leave runs the pod of the release's pre-delete hook.
func (x *agentWorld) leave(t *testing.T, made *release.Release, running *agentPod) {
	t.Helper()
	all, err := Objects([]byte(made.Manifest))
	must(t, err)
	var hooks []*object
	for _, hook := range made.Hooks {
		if !slices.Equal(hook.Events, []release.HookEvent{release.HookPreDelete}) {
			t.Errorf("hook %s runs at %v", hook.Name, hook.Events)
		}
		parsed, err := Objects([]byte(hook.Manifest))
		must(t, err)
		hooks = append(hooks, parsed...)
	}
	if len(hooks) != 1 {
		t.Fatalf("%d hooks, want the one that leaves", len(hooks))
	}
	if !slices.Contains(accountNames(t, x.admin), "released") {
		t.Fatal("the account is not there before it leaves")
	}
	pod := newAgentPod(t, x.env, all, find[job](t, hooks, "Job", hooks[0].GetName()).Spec.Template, made.Namespace)
	cmd, err := pod.Command(within(t, time.Minute), pod.container, pod.log)
	must(t, err)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, pod.log)
	}
	if names := accountNames(t, x.admin); slices.Contains(names, "released") {
		t.Errorf("after the agent has left, the accounts are %v; its log: %s", names, tail(running.log.String()))
	}
}

// kustomized runs the agent of the kustomization for agent mode, with an operator's configuration.
func (x *agentWorld) kustomized(t *testing.T) {
	const account = "kustomized"
	all := objects(t, func() ([]byte, error) { return configured(t, x, "agent", account) })
	x.apply(t, all)
	a := newAgentPod(t, x.env, all, deploymentOf(t, all, "fairlead-agent").Spec.Template, "fairlead")
	a.run()
	x.expect(t, account, []operation{
		{"apply -o json -f -", fmt.Sprintf(web, "shop"), true}, {"delete deployment web --namespace shop", "", true}, {"-o json get clusterRole", "", false},
	})
}

// oneFile runs the agent of the one-file manifest, with the four words of its configuration replaced.
func (x *agentWorld) oneFile(t *testing.T) {
	const account = "onefile"
	token, pin := enrol(t, x.admin, account)
	text := read(t, filepath.Join(deploy, "manifests", "configuration.yaml"))
	for from, to := range map[string]string{"BRIDGE:9091": x.bridge.Agents, `"PIN"`: `"` + pin + `"`, "name: CLUSTER": "name: " + account, "token: TOKEN": "token: " + token} {
		if strings.Count(text, from) != 1 {
			t.Errorf("%s is in the configuration %d times", from, strings.Count(text, from))
		}
		text = strings.Replace(text, from, to, 1)
	}
	text = read(t, filepath.Join(deploy, "manifests", "fairlead-agent.yaml")) + "---\n" + text
	all, err := Objects([]byte(text))
	must(t, err)
	x.shell(t, "kubectl create namespace fairlead --dry-run=client -o yaml | kubectl apply -f -")
	x.apply(t, all)
	a := newAgentPod(t, x.env, all, deploymentOf(t, all, "fairlead-agent").Spec.Template, "fairlead")
	a.run()
	x.expect(t, account, []operation{{"-o json get pod --namespace shop", "", true}})
}
