package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "armory-agent.yml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func execute(arguments ...string) (string, error) {
	c := command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(arguments)
	err := c.Execute()
	return out.String(), err
}

func TestConfigCheckSaysWhatTheAgentWouldDo(t *testing.T) {
	t.Setenv("FAIRLEAD_TOKEN", "hunter2")
	file := write(t, "clouddriver: {insecure: true}\ntasks: {totalBudget: 1}\nkubernetes: {accounts: [{name: good, serviceAccount: true}, {name: bad, kubeconfigFile: /nonexistent/k}]}")
	out, err := execute("config", "check", "--config", file)
	for _, want := range []string{
		"read    " + file + "\n", "note    tasks: obsolete", "warning clouddriver.insecure: true:", "account good\n", "refused bad\n",
		file + ":3: kubeconfigFile: stat /nonexistent/k: no such file or directory; mount the kubeconfig there",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if err == nil || err.Error() != "1 of 2 accounts cannot be served" || strings.Contains(out, "hunter2") {
		t.Error(err, out)
	}
	if out, err := execute("config", "schema"); err != nil || !strings.Contains(out, "json-schema.org") || !strings.Contains(out, "kubeconfigFile") {
		t.Error(err, out)
	}
	if out, err := execute("config", "check", "--config", write(t, "kubernetes: {accounts: [{name: good, serviceAccount: true}]}")); err != nil {
		t.Error(err, out)
	}
}

// With package plugin the linker keeps whatever a plugin could call, which doubles the program and what of it is in memory.
func TestTheAgentAsItIsBuiltLoadsNoPlugins(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join("..", "..", "..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(makefile), "bin/fairlead-agent: tags = ")
	if !found {
		t.Fatal("the Makefile builds the agent without tags")
	}
	tags, _, _ := strings.Cut(after, "\n")
	packages, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", tags, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) == 0 || strings.Contains(string(packages), "\nplugin\n") {
		t.Error("something imports package plugin, in spite of the tags ", tags)
	}
}

func TestACommandLineThatIsNotUnderstoodIsRefused(t *testing.T) {
	for _, arguments := range [][]string{{"nonsense"}, {"--nonsense"}, {"config", "check", "x"}, {"--config", "/nonexistent/c.yml"}, {"config", "check", "--config", write(t, "nonsense: 1")}} {
		if out, err := execute(arguments...); err == nil {
			t.Errorf("%v: %s", arguments, out)
		}
	}
	if out, err := execute("--version"); err != nil || !strings.HasPrefix(out, "fairlead-agent version ") {
		t.Error(out, err)
	}
}
