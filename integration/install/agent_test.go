package install

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files and what is generated anew")

const (
	deploy         = "../../agent/deploy"
	chartDirectory = deploy + "/helm/fairlead-agent"
	pin            = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

// values are those of a case, over the least that an agent needs.
func values(t *testing.T, text string) map[string]any {
	t.Helper()
	least := map[string]any{}
	must(t, yaml.Unmarshal([]byte(`
bridge: {address: "bridges.example.com:9091", caPin: "`+pin+`"}
token: {secretName: my-token}
accounts: [{name: prod-eu, serviceAccount: true}]
`), &least))
	more := map[string]any{}
	must(t, yaml.Unmarshal([]byte(text), &more))
	for key, value := range more {
		least[key] = value
	}
	return least
}

var chartCases = map[string]string{
	"least": ``,
	"everything": `
bridge: {address: "bridges.example.com:443", ca: {secretName: bridge-ca}, serverName: bridges}
clientCertificate: {secretName: agent-tls}
token: {}
accounts: [{name: prod-eu, serviceAccount: true}, {name: prod-us, kinds: [deployment, pod], namespaces: [a, "b"]}]
kubeconfigs: {prod-us: {secretName: us, key: config}}
config: {kubernetes: {serverSideApply: {enabled: "always"}}, logging: {level: debug}}
replicas: 3
rbac: {level: view, extraRules: [{apiGroups: [argoproj.io], resources: [rollouts], verbs: ["*"]}]}
serviceAccount: {name: spinnaker-agent, annotations: {a: b}}
proxy: {http: "http://p:3128", https: "http://p:3128", exclude: "10.0.0.0/8"}
extraEnv: [{name: GOMAXPROCS, value: "2"}]
image: {digest: "` + pin + `", pullSecrets: [{name: registry}]}
podMonitor: {enabled: true, labels: {release: prometheus}}
podLabels: {team: delivery}
nodeSelector: {pool: system}
tolerations: [{operator: Exists}]
priorityClassName: system-cluster-critical
`,
	"namespaces": `
token: {value: "flt_secret"}
accounts: [{name: prod-eu, serviceAccount: true, onlyNamespacedResources: true, namespaces: [shop, pay]}]
rbac: {level: deploy, namespaces: [shop, pay]}
uninstall: {removeAccounts: false}
`,
	"admin": `rbac: {level: admin}`,
	"kept": `
bridge: {address: "bridges.example.com:443", caPin: "` + pin + `", proxied: true}
token: {secretName: my-token, certificateSecret: my-certificate}
`,
	"projected": `
token: {}
serviceAccountToken: {audience: fairlead}
`,
}

func TestChartRendersWhatItsGoldenFilesHold(t *testing.T) {
	for name, text := range chartCases {
		t.Run(name, func(t *testing.T) {
			got, err := HelmTemplate(chartDirectory, "prod", "fairlead", values(t, text))
			must(t, err)
			golden(t, filepath.Join("testdata", "chart-"+name+".yaml"), got)
		})
	}
}

func TestChartPassesHelmLint(t *testing.T) {
	result := action.NewLint().Run([]string{chartDirectory}, values(t, ""))
	for _, m := range result.Messages {
		if m.Severity >= support.WarningSev {
			t.Error(m)
		}
	}
}

func TestChartRefusesValuesThatCannotWork(t *testing.T) {
	for text, want := range map[string]string{
		`bridge: {address: ""}`: "bridge.address: is not set",
		`bridge: {address: "https://b:9091", caPin: "` + pin + `"}`: "/bridge/address",
		`bridge: {address: "b:9091"}`:                               "bridge.caPin: is not set",
		`bridge: {address: "b:9091", caPin: "sha256:1"}`:            "/bridge/caPin",
		`token: {}`:                                   "token: is not set",
		`token: {value: a, secretName: b}`:            "give one of them",
		`token: {value: a, certificateSecret: "A b"}`: "/token/certificateSecret",
		`{clientCertificate: {secretName: c}, token: {certificateSecret: b}}`: "means nothing without an enrolment token",
		`bridge: {address: "b:9091", ca: {secretName: c}, proxied: true}`:     "bridge.proxied: needs bridge.caPin",
		`serviceAccountToken: {audience: a, expirationSeconds: 60}`:           "/serviceAccountToken/expirationSeconds",
		`accounts: [{name: "a b"}]`:                                           "/accounts/0/name",
		`accounts: [{name: a}, {name: a}]`:                                    `"a" is there twice`,
		`accounts: [{name: a, kubeconfigContents: x}]`:                        "/accounts/0",
		`kubeconfigs: {other: {secretName: s}}`:                               `"other" is not among accounts`,
		`rbac: {namespaces: [shop]}`:                                          "needs namespaces and onlyNamespacedResources: true",
		`rbac: {level: god}`:                                                  "/rbac/level",
		`tokn: {value: a}`:                                                    "tokn",
		`config: {clouddriver: {auth: {token: x}}}`:                           "would stand in a ConfigMap",
		`replicas: "2"`:                                                       "/replicas",
	} {
		_, err := HelmTemplate(chartDirectory, "prod", "fairlead", values(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// kustomizations are what can be built in agent/deploy.
var kustomizations = []string{"kustomize/agent", "kustomize/infrastructure", "kustomize/spinnaker-service"}

func TestKustomizationsBuild(t *testing.T) {
	for _, directory := range kustomizations {
		got, err := Kustomize(filepath.Join(deploy, directory))
		must(t, err)
		golden(t, filepath.Join("testdata", strings.ReplaceAll(directory, "/", "-")+".yaml"), got)
	}
}

// TestAgentsOfOneClusterShareNoRole has two overlays in one cluster: what is not in a namespace must not be the other's.
func TestAgentsOfOneClusterShareNoRole(t *testing.T) {
	for _, level := range []string{"view", "deploy", "admin"} {
		seen := map[string]string{}
		for _, namespace := range []string{"fairlead", "team-a", "team-b"} {
			root := t.TempDir()
			must(t, os.CopyFS(root, os.DirFS(filepath.Join(deploy, "kustomize"))))
			file := filepath.Join(root, "agent", "kustomization.yaml")
			text := strings.NewReplacer("namespace: fairlead\n", "namespace: "+namespace+"\n", "rbac-deploy", "rbac-"+level).Replace(read(t, file))
			must(t, os.WriteFile(file, []byte(text), 0o644))
			all := objects(t, func() ([]byte, error) { return Kustomize(filepath.Join(root, "agent")) })
			for _, o := range all {
				name := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
				if other, there := seen[name]; there {
					t.Errorf("%s, %s: %s is that of %s", level, namespace, name, other)
				}
				seen[name] = namespace
			}
			b := find[rbacv1.ClusterRoleBinding](t, all, "ClusterRoleBinding", "fairlead-agent-"+level+"."+namespace)
			want := "fairlead-agent-" + level + "." + namespace
			if level == "admin" {
				want = "cluster-admin"
			}
			if b.RoleRef.Name != want || len(b.Subjects) != 1 || b.Subjects[0].Namespace != namespace {
				t.Errorf("%s, %s: binding of %s to %+v", level, namespace, b.RoleRef.Name, b.Subjects)
			}
		}
	}
}

func TestOneFileIsWhatKustomizeMakes(t *testing.T) {
	got, err := Kustomize(filepath.Join(deploy, "manifests"))
	must(t, err)
	golden(t, filepath.Join(deploy, "manifests", "fairlead-agent.yaml"), got)
}

// TestChartAndKustomizationsAgree keeps what is written twice the same: pod, rights, security.
func TestChartAndKustomizationsAgree(t *testing.T) {
	for _, level := range []string{"view", "deploy"} {
		byHelm := objects(t, func() ([]byte, error) {
			return HelmTemplate(chartDirectory, "fairlead-agent", "fairlead", values(t, "rbac: {level: "+level+"}"))
		})
		byKustomize := objects(t, func() ([]byte, error) { return overlay(t, "agent", "rbac-"+level) })
		a := find[rbacv1.ClusterRole](t, byHelm, "ClusterRole", "fairlead-fairlead-agent")
		b := find[rbacv1.ClusterRole](t, byKustomize, "ClusterRole", "fairlead-agent-"+level+".fairlead")
		if diff := cmp.Diff(a.Rules, b.Rules); diff != "" {
			t.Errorf("rules of level %s, chart and kustomize: %s", level, diff)
		}
		x := find[appsv1.Deployment](t, byHelm, "Deployment", "fairlead-agent").Spec.Template.Spec
		y := find[appsv1.Deployment](t, byKustomize, "Deployment", "fairlead-agent").Spec.Template.Spec
		x.TerminationGracePeriodSeconds, x.Containers[0].ImagePullPolicy = nil, "" // the API server's defaults
		for i := range y.Volumes {                                                 // kustomize names what it generates by its content
			if c := y.Volumes[i].ConfigMap; c != nil {
				c.Name = "fairlead-agent"
			}
		}
		for _, spec := range []*corev1.PodSpec{&x, &y} {
			for i := range spec.Volumes {
				if s := spec.Volumes[i].Secret; s != nil {
					s.SecretName = "token"
				}
			}
			byName(spec)
		}
		if diff := cmp.Diff(x, y); diff != "" {
			t.Errorf("pods of chart and kustomize: %s", diff)
		}
	}
}

// TestPodsAreAsConfinedAsTheRestrictedStandardAsks evaluates what Kubernetes' "restricted" pod security standard asks for, and a read-only
// root beyond it.
func TestPodsAreAsConfinedAsTheRestrictedStandardAsks(t *testing.T) {
	for name, text := range chartCases {
		for _, o := range objects(t, func() ([]byte, error) { return HelmTemplate(chartDirectory, "prod", "fairlead", values(t, text)) }) {
			var template corev1.PodTemplateSpec
			switch o.GetKind() {
			case "Deployment":
				template = find[appsv1.Deployment](t, []*object{o}, o.GetKind(), o.GetName()).Spec.Template
			case "Job":
				template = find[job](t, []*object{o}, o.GetKind(), o.GetName()).Spec.Template
			default:
				continue
			}
			pod, c := template.Spec.SecurityContext, template.Spec.Containers[0].SecurityContext
			if pod == nil || !*pod.RunAsNonRoot || *pod.RunAsUser == 0 || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: pod of %s %s: %+v", name, o.GetKind(), o.GetName(), pod)
			}
			if c == nil || !*c.ReadOnlyRootFilesystem || *c.AllowPrivilegeEscalation || len(c.Capabilities.Drop) != 1 || c.Capabilities.Drop[0] != "ALL" || len(c.Capabilities.Add) > 0 {
				t.Errorf("%s: container of %s %s: %+v", name, o.GetKind(), o.GetName(), c)
			}
		}
	}
}

// golden compares with a file, which -update writes.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		must(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (go test -update writes it): %s", file, diff)
	}
}
