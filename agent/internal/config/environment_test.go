package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariablesAreLaidOverFiles(t *testing.T) {
	e := newEnvironment(t)
	e.variables = map[string]string{
		"FAIRLEAD_TOKEN": "token", "FAIRLEAD_CLOUDDRIVER_GRPC": "of-the-environment:1", "FAIRLEAD_PROMETHEUS_ENABLED": "true", "FAIRLEAD_TIMEOUTSECONDS": "7",
		"FAIRLEAD_KUBERNETES_EXECPLUGINS": "a, b", "FAIRLEAD_CLOUDDRIVER_NOPROXY": "",
		// Kubernetes sets such for a Service named fairlead-server.
		"FAIRLEAD_SERVER_PORT": "tcp://10.0.0.1:8082",
		"FAIRLEAD_ACCOUNT":     "not-used-because-the-file-lists-accounts",
	}
	c := e.mustLoad("clouddriver: {grpc: 'file:1', noProxy: true}\nkubernetes: {accounts: [{name: a, serviceAccount: true}]}")
	if c.Clouddriver.Address != "of-the-environment:1" || !c.Clouddriver.NoProxy || !c.Prometheus.Enabled || c.Timeout.Seconds() != 7 || c.Server.Port != 8082 ||
		!cmp.Equal(c.Kubernetes.ExecPlugins, []string{"a", "b"}) || len(c.Accounts) != 1 || c.Accounts[0].Name != "a" {
		t.Errorf("%+v", c)
	}
	e.variables["FAIRLEAD_TIMEOUTSECONDS"] = "soon"
	if _, err := e.load("{}"); err == nil || !strings.Contains(err.Error(), "environment FAIRLEAD_") || !strings.Contains(err.Error(), `timeoutSeconds: want a whole number, got "soon"`) {
		t.Error(err)
	}
}

func TestAnAgentInItsClusterNeedsAnAccountsNameAndNoFile(t *testing.T) {
	e := newEnvironment(t)
	e.variables["FAIRLEAD_ACCOUNT"] = "prod-eu"
	c, err := Load(Options{Root: e.root, Getenv: e.getenv})
	if err != nil || len(c.Accounts) != 1 || c.Accounts[0].Name != "prod-eu" || !c.Accounts[0].ServiceAccount || !c.AccountsGiven {
		t.Errorf("%+v %v", c, err)
	}
	e.variables["FAIRLEAD_ACCOUNT"] = "prod/eu"
	if c, err := Load(Options{Root: e.root, Getenv: e.getenv}); err != nil || len(c.Accounts) != 0 || len(c.Refused) != 1 {
		t.Errorf("%+v %v", c, err)
	}
	e.variables["FAIRLEAD_ACCOUNT"] = "prod"
	if c := e.mustLoad("kubernetes: {accounts: []}"); len(c.Accounts) != 0 {
		t.Errorf("a file that lists no accounts has %v", c.Accounts)
	}
}

func TestSchemaIsPublishedAsItIs(t *testing.T) {
	got, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("..", "..", "..", "docs", "agent-configuration.schema.json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/agent-configuration.schema.json is not what the table of keys says; go test ./agent/internal/config -update: %v", err)
	}
}

func TestSchemaAndReaderKnowTheSameKeys(t *testing.T) {
	content, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(documented) {
		at := schema
		for name := range strings.SplitSeq(path, ".") {
			if items, ok := at["items"].(map[string]any); ok {
				at = items
			}
			properties, _ := at["properties"].(map[string]any)
			next, ok := properties[name].(map[string]any)
			if !ok {
				for known, p := range properties {
					if strings.EqualFold(known, name) {
						next, ok = p.(map[string]any), true
					}
				}
			}
			if !ok {
				t.Errorf("%s is not in the schema", path)
				break
			}
			at = next
		}
	}
}
