package badinput

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/testenv"
)

func TestAgentRefusesAConfigurationThatItCannotUse(t *testing.T) {
	agent := program(t, "github.com/fairlead/fairlead/agent/cmd/fairlead-agent")
	for name, c := range map[string]struct {
		config string
		parts  []string
	}{
		"unknown key": {"clouddriver:\n  grcp: bridge:9091\n", []string{"config.yml:2", "grcp", "grpc"}},
		"bad pin":     {"clouddriver:\n  grpc: bridge:9091\n  auth: {token: x}\n  tls: {pin: sha256:abc}\nkubernetes: {accounts: []}\n", []string{"clouddriver.tls.pin", "sha256:abc", "64"}},
		"no address":  {"clouddriver:\n  grpc: bridge\n  auth: {token: x}\n", []string{"clouddriver.grpc", "host:port"}},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, ends(t, agent, "--config", write(t, c.config)), c.parts...)
		})
	}
	t.Run("missing file", func(t *testing.T) {
		want(t, ends(t, agent, "--config", "/nowhere/agent.yml"), "/nowhere/agent.yml", "--config")
	})
}

func TestAgentRefusesAccountsThatItCannotServeAndServesTheOthers(t *testing.T) {
	env := testenv.UpForTest(t, testenv.Options{Clouddriver: testenv.NoClouddriver})
	agent := program(t, "github.com/fairlead/fairlead/agent/cmd/fairlead-agent")
	good, err := os.ReadFile(env.Agents[0].Config)
	if err != nil {
		t.Fatal(err)
	}
	stopAgent(t, env)
	text := string(good)
	kubeconfig := filepath.Join(filepath.Dir(env.Agents[0].Config), "kubeconfig")
	if _, err := os.Stat(kubeconfig); err != nil {
		t.Fatal(err)
	}

	t.Run("missing kubeconfig, duplicate and bad names", func(t *testing.T) {
		more := accounts(t, text, `
    - {name: gone, kubeconfigFile: /nowhere/kubeconfig}
    - {name: "bad name", kubeconfigFile: `+kubeconfig+`}
    - {name: twice, kubeconfigFile: `+kubeconfig+`}
    - {name: twice, kubeconfigFile: `+kubeconfig+`}
`)
		says(t, []string{`gone`, `/nowhere/kubeconfig`, `bad name`, `twice`, "connected to a bridge", "attached"}, agent, "--config", write(t, more))
	})
	t.Run("wrong token", func(t *testing.T) {
		says(t, []string{"not connected to a bridge", "enrolment token", "fairlead token create"}, agent, "--config", write(t, replaceToken(t, text, "flt_wrong")))
	})
	t.Run("wrong pin", func(t *testing.T) {
		says(t, []string{"not connected to a bridge", "not the pinned one", "sha256:" + strings.Repeat("0", 64), "fairlead status"}, agent,
			"--config", write(t, replacePin(t, text)))
	})
	t.Run("token whose patterns do not cover the account", func(t *testing.T) {
		token := otherToken(t, env)
		says(t, []string{"account refused", env.Clusters[0].Account}, agent, "--config", write(t, replaceToken(t, text, token)))
	})
}

// accounts adds lines below kubernetes.accounts.
func accounts(t *testing.T, config, more string) string {
	t.Helper()
	const list = "    accounts:\n"
	if !strings.Contains(config, list) {
		t.Fatalf("no %q in the agent's configuration:\n%s", list, config)
	}
	indented := strings.ReplaceAll(strings.Trim(more, "\n"), "\n    ", "\n        ")
	return strings.Replace(config, list, list+"    "+indented+"\n", 1)
}

// field replaces the value of a key that stands once.
func field(t *testing.T, config, key, value string) string {
	t.Helper()
	lines := strings.Split(config, "\n")
	for i, line := range lines {
		before, _, found := strings.Cut(line, key+":")
		if found && strings.TrimSpace(before) == "" {
			quoted, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			lines[i] = before + key + ": " + string(quoted)
			return strings.Join(lines, "\n")
		}
	}
	t.Fatalf("no key %s in the agent's configuration:\n%s", key, config)
	return ""
}

func replacePin(t *testing.T, config string) string {
	t.Helper()
	return field(t, config, "pin", "sha256:"+strings.Repeat("0", 64))
}

func replaceToken(t *testing.T, config, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return field(t, config, "tokenFile", path)
}
