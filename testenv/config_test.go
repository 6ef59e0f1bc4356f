package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func TestClouddriversConfigurationNamesMariaDBOnlyWhereItIsUnderstood(t *testing.T) {
	for version, want := range map[string]bool{"1.38": false, "2026.2": true} {
		c := &clouddriverPart{dir: "/d", version: version, port: 7002, database: &mariadb{port: 3306, password: "p"}}
		text, err := yaml.Marshal(c.config())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "dialect: MARIADB") != want {
			t.Errorf("%s:\n%s", version, text)
		}
	}
}

func TestClouddriversConfigurationTellsThePluginItsBridge(t *testing.T) {
	c := &clouddriverPart{
		dir: "/d", version: "2026.2", port: 7002, database: &mariadb{port: 3306, password: "p"},
		jar: "/j.jar", bridge: "http://127.0.0.1:9092", secretFile: "/b/secret",
		stock: []stockAccount{{name: "demo-stock", kubeconfig: "/k", kubectl: "/kubectl"}},
	}
	config := c.config()
	dig := func(path ...string) any {
		var at any = config
		for _, key := range path {
			at = at.(map[string]any)[key]
		}
		return at
	}
	want := map[string]any{
		"enabled": true,
		"config":  map[string]any{"bridge": "http://127.0.0.1:9092", "secretFile": "/b/secret", "stateDir": "/d/plugin-state"},
	}
	if got := dig("spinnaker", "extensibility", "plugins", "Fairlead.Bridge"); !reflect.DeepEqual(got, want) {
		t.Errorf("plugin: %v", got)
	}
	accounts := dig("kubernetes", "accounts").([]any)
	if len(accounts) != 1 || accounts[0].(map[string]any)["kubectlExecutable"] != "/kubectl" {
		t.Errorf("accounts: %v", accounts)
	}
	if c.jar = ""; c.config()["spinnaker"].(map[string]any)["extensibility"].(map[string]any)["plugins"] != nil {
		t.Error("without a jar there is a plugin")
	}
}

func TestJavasArgumentsSurviveSpacesAndQuotes(t *testing.T) {
	c := &clouddriverPart{dir: `/a "b" c\d`, classPath: "/x y.jar:/z.jar", javaArguments: []string{"-Xmx3g"}}
	lines := strings.Split(strings.TrimSpace(c.arguments()), "\n")
	if got, want := lines[len(lines)-2], `"/x y.jar:/z.jar"`; got != want {
		t.Errorf("class path %s, want %s", got, want)
	}
	if !strings.Contains(c.arguments(), `/a \"b\" c\\d/tmp`) {
		t.Errorf("arguments:\n%s", c.arguments())
	}
}

func TestAnAgentIsGivenPinTokenAndItsOwnKubeconfig(t *testing.T) {
	a := &agentPart{name: "agent-0", dir: filepath.Join(t.TempDir(), "agent-0"), port: 1, metric: 2, bridge: "127.0.0.1:9091", account: "demo"}
	spec, err := a.install("/bin/agent", "secret-token", "sha256:ab", []byte("kubeconfig of the agent"))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(a.file("armory-agent.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clouddriver struct {
			GRPC     string
			Insecure bool
			Auth     struct {
				TokenFile string `yaml:"tokenFile"`
			}
			TLS struct{ Pin string }
		}
		Kubernetes struct {
			Accounts []struct {
				Name           string
				KubeconfigFile string `yaml:"kubeconfigFile"`
			}
		}
	}
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	if config.Clouddriver.GRPC != "127.0.0.1:9091" || config.Clouddriver.TLS.Pin != "sha256:ab" || config.Clouddriver.Insecure {
		t.Errorf("config:\n%s", content)
	}
	if strings.Contains(string(content), "secret-token") || strings.Contains(strings.Join(spec.Args, " "), "secret-token") {
		t.Error("the token stands in the configuration or the command line")
	}
	for _, path := range []string{config.Clouddriver.Auth.TokenFile, config.Kubernetes.Accounts[0].KubeconfigFile} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 || filepath.Dir(path) != a.dir {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

func TestEnvJSONHasTheDocumentedShape(t *testing.T) {
	env := &Env{
		Clouddriver: &Clouddriver{}, Clouddrivers: []Clouddriver{{}}, Clusters: []KubeCluster{{}}, Bridges: []Bridge{{}}, Agents: []Agent{{}},
	}
	content, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if shape, want := keys(got), "agents[admin cluster config log pid] bridges[admin adminTokenFile agents caFile log pid plugin pluginSecretFile] "+
		"clouddrivers[log pid url version] clouddriver{log pid url version} clusters[account kubeconfig name stockAccount] kubectl mysql{dsn pid}"; shape != want {
		t.Errorf("shape\n%s, want\n%s", shape, want)
	}
}

// keys renders the keys of JSON, sorted, as it is nested.
func keys(value map[string]any) string {
	var words []string
	for key, inner := range value {
		switch inner := inner.(type) {
		case map[string]any:
			key += "{" + keys(inner) + "}"
		case []any:
			key += "[" + keys(inner[0].(map[string]any)) + "]"
		}
		words = append(words, key)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

func TestADirectoryOfSomethingElseIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mysql")
	if err := os.WriteFile(mine, []byte("thesis"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), Options{Dir: dir, Clouddriver: NoClouddriver}); err == nil || !strings.Contains(err.Error(), "choose another") {
		t.Errorf("error %v", err)
	}
	if content, err := os.ReadFile(mine); err != nil || string(content) != "thesis" {
		t.Errorf("%q: %v", content, err)
	}
	if err := Down(t.Context(), dir); err == nil {
		t.Error("down in it is no error")
	}
}

func TestOptionsThatCannotBeAreRefusedByName(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"version":  {Options{Dir: "d", Clouddriver: "1.30"}, `no Clouddriver "1.30": choose 1.38, 2026.2 or none`},
		"clusters": {Options{Dir: "d", Clusters: 21}, "21 clusters"},
		"stock":    {Options{Dir: "d", Clouddriver: NoClouddriver, Stock: true}, "needs a Clouddriver"},
		"dir":      {Options{}, "no directory"},
	} {
		if err := test.options.check(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestWaitSaysWhatItWaitedFor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	asked := 0
	err := Wait(ctx, func(context.Context) error { asked++; return errors.New("the tide is out") })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the tide is out") || asked < 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestPortsAreHandedOutOnce(t *testing.T) {
	seen := map[int]bool{}
	ports, err := freePorts(200)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		if seen[port] || port < lowestPort || port >= highestPort {
			t.Errorf("port %d", port)
		}
		seen[port] = true
	}
}
