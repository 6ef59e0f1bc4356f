package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigCheckGoesThroughAProfile(t *testing.T) {
	check := func(content string) (string, error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "clouddriver-local.yml")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c := command()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetArgs([]string{"config", "check", file})
		err := c.Execute()
		return out.String(), err
	}
	out, err := check("armory:\n  kubesvc:\n    cluster: kubernetes\n    cache: {operationWaitMs: 60000, cacheKind: [x]}\n")
	if err == nil || err.Error() != "1 settings are refused, unknown or wrong" {
		t.Error(err)
	}
	for _, want := range []string{"clouddriver-local.yml:3", "obsolete", "operations.absentWait", "did you mean cache.cacheKinds?"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out, err := check("kubernetes: {enabled: true}\n"); err != nil || !strings.Contains(out, "no setting of the replaced plugin") {
		t.Error(out, err)
	}
}

func TestConfigCheckTakesNoOtherFileForAProfile(t *testing.T) {
	for name, way := range map[string]string{"armory-agent.yml": "fairlead-agent config check --config", "fairlead-bridge.yml": "--bridge-config"} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte("kubernetes: {acounts: []}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := command()
		c.SetOut(&bytes.Buffer{})
		c.SetErr(&bytes.Buffer{})
		c.SetArgs([]string{"config", "check", file})
		if err := c.Execute(); err == nil || !strings.Contains(err.Error(), way) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
