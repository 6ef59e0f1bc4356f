package install

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	return string(content)
}

// apply is `kubectl apply -f -` by kubectl itself, as administrator.
func (x *agentWorld) apply(t *testing.T, all []*object) {
	t.Helper()
	var manifests bytes.Buffer
	for _, o := range all {
		text, err := yaml.Marshal(o.Object)
		must(t, err)
		manifests.WriteString("---\n" + string(text))
	}
	cmd := exec.CommandContext(t.Context(), x.env.Kubectl, "--kubeconfig", x.env.Clusters[0].Kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = &manifests
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// configured builds a mode's kustomization with an account's configuration in its files, as the comment in it says.
func configured(t *testing.T, x *agentWorld, mode, account string) ([]byte, error) {
	t.Helper()
	token, pin := enrol(t, x.admin, account)
	root := t.TempDir()
	must(t, os.CopyFS(root, os.DirFS(filepath.Join(deploy, "kustomize"))))
	config := filepath.Join(root, mode, "fairlead-agent.yml")
	text := strings.NewReplacer("BRIDGE:9091", x.bridge.Agents, "spin-clouddriver-grpc:9091", x.bridge.Agents, "PIN", pin, "CLUSTER", account).Replace(read(t, config))
	must(t, os.WriteFile(config, []byte(text), 0o644))
	must(t, os.WriteFile(filepath.Join(root, mode, "token"), []byte(token), 0o600))
	if kubeconfigs := filepath.Join(root, mode, "kubeconfigs"); mode != "agent" {
		must(t, os.WriteFile(filepath.Join(kubeconfigs, account), x.kubeconfig(t), 0o600))
		file := filepath.Join(root, mode, "kustomization.yaml")
		must(t, os.WriteFile(file, []byte(strings.ReplaceAll(read(t, file), "kubeconfigs/CLUSTER", "kubeconfigs/"+account)), 0o644))
	}
	return Kustomize(filepath.Join(root, mode))
}

// kubeconfig is an administrator's, for an agent that reaches the cluster by it.
func (x *agentWorld) kubeconfig(t *testing.T) []byte {
	t.Helper()
	config, err := clientcmd.LoadFromFile(x.env.Clusters[0].Kubeconfig)
	must(t, err)
	must(t, clientcmdapi.FlattenConfig(config))
	if x.apiServer != "" {
		for _, cluster := range config.Clusters {
			cluster.Server, cluster.TLSServerName = x.apiServer, ""
		}
	}
	content, err := clientcmd.Write(*config)
	must(t, err)
	return content
}
