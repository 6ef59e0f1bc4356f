package execute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/config"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/testenv"
	"go.uber.org/goleak"
)

// kubectlProgram builds the real kubectl once, of the version whose libraries are in use.
var kubectlProgram = sync.OnceValues(func() (string, error) {
	file := filepath.Join(scratch, "kubectl")
	out, err := exec.Command("go", "build", "-o", file, "./testdata/kubectl").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build kubectl: %w: %s", err, out)
	}
	return file, nil
})

// scratch is removed when the tests have ended.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "fairlead-execute-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(scratch)
		os.Exit(code)
	}))
}

// world is a control plane with a real kubectl and an executor, each in a namespace of its own, so that both can do the same.
type world struct {
	t          *testing.T
	kubeconfig string
	executor   *Executor
	cluster    *cluster.Cluster
	// stock is kubectl's namespace, ours the executor's. Both have the same length.
	stock, ours string
	cache       string
}

var worlds atomic.Int64

func newWorld(t *testing.T) *world {
	t.Helper()
	plane := testenv.Kube(t)
	n := worlds.Add(1)
	w := &world{
		t: t, kubeconfig: plane.Kubeconfig, cache: t.TempDir(),
		stock: fmt.Sprintf("stock-%d", n), ours: fmt.Sprintf("agent-%d", n),
	}
	c, err := cluster.New(config.Account{Name: "test", KubeconfigFile: plane.Kubeconfig}, cluster.Options{UserAgent: "fairlead-test"})
	if err != nil {
		t.Fatal(err)
	}
	w.cluster = c
	w.executor = New(c, Options{})
	for _, ns := range []string{w.stock, w.ours} {
		if out := w.kubectl("", "", "create", "namespace", ns); out.exit != 0 {
			t.Fatal(out.stderr)
		}
	}
	w.await("what controllers put into each namespace", func(w *world, ns string) bool {
		return w.kubectl(ns, "", "get", "serviceaccount/default", "configmap/kube-root-ca.crt").exit == 0
	})
	t.Cleanup(func() {
		w.kubectl("", "", "delete", "namespace", "--wait=false", w.stock, w.ours)
		c.Close()
	})
	return w
}

// said is what a command said.
type said struct {
	stdout, stderr string
	exit           int
}

func (w *world) kubectl(namespace, stdin string, arguments ...string) said {
	w.t.Helper()
	all := []string{"--kubeconfig=" + w.kubeconfig, "--cache-dir=" + w.cache}
	if namespace != "" {
		all = append(all, "--namespace="+namespace)
	}
	program, err := kubectlProgram()
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // also used when the test's context has ended
	defer cancel()
	command := exec.CommandContext(ctx, program, append(all, arguments...)...)
	command.Env = append(os.Environ(), "HOME="+w.cache)
	command.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return said{stdout.String(), stderr.String(), command.ProcessState.ExitCode()}
}

// run gives an operation to the executor and words its outcome as the bridge does.
func (w *world) run(op *linkv1.Operation) said {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	var stdout bytes.Buffer
	outcome := w.executor.Run(ctx, op, &stdout)
	out := words(outcome)
	if op.GetPatch().GetChangeCause()+op.GetScale().GetChangeCause()+op.GetApply().GetChangeCause()+op.GetCreate().GetChangeCause() != "" {
		out.stderr = "Flag --record has been deprecated, --record will be removed in the future\n" + out.stderr
	}
	out.stdout = stdout.String() + out.stdout
	if out.exit == 0 && op.GetDelete() != nil && op.GetDelete().GetName() == "" && len(outcome.GetEffects()) == 0 {
		out.stdout = "No resources found\n"
	}
	return out
}

// words is the contract with whoever shows an outcome to Clouddriver: kubectl's text from failures, warnings and effects.
func words(o *linkv1.Outcome) said {
	var out said
	for _, w := range o.GetWarnings() {
		out.stderr += "Warning: " + w + "\n"
	}
	for _, n := range o.GetNotes() {
		out.stderr += n + "\n"
	}
	for _, e := range o.GetEffects() {
		out.stdout += fmt.Sprintf("%s %q %s", e.GetResource(), e.GetName(), e.GetVerb())
		if e.GetNamespace() != "" {
			out.stdout += " from " + e.GetNamespace() + " namespace"
		}
		out.stdout += "\n"
	}
	if o.GetState() != linkv1.Outcome_STATE_DONE {
		return said{out.stdout, out.stderr + o.GetState().String() + ": " + o.GetReason() + "\n", 1}
	}
	for _, f := range o.GetFailures() {
		out.exit = 1
		text := f.GetMessage()
		switch alone := len(o.GetFailures()) == 1; {
		case f.GetCause() == linkv1.Failure_CAUSE_SERVER && f.GetReason() == "Invalid" && alone:
		case f.GetCause() == linkv1.Failure_CAUSE_SERVER && f.GetReason() == "Unauthorized":
			text = "error: You must be logged in to the server (" + text + ")"
		case f.GetCause() == linkv1.Failure_CAUSE_SERVER && f.GetReason() == "":
			text = "Error from server: " + text
		case f.GetCause() == linkv1.Failure_CAUSE_SERVER:
			text = "Error from server (" + f.GetReason() + "): " + text
		case f.GetCause() == linkv1.Failure_CAUSE_UNKNOWN_KIND:
			text = (&cluster.UnknownKindError{Token: text}).Error()
			if alone {
				text = "error: " + text
			}
		case f.GetCause() == linkv1.Failure_CAUSE_UNREACHABLE:
			host := regexp.MustCompile(`dial tcp (\S+): connect: connection refused`).FindStringSubmatch(text)
			text = "Unable to connect to the server: " + text
			if host != nil {
				text = "The connection to the server " + host[1] + " was refused - did you specify the right host or port?"
			}
		case alone && !strings.HasPrefix(text, "error: "):
			text = "error: " + text
		}
		out.stderr += strings.TrimSuffix(text, "\n") + "\n"
	}
	return out
}

// volatile fields differ between any two objects, status is written by controllers at their own pace.
var volatile = []string{"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "status", "clusterIP", "clusterIPs", "nodePort",
	"deployment.kubernetes.io/revision"}

// documents decodes a stream of JSON documents and blanks what must differ.
// volatileTexts stand inside of texts, and differ from run to run.
var volatileTexts = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`(kube-api-access|job|made)-[a-z0-9]{5}`), "$1-RANDOM"},
	{regexp.MustCompile(`(resourceVersion\\*":\\*")\d+`), "${1}0"},
	{regexp.MustCompile(` --kubeconfig=\S+ --cache-dir=\S+`), ""}, // in what kubectl says of its own command line
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME"},
}

func volatileText(text string) string {
	for _, v := range volatileTexts {
		text = v.pattern.ReplaceAllString(text, v.with)
	}
	return text
}

func documents(t *testing.T, text, namespace string) []any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(volatileText(strings.ReplaceAll(text, namespace, "NAMESPACE"))))
	var all []any
	for decoder.More() {
		var v any
		if err := decoder.Decode(&v); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		all = append(all, blank(v))
	}
	return all
}

func blank(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range volatile {
			if _, ok := v[name]; ok {
				v[name] = "VOLATILE"
			}
		}
		if prefix, ok := v["generateName"].(string); ok {
			if name, ok := v["name"].(string); ok && strings.HasPrefix(name, prefix) && len(name) > len(prefix) {
				v["name"] = prefix + "VOLATILE"
			}
		}
		for name, inner := range v {
			v[name] = blank(inner)
		}
	case []any:
		for i := range v {
			v[i] = blank(v[i])
		}
	}
	return v
}
