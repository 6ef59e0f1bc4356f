package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shell runs a script as an operator's shell would, with kubectl, helm and fairlead on its path, pointed to the test's cluster and bridge.
func (x *agentWorld) shell(t *testing.T, script string) string {
	t.Helper()
	built, err := programs()
	must(t, err)
	tools := filepath.Join(scratch, "tools")
	must(t, os.MkdirAll(tools, 0o755))
	helm := filepath.Join(tools, "helm")
	if _, err := os.Stat(helm); err != nil {
		if out, err := exec.Command("go", "build", "-o", helm, "helm.sh/helm/v3/cmd/helm").CombinedOutput(); err != nil {
			t.Fatalf("helm: %v: %s", err, out)
		}
	}
	for name, program := range map[string]string{"kubectl": x.env.Kubectl, "fairlead": built["fairlead"][0], "fairlead-bridge": built["fairlead-bridge"][0], "fairlead-agent": built["fairlead-agent"][0]} {
		link := filepath.Join(tools, name)
		_ = os.Remove(link) // of an earlier environment
		must(t, os.Symlink(program, link))
	}
	home := t.TempDir()
	cmd := exec.CommandContext(within(t, 3*time.Minute), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "HOME="+home, "KUBECONFIG="+x.env.Clusters[0].Kubeconfig,
		"FAIRLEAD_BRIDGE="+x.bridge.Admin, "FAIRLEAD_ADMIN_TOKEN_FILE="+x.bridge.AdminTokenFile)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\nof\n%s", err, out, script)
	}
	return string(out)
}

// here puts this work tree in the place of what the internet has.
func here(t *testing.T, script string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	must(t, err)
	return strings.NewReplacer(
		"curl -fsSLO https://raw.githubusercontent.com/fairlead/fairlead/main", "cp -t . "+root,
		"oci://ghcr.io/fairlead/charts/fairlead-agent", filepath.Join(root, "agent/deploy/helm/fairlead-agent"),
		"https://github.com/fairlead/fairlead//agent", filepath.Join(root, "agent"),
		"https://raw.githubusercontent.com/fairlead/fairlead/main", root,
	).Replace(script)
}

// live are a namespace's objects that a pod refers to.
func (x *agentWorld) live(t *testing.T, namespace string) []*object {
	t.Helper()
	list, err := Objects([]byte(x.shell(t, "kubectl -n "+namespace+" get deployment,configmap,secret -o json")))
	must(t, err)
	var all []*object
	items, err := list[0].ToList()
	must(t, err)
	for i := range items.Items {
		all = append(all, &items.Items[i])
	}
	return all
}

// join runs what `fairlead agent join` prints, each of its three ways, and then the agent that this installed.
func (x *agentWorld) join(t *testing.T) {
	for way, namespace := range map[string]string{"Helm": "join-helm", "kustomize": "join-kustomize", "kubectl alone": "join-kubectl"} {
		t.Run(way, func(t *testing.T) {
			account := "join-" + strings.Fields(way)[0]
			said := x.shell(t, fmt.Sprintf("fairlead agent join --account %s --namespace %s --address %s", account, namespace, x.bridge.Agents))
			_, script, found := strings.Cut(said, "# --- "+way)
			if !found {
				t.Fatalf("no way %q in\n%s", way, said)
			}
			script, _, _ = strings.Cut(script, "\n# ---")
			script, _, _ = strings.Cut(script, "\nThe agent appears")
			_, script, _ = strings.Cut(script, "\n") // the heading's rest
			if way == "kustomize" {
				script = relative(t, script)
			}
			x.shell(t, here(t, script))
			all := x.live(t, namespace)
			a := newAgentPod(t, x.env, all, deploymentOf(t, all, "fairlead-agent").Spec.Template, namespace)
			a.run()
			x.expect(t, account, []operation{{"apply -o json -f -", fmt.Sprintf(web, "shop"), true}, {"delete deployment web --namespace shop", "", true}})
		})
	}
	// No way took the rights of another one's agent.
	for _, namespace := range []string{"join-helm", "join-kustomize", "join-kubectl"} {
		said := x.shell(t, "kubectl auth can-i create deployments.apps -n shop --as=system:serviceaccount:"+namespace+":fairlead-agent")
		if strings.TrimSpace(said) != "yes" {
			t.Errorf("the agent in %s: %s", namespace, said)
		}
	}
}

// relative has kustomize find the work tree by a path without a root, as it wants of local directories.
func relative(t *testing.T, script string) string {
	t.Helper()
	return strings.Replace(script, "kubectl apply -k .", `sed -i "s#https://github.com/fairlead/fairlead//agent#$(realpath --relative-to=. `+mustAbs(t, "../../agent")+`)#g" kustomization.yaml
kubectl apply -k .`, 1)
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	absolute, err := filepath.Abs(path)
	must(t, err)
	return absolute
}
