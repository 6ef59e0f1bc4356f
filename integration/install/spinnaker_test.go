package install

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/testenv"
)

// spinnakerPath is a way to install into Spinnaker.
type spinnakerPath struct {
	name string
	// deployment is the Deployment of Clouddriver with what it refers to, but for the Secret fairlead-keys.
	deployment func(t *testing.T) (*appsv1.Deployment, []*object)
	// bridges is the Deployment of the bridges, where they have one of their own; nil: a sidecar.
	bridges func(t *testing.T, all []*object) *appsv1.Deployment
}

var spinnakerPaths = []spinnakerPath{{name: "Halyard", deployment: byHalyard}, {name: "Operator", deployment: byOperator}, {name: "spinnaker-kustomize", deployment: byKustomize}}

// ownBridges has the bridges in a Deployment of their own.
var ownBridges = spinnakerPath{"bridges of their own", func(t *testing.T) (*appsv1.Deployment, []*object) {
	all := kustomizeComponent(t, "kustomize-bridges")
	return deploymentOf(t, all, "clouddriver"), all
}, func(t *testing.T, all []*object) *appsv1.Deployment { return deploymentOf(t, all, "fairlead-bridge") }}

const halyardFolder, operatorFolder = "../../halyard", "../../operator"

func byHalyard(t *testing.T) (*appsv1.Deployment, []*object) {
	d, err := HalyardDeployment("spin-clouddriver", filepath.Join(halyardFolder, "config.yml"), filepath.Join(halyardFolder, "service-settings-clouddriver.yml"))
	must(t, err)
	return d, []*object{secretOf("spin-clouddriver-files", map[string]string{"clouddriver-local.yml": read(t, filepath.Join(halyardFolder, "clouddriver-local.yml"))})}
}

func byOperator(t *testing.T) (*appsv1.Deployment, []*object) {
	service := objects(t, func() ([]byte, error) { return os.ReadFile(filepath.Join(operatorFolder, "spinnakerservice.yml")) })[0]
	empty := filepath.Join(t.TempDir(), "empty.yml")
	must(t, os.WriteFile(empty, []byte("{}"), 0o600))
	made, err := HalyardDeployment("spin-clouddriver", empty, empty)
	must(t, err)
	d, err := OperatorDeployment(service, made)
	must(t, err)
	profile, _, err := unstructured.NestedMap(service.Object, "spec", "spinnakerConfig", "profiles", "clouddriver")
	must(t, err)
	text, err := yaml.Marshal(profile)
	must(t, err)
	return d, []*object{secretOf("spin-clouddriver-files", map[string]string{"clouddriver-local.yml": string(text)})}
}

// kustomizeComponent builds a component of ours over the base of spinnaker-kustomize.
func kustomizeComponent(t *testing.T, component string) []*object {
	t.Helper()
	root := t.TempDir()
	must(t, os.CopyFS(root, os.DirFS("testdata/spinnaker-kustomize")))
	must(t, os.CopyFS(filepath.Join(root, "components", "fairlead"), os.DirFS(filepath.Join(operatorFolder, component))))
	return objects(t, func() ([]byte, error) { return Kustomize(root) })
}

func byKustomize(t *testing.T) (*appsv1.Deployment, []*object) {
	all := kustomizeComponent(t, "kustomize")
	return deploymentOf(t, all, "clouddriver"), all
}

func secretOf(name string, data map[string]string) *object {
	text := map[string]any{}
	for key, value := range data {
		text[key] = value
	}
	return &object{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": "spinnaker"}, "stringData": text}}
}

// spinnakerPod is the pod of Clouddriver and that of its bridge, most often the same. The bridge runs as the pod says; Clouddriver is testenv's, with the pod's
// configuration laid over what testenv's surroundings need.
type spinnakerPod struct {
	*Pod

	// bridgePod is Pod itself where the bridge is a sidecar.
	bridgePod *Pod

	t      *testing.T
	bridge testenv.Bridge
	log    *log
	// signal tells the bridge to stop, as the kubelet does; ended has its error when it has.
	signal context.CancelFunc
	ended  chan error

	// without is Clouddriver's configuration before the pod's is laid over it.
	without []byte

	mu  sync.Mutex
	err error // of configure, which runs in another goroutine
}

func newSpinnakerPod(t *testing.T, path spinnakerPath) *spinnakerPod {
	t.Helper()
	built, err := programs()
	must(t, err)
	jar, err := testenv.PluginJar(t.Context(), &log{})
	testenv.SkipMissing(t, "the plugin", err)
	image := t.TempDir()
	content, err := os.ReadFile(jar)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(image, "fairlead-clouddriver-plugin.jar"), content, 0o600))

	d, all := path.deployment(t)
	key, password := make([]byte, 32), make([]byte, 16)
	_, _ = rand.Read(key)      // never fails
	_, _ = rand.Read(password) // never fails
	all = append(all, secretOf("fairlead-keys", map[string]string{
		"key": base64.StdEncoding.EncodeToString(key), "database-password": fmt.Sprintf("%x", password),
	}))
	agents, peers, plugin, admin, metrics := testenv.FreePort(t), testenv.FreePort(t), testenv.FreePort(t), testenv.FreePort(t), testenv.FreePort(t)
	p := &spinnakerPod{t: t, log: &log{}, ended: make(chan error, 1)}
	programsHere := maps.Clone(built)
	p.Pod = &Pod{
		Spec: d.Spec.Template.Spec, Namespace: "spinnaker", Objects: all, Dir: t.TempDir(), Programs: programsHere,
		Ports: map[int32]int{9091: agents, 8082: admin, 8008: metrics},
	}
	p.bridgePod = p.Pod
	if path.bridges != nil {
		p.bridgePod = &Pod{Spec: path.bridges(t, all).Spec.Template.Spec, Namespace: "spinnaker", Objects: all, Dir: t.TempDir(), Programs: built, Ports: p.Ports}
	}
	programsHere["clouddriver-plugin"] = append(built["clouddriver-plugin"], "-from", image, "-to", p.Path("/opt/plugin/target"))
	is := func(value string) func(string) string { return func(string) string { return value } }
	local := func(port int) func(string) string { return is(fmt.Sprintf("127.0.0.1:%d", port)) }
	p.bridgePod.Variables = map[string]func(string) string{
		"FAIRLEAD_NAME": is("bridge"), "FAIRLEAD_AGENTS_ADDRESS": local(agents), "FAIRLEAD_PEERS_ADDRESS": local(peers), "FAIRLEAD_PLUGIN_ADDRESS": local(plugin),
		"FAIRLEAD_ADMIN_ADDRESS": local(admin), "FAIRLEAD_METRICS_ADDRESS": local(metrics),
	}
	p.bridge = testenv.Bridge{
		Admin: fmt.Sprintf("http://127.0.0.1:%d", admin), Agents: fmt.Sprintf("127.0.0.1:%d", agents), Plugin: fmt.Sprintf("http://127.0.0.1:%d", plugin),
		AdminTokenFile: p.bridgePod.Path("/var/run/fairlead/admin-token"),
	}
	if path.bridges != nil {
		p.bridge.Plugin = "https" + strings.TrimPrefix(p.bridge.Plugin, "http")
	}
	must(t, p.bridgePod.Prepare())
	return p
}

// configure runs when Clouddriver is about to start: the database is up. It starts the pod's other containers, as a kubelet does: init
// containers one after the other, then the sidecar; and gives Clouddriver its container's configuration.
func (p *spinnakerPod) configure(config map[string]any) {
	err := func() error {
		if p.bridgePod == p.Pod {
			if err := p.initContainers(); err != nil {
				return err
			}
		}
		if err := p.database(config); err != nil {
			return err
		}
		if err := p.startBridge(); err != nil {
			return err
		}
		if p.bridgePod != p.Pod {
			// Clouddriver's pod waits for the Secret.
			if err := p.certify(); err != nil {
				return err
			}
			if err := p.Prepare(); err != nil {
				return err
			}
			if err := p.initContainers(); err != nil {
				return err
			}
		}
		return p.clouddriver(config)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *spinnakerPod) initContainers() error {
	for i := range p.Spec.InitContainers {
		first, err := p.Command(p.t.Context(), &p.Spec.InitContainers[i], p.log)
		if err != nil {
			return err
		}
		if err := first.Run(); err != nil {
			return fmt.Errorf("the plugin's init container: %w: %s", err, p.log)
		}
	}
	return nil
}

// certify makes the plugin's certificate as docs/install.md says, once a bridge is ready.
func (p *spinnakerPod) certify() error {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	return testenv.Wait(ctx, func(ctx context.Context) error {
		program := p.Programs["fairlead"]
		cmd := exec.CommandContext(ctx, program[0], append(program[1:], "--bridge", p.bridge.Admin, "--token-file", p.bridge.AdminTokenFile, "plugin", "certificate", "--secret", "fairlead-plugin")...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%w: %s", err, &stderr)
		}
		made, err := Objects(out)
		if err != nil {
			return err
		}
		made[0].SetNamespace(p.Namespace)
		p.Objects = append(p.Objects, made...)
		return nil
	})
}

// database makes the user that the bridge is given, with the rights that Spinnaker's guide gives to clouddriver_migrate, and points the bridge
// to the server.
func (p *spinnakerPod) database(config map[string]any) error {
	pool, _, err := unstructured.NestedMap(config, "sql", "connectionPools", "default")
	if err != nil {
		return err
	}
	url, _ := pool["jdbcUrl"].(string)
	password, _ := pool["password"].(string)
	server := regexp.MustCompile(`//([^/]+)/`).FindStringSubmatch(url)
	if server == nil {
		return fmt.Errorf("jdbcUrl %q", url)
	}
	p.bridgePod.Variables["FAIRLEAD_DATABASE_DSN"] = func(dsn string) string {
		return regexp.MustCompile(`tcp\([^)]*\)`).ReplaceAllString(dsn, "tcp("+server[1]+")")
	}
	db, err := sql.Open("mysql", "testenv:"+password+"@tcp("+server[1]+")/clouddriver")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	secret, err := os.ReadFile(p.bridgePod.Path("/etc/fairlead/database-password"))
	if err != nil {
		return err
	}
	for _, statement := range []string{
		"CREATE USER clouddriver_migrate@'127.0.0.1' IDENTIFIED BY '" + string(secret) + "'",
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, LOCK TABLES, EXECUTE, SHOW VIEW ON clouddriver.* TO clouddriver_migrate@'127.0.0.1'",
	} {
		if _, err := db.ExecContext(p.t.Context(), statement); err != nil {
			return err
		}
	}
	return nil
}

func (p *spinnakerPod) startBridge() error {
	container, err := p.bridgePod.Container("fairlead-bridge")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(p.t.Context()))
	p.signal = stop
	cmd, err := p.bridgePod.Command(ctx, container, p.log)
	if err != nil {
		stop()
		return err
	}
	cmd.WaitDelay = 2 * time.Minute
	if err := cmd.Start(); err != nil {
		stop()
		return err
	}
	go func() {
		err := cmd.Wait()
		if cmd.ProcessState.Success() {
			err = nil // a process that was told to end and did so well is an error of its context to exec
		}
		p.ended <- err
	}()
	return nil
}

// clouddriver lays the container's configuration over testenv's, as Spring does: a file for the application, one for its profile, those of
// directories below.
func (p *spinnakerPod) clouddriver(config map[string]any) error {
	var err error
	if p.without, err = yaml.Marshal(config); err != nil {
		return err
	}
	directory := p.Path("/opt/spinnaker/config")
	for _, name := range []string{"clouddriver.yml", "clouddriver-local.yml", "fairlead/clouddriver.yml"} {
		content, err := os.ReadFile(filepath.Join(directory, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		more := map[string]any{}
		if err := yaml.UnmarshalStrict(content, &more); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		merge(config, more)
	}
	// The bridge listens on another port than 9092, which would be its default on both sides.
	return unstructured.SetNestedField(config, p.bridge.Plugin, "spinnaker", "extensibility", "plugins", "Fairlead.Bridge", "config", "bridge")
}

func merge(into, more map[string]any) {
	for key, value := range more {
		if below, is := value.(map[string]any); is {
			if there, is := into[key].(map[string]any); is {
				merge(there, below)
				continue
			}
		}
		into[key] = value
	}
}

// up starts everything; the bridge ends with the test if the test has not ended it.
func (p *spinnakerPod) up(version string) *testenv.Env {
	p.t.Helper()
	p.t.Cleanup(func() {
		if p.signal == nil {
			return
		}
		p.signal()
		select {
		case <-p.ended:
		case <-time.After(3 * time.Minute):
			p.t.Error("the bridge does not end")
		}
		if p.t.Failed() {
			p.t.Logf("end of the bridge's log:\n%s", tail(p.log.String()))
		}
	})
	env := testenv.UpForTest(p.t, testenv.Options{Clouddriver: version, WithoutFairlead: true, Configure: p.configure})
	p.mu.Lock()
	defer p.mu.Unlock()
	must(p.t, p.err)
	return env
}

// operator applies the patch to a SpinnakerService as its comment says; the API server validates it by the Operator's schema.
func (x *agentWorld) operator(t *testing.T) {
	x.apply(t, objects(t, func() ([]byte, error) { return os.ReadFile("testdata/operator/crd.yaml") }))
	x.namespace(t, "spinnaker")
	run := func(stdin string, arguments ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), x.env.Kubectl, append([]string{"--kubeconfig", x.env.Clusters[0].Kubeconfig, "--namespace", "spinnaker"}, arguments...)...)
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, &stderr)
		}
		return string(out)
	}
	must(t, testenv.Wait(within(t, time.Minute), func(ctx context.Context) error {
		return exec.CommandContext(ctx, x.env.Kubectl, "--kubeconfig", x.env.Clusters[0].Kubeconfig, "get", "spinnakerservices", "-A").Run()
	}))
	run(`{"apiVersion":"spinnaker.io/v1alpha2","kind":"SpinnakerService","metadata":{"name":"spinnaker"},"spec":{"spinnakerConfig":{"config":{"version":"2026.2.3"}}}}`, "apply", "-f", "-")
	file := filepath.Join(operatorFolder, "spinnakerservice.yml")
	run("", "patch", "spinnakerservice", "spinnaker", "--type", "merge", "--patch-file", file)
	is, err := Objects([]byte(run("", "get", "spinnakerservice", "spinnaker", "-o", "json")))
	must(t, err)
	wanted := objects(t, func() ([]byte, error) { return os.ReadFile(file) })[0].Object["spec"].(map[string]any)
	got := is[0].Object["spec"].(map[string]any)
	wanted["spinnakerConfig"].(map[string]any)["config"] = map[string]any{"version": "2026.2.3"}
	if a, b := asYAML(t, wanted), asYAML(t, got); a != b {
		t.Errorf("the API server keeps\n%s\nof\n%s", b, a)
	}
}

func asYAML(t *testing.T, value any) string {
	t.Helper()
	text, err := yaml.Marshal(value)
	must(t, err)
	return string(text)
}

// beside has the API server take what is applied beside Spinnaker, and the Deployments that the install paths come to.
func (x *agentWorld) beside(t *testing.T) {
	for _, file := range []string{"service.yml", "uninstall.yml"} {
		x.apply(t, objects(t, func() ([]byte, error) { return os.ReadFile(filepath.Join(operatorFolder, file)) }))
	}
	for _, component := range []string{"kustomize", "kustomize-bridges"} {
		x.apply(t, kustomizeComponent(t, component))
	}
	for _, path := range spinnakerPaths {
		d, _ := path.deployment(t)
		d.APIVersion, d.Kind, d.Name, d.Namespace = "apps/v1", "Deployment", "clouddriver-"+strings.ToLower(path.name), "spinnaker"
		content, err := yaml.Marshal(d)
		must(t, err)
		x.apply(t, objects(t, func() ([]byte, error) { return content, nil }))
	}
}

func TestFragmentsThatHalyardDoesNotKnowAreFound(t *testing.T) {
	for text, want := range map[string]string{
		"deploymentEnvironment: {sidecars: {spin-clouddriver: [{name: a, image: b}]}}":          "field image not found",
		"deploymentEnvironment: {sidecars: {spin-clouddriver: [{name: a, port: grpc}]}}":        "cannot unmarshal",
		"deploymentEnvironment: {initContainers: {spin-clouddriver: [{name: a, imag: b}]}}":     `unknown field "imag"`,
		"deploymentEnvironment: {sideCars: {}}":                                                 "field sideCars not found",
		"deploymentEnvironment: {sidecars: {spin-clouddriver: [{env: [{name: A, value: b}]}]}}": "cannot unmarshal",
	} {
		file := filepath.Join(t.TempDir(), "config.yml")
		must(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := HalyardDeployment("spin-clouddriver", file, filepath.Join(halyardFolder, "service-settings-clouddriver.yml"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestInstallPathsSayTheSame keeps the bridge of the three paths the same but for where Spinnaker's names differ.
func TestInstallPathsSayTheSame(t *testing.T) {
	var first []string
	for _, path := range spinnakerPaths {
		d, _ := path.deployment(t)
		p := &Pod{Spec: d.Spec.Template.Spec}
		c, err := p.Container("fairlead-bridge")
		must(t, err)
		var variables []string
		for _, e := range c.Env {
			if e.Name != "FAIRLEAD_DATABASE_DSN" && e.Name != "FAIRLEAD_AGENTS_TLS_NAMES" {
				variables = append(variables, e.Name+"="+e.Value)
			}
		}
		slices.Sort(variables)
		if first == nil {
			first = variables
		}
		if !slices.Equal(first, variables) {
			t.Errorf("%s: variables %v, want %v", path.name, variables, first)
		}
		if grace := d.Spec.Template.Spec.TerminationGracePeriodSeconds; grace == nil || *grace < 11*60+30 {
			t.Errorf("%s: the pod has %v seconds to end, which is less than plugin.outlive and the bridge's own drain", path.name, grace)
		}
		if s := d.Spec.Template.Spec.SecurityContext; s == nil || s.FSGroup == nil || *s.FSGroup != 10111 {
			t.Errorf("%s: fsGroup %+v", path.name, s)
		}
	}
}
