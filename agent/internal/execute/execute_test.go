package execute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/config"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// variant is another way to the same control plane.
func (w *world) variant(name string, change func(*api.Config)) *world {
	w.t.Helper()
	c, err := clientcmd.LoadFromFile(w.kubeconfig)
	if err != nil {
		w.t.Fatal(err)
	}
	change(c)
	file := filepath.Join(w.t.TempDir(), name)
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		w.t.Fatal(err)
	}
	other, err := cluster.New(config.Account{Name: name, KubeconfigFile: file}, cluster.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(other.Close)
	v := *w
	v.kubeconfig, v.cluster, v.executor, v.cache = file, other, New(other, Options{}), w.t.TempDir()
	return &v
}

func onlyUser(c *api.Config) *api.AuthInfo {
	for _, u := range c.AuthInfos {
		return u
	}
	return nil
}

func onlyCluster(c *api.Config) *api.Cluster {
	for _, k := range c.Clusters {
		return k
	}
	return nil
}

func TestRefusalsSayWhatKubectlSays(t *testing.T) {
	w := newWorld(t)
	nobody := w.variant("nobody", func(c *api.Config) { onlyUser(c).Impersonate = "nobody" })
	stranger := w.variant("stranger", func(c *api.Config) {
		*onlyUser(c) = api.AuthInfo{Token: "wrong"}
	})
	absent := w.variant("absent", func(c *api.Config) { onlyCluster(c).Server = "https://localhost:1" })
	untrusted := w.variant("untrusted", func(c *api.Config) {
		onlyCluster(c).CertificateAuthorityData, onlyCluster(c).CertificateAuthority = nil, ""
	})
	lost := w.variant("lost", func(c *api.Config) { onlyCluster(c).Server = "https://no-such-host.invalid:6443" })
	all := []step{
		get("cm", "x"), list("cm,pod", "", ""), del("cm", "cm", ""), del("cm", "", "a=b"),
		apply(configMap), apply(configMap, "--server-side=true"), create(configMap, ""), replace(configMap),
		scaleTo("deployment", "web", 1), patch("deployment", "web", "merge", "{}", false), rolloutHistory("deployment", "web", 0), rolloutUndo("deployment", "web", 1),
		rolloutDo("pause", "deployment", "web"), rolloutDo("restart", "statefulSet", "web"), logs("web", "-c=c"), logs("job/web", "-c=c"), getAll([]string{"cm", "a", "b"}, "cm/a", "cm/b"), topOf("", "", "--containers"),
	}
	for _, s := range all {
		nobody.compare("nobody "+strings.Join(s.arguments, " "), s)
	}
	for name, v := range map[string]*world{"stranger": stranger, "absent": absent, "untrusted": untrusted, "lost": lost} {
		// kubectl logs each attempt at discovery; the last line is its error. With manifests it tells that it could not
		// download a schema for validation; we always say what it says to a get.
		lines := strings.Split(strings.TrimSpace(v.kubectl(v.stock, "", "get", "cm", "x").stderr), "\n")
		want := lines[len(lines)-1]
		for _, s := range all {
			if got := v.run(s.op(v.ours)); got.exit != 1 || strings.TrimSpace(got.stderr) != want {
				t.Errorf("%s %v:\n got  %s\n want %s", name, s.arguments, got.stderr, want)
			}
		}
	}
}

func (w *world) outcome(ctx context.Context, op *linkv1.Operation, output io.Writer) *linkv1.Outcome {
	w.t.Helper()
	began := time.Now()
	o := w.executor.Run(ctx, op, output)
	if time.Since(began) > 20*time.Second {
		w.t.Errorf("took %s", time.Since(began))
	}
	return o
}

func TestFailuresKeepTheirStructure(t *testing.T) {
	w := newWorld(t)
	absent := w.variant("absent", func(c *api.Config) { onlyCluster(c).Server = "https://localhost:1" })
	for _, c := range []struct {
		world *world
		op    *linkv1.Operation
		want  string
	}{
		{w, get("cm", "x").op(w.ours), `CAUSE_SERVER NotFound 404 configmaps "x" not found`},
		{w, get("Foo.example.com", "x").op(w.ours), `CAUSE_UNKNOWN_KIND  0 Foo.example.com`},
		{w, apply("").op(w.ours), `CAUSE_CLIENT  0 no objects passed to apply`},
		{w, apply(deployment("bad", "", 0, "")).op(w.ours), `CAUSE_SERVER Invalid 422 The Deployment "bad" is invalid: spec.template.spec.containers[0].image: Required value`},
		{absent, get("cm", "x").op(w.ours), `CAUSE_UNREACHABLE  0 dial tcp localhost:1: connect: connection refused`},
		{w, &linkv1.Operation{}, `CAUSE_CLIENT  0 this agent does not know the operation <nil>; its bridge is newer: update the agent`},
		{w, nil, `CAUSE_CLIENT  0 this agent does not know the operation <nil>; its bridge is newer: update the agent`},
		{w, &linkv1.Operation{Operation: &linkv1.Operation_Delete{Delete: &linkv1.Delete{Kind: "cm", Name: "x", Cascade: "sideways"}}}, `CAUSE_CLIENT  0 invalid cascade value (sideways). Must be "background", "foreground", or "orphan"`},
		{w, &linkv1.Operation{Operation: &linkv1.Operation_Delete{Delete: &linkv1.Delete{Kind: "cm"}}}, `CAUSE_CLIENT  0 resource(s) were provided, but no name was specified`},
		{w, &linkv1.Operation{Operation: &linkv1.Operation_List{List: &linkv1.List{}}}, `CAUSE_CLIENT  0 you must specify the type of resource to get`},
	} {
		o := c.world.outcome(t.Context(), c.op, io.Discard)
		if len(o.GetFailures()) != 1 || o.GetState() != linkv1.Outcome_STATE_DONE {
			t.Errorf("%v: %v", c.op, o)
			continue
		}
		f := o.GetFailures()[0]
		if got := fmt.Sprintf("%s %s %d %s", f.GetCause(), f.GetReason(), f.GetCode(), f.GetMessage()); got != c.want {
			t.Errorf("%v:\n got  %s\n want %s", c.op, got, c.want)
		}
	}
}

func TestADeleteThatWaitsForAFinalizerEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	const held = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"held","finalizers":["example.com/hold"]}}`
	if out := w.run(create(held, "").op(w.ours)); out.exit != 0 {
		t.Fatal(out.stderr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	o := w.outcome(ctx, del("cm", "held", "").op(w.ours), io.Discard)
	if o.GetState() != linkv1.Outcome_STATE_CANCELLED || o.GetReason() != "its time was over" || len(o.GetEffects()) != 1 {
		t.Fatal(o)
	}
	// A second delete waits until somebody takes the finalizer away.
	go func() {
		time.Sleep(500 * time.Millisecond)
		w.kubectl(w.ours, "", "patch", "cm", "held", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	}()
	began := time.Now()
	o = w.outcome(t.Context(), del("cm", "held", "").op(w.ours), io.Discard)
	if len(o.GetFailures()) > 0 || time.Since(began) < 400*time.Millisecond {
		t.Fatal(o, time.Since(began))
	}
}

func TestADeleteIsOverWhenAnotherObjectHasTheName(t *testing.T) {
	w := newWorld(t)
	const held = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"held","finalizers":["example.com/hold"]}}`
	w.run(create(held, "").op(w.ours))
	done := make(chan *linkv1.Outcome)
	go func() { done <- w.executor.Run(t.Context(), del("cm", "held", "").op(w.ours), io.Discard) }()
	time.Sleep(300 * time.Millisecond)
	w.kubectl(w.ours, "", "patch", "cm", "held", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	w.kubectl(w.ours, held, "create", "-f", "-")
	select {
	case o := <-done:
		if len(o.GetFailures()) > 0 {
			t.Fatal(o)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the delete waits for the new object")
	}
	w.kubectl(w.ours, "", "patch", "cm", "held", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
}

func TestCancelEndsAnOperationAtOnce(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the caller went away"))
	for _, s := range []step{get("cm", "x"), list("cm", "", ""), apply(configMap), create(configMap, ""), replace(configMap), del("cm", "x", ""),
		scaleTo("deploy", "x", 1), patch("cm", "x", "merge", "{}", false), rolloutHistory("deploy", "x", 0), rolloutUndo("deploy", "x", 1), rolloutDo("restart", "deploy", "x"), logs("x"), topOf("x", "")} {
		o := w.outcome(ctx, s.op(w.ours), io.Discard)
		if o.GetState() != linkv1.Outcome_STATE_CANCELLED || o.GetReason() != "the caller went away" || len(o.GetFailures()) > 0 {
			t.Errorf("%v: %v", s.arguments, o)
		}
	}
	if out := w.run(get("cm", "cm").op(w.ours)); !strings.Contains(out.stderr, "NotFound") {
		t.Error("a cancelled operation had an effect: ", out)
	}
}

func TestAListStreamsPageByPage(t *testing.T) {
	w := newWorld(t)
	const objects = 520
	var manifests strings.Builder
	for i := range objects {
		fmt.Fprintf(&manifests, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"many-%04d","labels":{"many":"yes"}},"data":{"k":%q}}`+"\n---\n", i, strings.Repeat("x", 200))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if o := w.executor.Run(ctx, create(manifests.String(), "").op(w.ours), io.Discard); len(o.GetFailures()) > 0 {
		t.Fatal(o)
	}
	writes := &countingWriter{}
	if o := w.executor.Run(ctx, list("cm", "many=yes", "").op(w.ours), writes); len(o.GetFailures()) > 0 {
		t.Fatal(o)
	}
	var all struct{ Items []map[string]any }
	if err := json.Unmarshal(writes.text.Bytes(), &all); err != nil || len(all.Items) != objects {
		t.Fatal(err, len(all.Items))
	}
	if writes.largest > 4096 {
		t.Errorf("one write had %d bytes", writes.largest)
	}
	if all.Items[0]["kind"] != "ConfigMap" || all.Items[0]["apiVersion"] != "v1" {
		t.Error("items do not say what they are: ", all.Items[0])
	}
	effects := w.executor.Run(ctx, del("cm", "", "many=yes").op(w.ours), io.Discard)
	if len(effects.GetFailures()) > 0 || len(effects.GetEffects()) != objects {
		t.Error(effects.GetFailures(), len(effects.GetEffects()))
	}
}

type countingWriter struct {
	text    bytes.Buffer
	largest int
}

func (c *countingWriter) Write(p []byte) (int, error) {
	c.largest = max(c.largest, len(p))
	return c.text.Write(p)
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("nobody listens") }

func TestAWriterThatFailsEndsTheOperation(t *testing.T) {
	w := newWorld(t)
	for _, s := range []step{list("cm", "", ""), get("cm", "kube-root-ca.crt")} {
		o := w.outcome(t.Context(), s.op(w.ours), brokenWriter{})
		if len(o.GetFailures()) != 1 || !strings.Contains(o.GetFailures()[0].GetMessage(), "nobody listens") {
			t.Error(o)
		}
	}
}

type panickingWriter struct{}

func (panickingWriter) Write([]byte) (int, error) { panic("secret-in-a-panic") }

func TestAPanicIsAFailureThatDoesNotTellMore(t *testing.T) {
	w := newWorld(t)
	o := w.outcome(t.Context(), get("cm", "kube-root-ca.crt").op(w.ours), panickingWriter{})
	if len(o.GetFailures()) != 1 || strings.Contains(o.String(), "secret-in-a-panic") {
		t.Error(o)
	}
}

func TestWarningsOfTheAPIServerAreCollectedOnce(t *testing.T) {
	w := newWorld(t)
	const twice = `,"env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]`
	w.compare("apply", apply(deployment("warned", "i", 0, twice)))
	o := w.outcome(t.Context(), apply(deployment("too", "i", 0, twice)+"\n---\n"+deployment("also", "i", 0, twice)).op(w.ours), io.Discard)
	if len(o.GetWarnings()) != 1 || !strings.Contains(o.GetWarnings()[0], "hides previous definition") {
		t.Error(o.GetWarnings())
	}
}

func TestNoOperationWritesAFile(t *testing.T) {
	w := newWorld(t)
	empty := t.TempDir()
	t.Setenv("TMPDIR", empty)
	t.Setenv("HOME", empty)
	for _, s := range []step{apply(configMap), apply(changed), create(secretOne, ""), replace(changed), get("cm", "cm"), del("cm", "cm", ""),
		create(deployment("web", "i", 0, ""), ""), scaleTo("deploy", "web", 0), patch("deploy", "web", "merge", `{"metadata":{"labels":{"x":"y"}}}`, true), rolloutDo("restart", "deploy", "web"), rolloutHistory("deploy", "web", 0)} {
		if out := w.run(s.op(w.ours)); out.exit != 0 {
			t.Error(out.stderr)
		}
	}
	if files, err := os.ReadDir(empty); err != nil || len(files) > 0 {
		t.Error(err, files)
	}
}

func TestOneSchemaIsReadOnceForAllAccounts(t *testing.T) {
	w := newWorld(t)
	schemas := NewSchemas()
	for range 2 {
		e := New(w.cluster, Options{Schemas: schemas})
		for _, image := range []string{"i:1", "i:2", "i:3"} {
			if o := e.Run(t.Context(), apply(deployment("shared", image, 0, "")).op(w.ours), io.Discard); len(o.GetFailures()) > 0 {
				t.Fatal(o)
			}
		}
	}
	if len(schemas.byDigest) != 1 {
		t.Errorf("%d documents are kept", len(schemas.byDigest))
	}
}
