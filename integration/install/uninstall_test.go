package install

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

// uninstall goes back as the guide says, after the bridge and Clouddriver have ended: accounts are handed back, the pod starts without
// what was added to it, the job takes the tables out. Then the stock Clouddriver polls and deploys to the account of the same name.
func (x *agentWorld) uninstall(t *testing.T, pod *spinnakerPod) {
	<-pod.ended
	must(t, pod.startBridge())
	must(t, testenv.Wait(within(t, time.Minute), func(ctx context.Context) error { return pod.bridgeIsReady(ctx) }))

	account := "by-agent"
	if code, out := pod.fairlead(t, "uninstall", "--check"); code != 2 || !strings.Contains(out, "account "+account+", in Clouddriver's cache: ") || !strings.Contains(out, "bridge bridge runs") {
		t.Errorf("before anything is uninstalled the check ends with %d: %s", code, out)
	}
	code, out := pod.fairlead(t, "uninstall", "--accounts", "--yes", "--bridge", pod.bridge.Admin, "--token-file", pod.bridge.AdminTokenFile)
	if code != 0 || !strings.Contains(out, "Account "+account+" was released, with ") {
		t.Errorf("accounts are handed back with %d: %s", code, out)
	}
	if code, out := pod.fairlead(t, "uninstall", "--tables", "--yes"); code != 1 || !strings.Contains(out, "bridges run on this database (bridge)") {
		t.Errorf("beside a bridge, --tables ends with %d: %s", code, out)
	}
	pod.signal()
	err := <-pod.ended
	pod.ended <- err
	must(t, err)

	job := pod.uninstallJob(t)
	cmd, err := job.Command(within(t, time.Minute), &job.Spec.Containers[0], pod.log)
	must(t, err)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, tail(pod.log.String()))
	}
	check := []string{"uninstall", "--check"}
	for _, mode := range modes {
		check = append(check, "by-"+mode)
	}
	if code, out := pod.fairlead(t, check...); code != 0 || !strings.Contains(out, "Nothing of Fairlead is left") {
		t.Errorf("after the uninstall the check ends with %d: %s", code, out)
	}
	x.untouched(t)

	x.stock(t, pod, account)
	s := x.story(t, account)
	ctx := within(t, 3*time.Minute)
	_, _, err = s.AwaitViews(ctx, story.Running(3))
	must(t, err)
	_, err = s.Deploy(ctx, s.Manifests(1, "stock")...)
	must(t, err)
	_, took, err := s.AwaitViews(ctx, story.Running(1))
	must(t, err)
	t.Logf("the stock Clouddriver shows its deploy %s later", took.Round(time.Millisecond))
	if code, out := pod.fairlead(t, "uninstall", "--check", account); code != 2 || strings.Contains(out, "  table ") {
		t.Errorf("of an account that is polled the check ends with %d: %s", code, out)
	}
}

// bridgeIsReady asks where probes ask; Halyard gives a sidecar none.
func (p *spinnakerPod) bridgeIsReady(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.bridge.Admin+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", response.StatusCode)
	}
	return nil
}

// fairlead runs the command line as in the sidecar, which has the bridge's variables.
func (p *spinnakerPod) fairlead(t *testing.T, arguments ...string) (code int, output string) {
	t.Helper()
	bridge, err := p.Container("fairlead-bridge")
	must(t, err)
	like, err := p.Command(t.Context(), bridge, nil)
	must(t, err)
	cmd := exec.CommandContext(within(t, time.Minute), p.Programs["fairlead"][0], arguments...)
	cmd.Env = like.Env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// uninstallJob is the pod of the job that operators apply, on the database of this pod.
func (p *spinnakerPod) uninstallJob(t *testing.T) *Pod {
	t.Helper()
	made := find[job](t, objects(t, func() ([]byte, error) { return os.ReadFile(filepath.Join(operatorFolder, "uninstall.yml")) }), "Job", "fairlead-uninstall")
	pod := &Pod{Spec: made.Spec.Template.Spec, Namespace: "spinnaker", Objects: p.Objects, Dir: t.TempDir(), Programs: p.Programs,
		Variables: map[string]func(string) string{"FAIRLEAD_DATABASE_DSN": p.Variables["FAIRLEAD_DATABASE_DSN"]}}
	must(t, pod.Prepare())
	return pod
}

// untouched fails unless the database holds Clouddriver's tables alone, and those of its cache no row of the Kubernetes provider.
func (x *agentWorld) untouched(t *testing.T) {
	t.Helper()
	db, err := sql.Open("mysql", x.env.MySQL.DSN)
	must(t, err)
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
	must(t, err)
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		names = append(names, name)
	}
	must(t, rows.Err())
	if len(names) < 20 {
		t.Errorf("tables %v: Clouddriver's own are missing", names)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "fairlead") {
			t.Errorf("table %s is left", name)
		}
		if !strings.HasPrefix(name, "cats_v1_") {
			continue
		}
		var n int
		must(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+name+" WHERE id LIKE 'kubernetes.v2:%'").Scan(&n)) //nolint:gosec // a name that the database gave
		if n > 0 {
			t.Errorf("table %s has %d rows", name, n)
		}
	}
}

// stock starts Clouddriver with the configuration that it had before the install, and an account of its own.
func (x *agentWorld) stock(t *testing.T, pod *spinnakerPod, account string) {
	t.Helper()
	config := map[string]any{}
	must(t, yaml.Unmarshal(pod.without, &config))
	merge(config, map[string]any{"kubernetes": map[string]any{"enabled": true, "accounts": []any{map[string]any{
		"name": account, "kubeconfigFile": x.env.Clusters[0].Kubeconfig, "kubectlExecutable": x.env.Kubectl, "checkPermissionsOnStartup": false, "metrics": false,
	}}}})
	content, err := yaml.Marshal(config)
	must(t, err)
	directory := filepath.Join(filepath.Dir(filepath.Dir(x.env.Clouddriver.Log)), "clouddriver", "config")
	must(t, os.WriteFile(filepath.Join(directory, "clouddriver.yml"), content, 0o600))
	must(t, x.env.Start(within(t, 3*time.Minute), "clouddriver", 0))
}
