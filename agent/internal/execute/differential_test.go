package execute

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// step is one command, as kubectl's command line and as an operation.
type step struct {
	stdin     string
	arguments []string
	op        func(namespace string) *linkv1.Operation
	// global leaves --namespace out.
	global bool
	// plain output is compared as text, not as JSON.
	plain bool
	// owners compares who manages the fields of an object afterwards.
	owners []string
	// until is asked of kubectl's namespace and of ours before the command, until both answer yes.
	until func(w *world, namespace string) bool
}

func get(kind, name string) step {
	return step{arguments: []string{"get", "-o", "json", kind, name}, op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_Get{Get: &linkv1.Get{Kind: kind, Namespace: ns, Name: name}}}
	}}
}

func list(kinds, labels, fields string) step {
	arguments := []string{"get", "-o", "json", kinds}
	if labels != "" {
		arguments = append(arguments, "-l="+labels)
	}
	if fields != "" {
		arguments = append(arguments, "--field-selector="+fields)
	}
	return step{arguments: arguments, op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_List{List: &linkv1.List{
			Kinds: strings.Split(kinds, ","), Namespace: ns, LabelSelector: labels, FieldSelector: fields,
		}}}
	}}
}

func apply(manifest string, flags ...string) step {
	a := &linkv1.Apply{}
	for _, f := range flags {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "--server-side":
			a.ServerSide = true
		case "--force-conflicts":
			a.ForceConflicts = true
		case "--field-manager":
			a.FieldManager = value
		case "-l":
			a.LabelSelector = value
		}
	}
	return step{stdin: manifest, arguments: append([]string{"apply", "-o", "json", "-f", "-"}, flags...), op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_Apply{Apply: &linkv1.Apply{
			Manifests: []byte(strings.ReplaceAll(manifest, "NAMESPACE", ns)), Namespace: ns,
			ServerSide: a.ServerSide, ForceConflicts: a.ForceConflicts, FieldManager: a.FieldManager, LabelSelector: a.LabelSelector,
		}}}
	}}
}

func (s step) checking(owners ...string) step { s.owners = owners; return s }

func create(manifest string, selector string) step {
	arguments := []string{"create", "-o", "json", "-f", "-"}
	if selector != "" {
		arguments = append(arguments, "-l="+selector)
	}
	return step{stdin: manifest, arguments: arguments, op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_Create{Create: &linkv1.Create{
			Manifests: []byte(strings.ReplaceAll(manifest, "NAMESPACE", ns)), Namespace: ns, LabelSelector: selector}}}
	}}
}

func replace(manifest string) step {
	return step{stdin: manifest, arguments: []string{"replace", "-o", "json", "-f", "-"}, op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_Replace{Replace: &linkv1.Replace{
			Manifests: []byte(strings.ReplaceAll(manifest, "NAMESPACE", ns)), Namespace: ns}}}
	}}
}

func del(kind, name, labels string, flags ...string) step {
	d := &linkv1.Delete{Kind: kind, Name: name, LabelSelector: labels, GracePeriodSeconds: -1, Wait: true, IgnoreNotFound: labels != ""}
	target := []string{"delete", kind + "/" + name}
	if labels != "" {
		target = []string{"delete", kind, "-l=" + labels}
	}
	for _, f := range flags {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "--ignore-not-found":
			d.IgnoreNotFound = value == "true"
		case "--cascade":
			d.Cascade = value
		case "--grace-period":
			_, _ = fmt.Sscan(value, &d.GracePeriodSeconds)
		case "--wait":
			d.Wait = value == "true"
		}
	}
	return step{plain: true, arguments: append(target, flags...), op: func(ns string) *linkv1.Operation {
		c := &linkv1.Delete{Kind: d.Kind, Namespace: ns, Name: d.Name, LabelSelector: d.LabelSelector, IgnoreNotFound: d.IgnoreNotFound,
			Cascade: d.Cascade, GracePeriodSeconds: d.GracePeriodSeconds, Wait: d.Wait}
		return &linkv1.Operation{Operation: &linkv1.Operation_Delete{Delete: c}}
	}}
}

func (s step) everywhere() step { s.global = true; return s }

const (
	configMap = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","labels":{"a":"b"}},"data":{"k":"v","html":"<a & b>"}}`
	changed   = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","labels":{"a":"b"}},"data":{"k":"w"}}`
	secretOne = `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"password":"hunter2"}}`
	service   = `
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: admin, port: 81}
`
	serviceOnePort = `
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports:
  - {name: admin, port: 81}
`
	crontabDefinition = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"crontabs.diff.example.com"},
"spec":{"group":"diff.example.com","scope":"Namespaced","names":{"plural":"crontabs","singular":"crontab","kind":"CronTab","shortNames":["dct"]},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"cron":{"type":"string"},"list":{"type":"array","items":{"type":"string"}}}}}}}}]}}`
	crontab = `{"apiVersion":"diff.example.com/v1","kind":"CronTab","metadata":{"name":"ct"},"spec":{"cron":"* * *","list":["a","b"]}}`
)

func deployment(name, image string, replicas int, extra string) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"labels":{"app":%q}},"spec":{"replicas":%d,
"selector":{"matchLabels":{"app":%q}},"template":{"metadata":{"labels":{"app":%q}},"spec":{"containers":[{"name":"c","image":%q%s}]}}}}`,
		name, name, replicas, name, name, image, extra)
}

func pod(name string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"labels":{"app":"pods"}},"spec":{"containers":[{"name":"c","image":"i"}]}}`, name)
}

// stories are sequences of commands. After each, kubectl and the executor must have said the same.
var stories = map[string][]step{
	"get": {
		get("configmap", "kube-root-ca.crt"), get("cm", "kube-root-ca.crt"), get("ConfigMap", "kube-root-ca.crt"), get("configmaps.v1.", "kube-root-ca.crt"),
		get("cm", "missing"), get("nonsense", "x"), get("nonsense.example.com", "x"), get("Nonsense.v1.example.com", "x"),
		get("namespace", "default"), get("ns", "missing"), get("deployments.apps", "x"), get("deployment.v1.apps", "x"), get("DEPLOY", "x"),
		get("namespace", "default").everywhere(), get("service", "kubernetes").everywhere(),
	},
	"list": {
		list("configmap", "", ""), list("pod", "", ""), list("pod,service", "", ""), list("service,configmap", "", ""),
		list("cm", "a=b", ""), apply(configMap), list("cm", "a=b", ""), list("cm", "a in (b,c),!x", ""), list("cm", "a=", ""),
		list("cm", "a b", ""), list("cm", "", "metadata.name=cm"), list("cm", "", "spec.x=1"), list("event", "", "involvedObject.name=cm,involvedObject.kind=ConfigMap"),
		list("nonsense", "", ""), list("cm,nonsense", "", ""), list("cm,configmaps", "", ""), list("namespaces", "kubernetes.io/metadata.name=default", ""),
		list("all", "none=there", ""), list("selfsubjectreviews", "", ""),
	},
	"apply": {
		apply(configMap).checking("cm/cm"), apply(configMap), apply(changed).checking("cm/cm"), get("cm", "cm"),
		apply(service).checking("svc/web"), apply(serviceOnePort).checking("svc/web"),
		apply(deployment("web", "i:1", 0, "")).checking("deploy/web"), apply(deployment("web", "i:2", 1, `,"env":[{"name":"A","value":"1"}]`)).checking("deploy/web"),
		apply(deployment("web", "i:2", 0, `,"env":[{"name":"B","value":"2"}]`)).checking("deploy/web"),
		apply(secretOne).checking("secret/s"), apply(secretOne),
	},
	"apply what cannot be": {
		apply(deployment("bad", "", 0, "")), apply(deployment("bad", "i", -1, `,"ports":[{"containerPort":0}]`)), apply(deployment("bad", "i", 0, `,"nonsense":1`)),
		apply(`{"apiVersion":"v1","kind":"Nonsense","metadata":{"name":"n"}}`), apply(`{"apiVersion":"example.com/v1","kind":"Nonsense","metadata":{"name":"n"}}`),
		apply(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"g-"}}`), apply(`{"kind":"ConfigMap","metadata":{"name":"n"}}`), apply(`{"apiVersion":"v1","metadata":{"name":"n"}}`),
		apply(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}`), apply(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"n","labels":{"a":1}}}`), apply("not a manifest"), apply(`{"a":`),
		apply(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","namespace":"elsewhere"}}`), apply(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"Bad_Name"}}`),
		apply(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","namespace":"NAMESPACE"}}`),
		apply(""), apply("---\n---\n"), apply(configMap + "\n---\n" + `{"apiVersion":"v1","kind":"Nonsense","metadata":{"name":"n"}}`),
		apply(deployment("bad", "", 0, "") + "\n---\n" + deployment("worse", "", 0, "") + "\n---\n" + configMap),
	},
	"apply several": {
		apply(configMap + "\n---\n" + service), apply(`{"apiVersion":"v1","kind":"List","items":[` + configMap + `,` + secretOne + `]}`), apply(configMap+"\n---\n"+service, "-l=a=b"),
		apply(configMap, "-l=a=z"), apply(configMap, "-l=a b"),
	},
	"apply over what was created": {
		create(configMap, ""), apply(changed).checking("cm/cm"), create(deployment("made", "i", 0, ""), ""), apply(deployment("made", "j", 0, "")).checking("deploy/made"),
	},
	"apply server-side": {
		apply(configMap, "--server-side=true").checking("cm/cm"), apply(changed, "--server-side=true").checking("cm/cm"),
		apply(configMap, "--server-side=true", "--field-manager=other"), apply(configMap, "--server-side=true", "--force-conflicts=true", "--field-manager=other").checking("cm/cm"),
		apply(deployment("mig", "i:1", 0, `,"env":[{"name":"A","value":"1"}]`)), apply(deployment("mig", "i:2", 0, ""), "--server-side=true").checking("deploy/mig"),
		apply(deployment("mig", "", 0, ""), "--server-side=true"), apply(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm"},"nonsense":1}`, "--server-side=true"),
	},
	"create": {
		create(configMap, ""), create(configMap, ""), create(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"made-"}}`, ""),
		create(configMap, "a=z"), create(secretOne+"\n---\n"+service, ""), create(secretOne+"\n---\n"+configMap, ""), create(deployment("bad", "", 0, ""), ""), create("", ""),
		create(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"generateName":"job-"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}`, ""),
	},
	"replace": {
		replace(configMap), create(configMap, ""), replace(changed).checking("cm/cm"), replace(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","resourceVersion":"1"}}`),
		replace(`{"apiVersion":"v1","kind":"Nonsense","metadata":{"name":"n"}}`), replace(""), create(service, ""), replace(serviceOnePort), replace(deployment("absent", "i", 0, "")),
	},
	"delete": {
		create(configMap, ""), del("configmap", "cm", ""), del("cm", "cm", ""), del("cm", "cm", "", "--ignore-not-found=true"), del("nonsense", "x", ""),
		create(configMap, ""), del("configMap", "", "a=b", "--ignore-not-found=true"), del("cm", "", "a=b"), del("cm", "", "a b"),
		create(deployment("d", "i", 1, ""), ""), del("deployment", "d", "", "--ignore-not-found=true", "--cascade=foreground"),
		create(deployment("d", "i", 1, ""), ""), del("Deployment.apps", "d", "", "--cascade=orphan"), del("replicaSet", "", "app=d", "--cascade=background"),
		create(pod("p1")+"\n---\n"+pod("p2"), ""), del("pod", "", "app=pods", "--grace-period=1"), create(pod("p1"), ""), del("pod", "p1", "", "--grace-period=5"),
		del("namespace", "missing-namespace", ""),
	},
	"custom resources": {
		apply(crontabDefinition).everywhere(), list("crontabs.diff.example.com", "", ""), apply(crontab).checking("dct/ct"), apply(strings.Replace(crontab, `["a","b"]`, `["c"]`, 1)).checking("dct/ct"),
		get("CronTab.diff.example.com", "ct"), get("dct", "ct"), get("crontab", "ct"), apply(strings.Replace(crontab, `"spec":{`, `"spec":{"nonsense":1,`, 1)),
		del("CronTab.diff.example.com", "ct", ""),
	},
}

func TestOperationsSayAndDoWhatKubectlDoes(t *testing.T) {
	for name, steps := range stories {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i, s := range steps {
				if name == "custom resources" && i == 1 {
					w.awaitServed("dct")
				}
				w.compare(fmt.Sprintf("%d: %s", i+1, strings.Join(s.arguments, " ")), s)
			}
		})
	}
}

func (w *world) awaitServed(kind string) {
	deadline := time.Now().Add(20 * time.Second)
	for w.kubectl(w.stock, "", "get", kind).exit != 0 {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s is not served", kind)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *world) compare(name string, s step) {
	w.t.Helper()
	w.await(name, s.until)
	stockNamespace, ourNamespace := w.stock, w.ours
	if s.global {
		stockNamespace, ourNamespace = "", ""
	}
	stock := w.kubectl(stockNamespace, strings.ReplaceAll(s.stdin, "NAMESPACE", w.stock), s.arguments...)
	ours := w.run(s.op(ourNamespace))
	blankText := func(text, namespace string) string { return strings.ReplaceAll(text, namespace, "NAMESPACE") }
	if stock.exit != ours.exit {
		w.t.Errorf("%s: exit code %d, kubectl's is %d\nours: %s\nkubectl: %s", name, ours.exit, stock.exit, ours.stderr, stock.stderr)
	}
	if diff := cmp.Diff(volatileText(blankText(stock.stderr, w.stock)), volatileText(blankText(ours.stderr, w.ours))); diff != "" {
		w.t.Errorf("%s: standard error (- kubectl, + ours):\n%s", name, diff)
	}
	if s.plain {
		if diff := cmp.Diff(volatileText(blankText(stock.stdout, w.stock)), volatileText(blankText(ours.stdout, w.ours))); diff != "" {
			w.t.Errorf("%s: standard output (- kubectl, + ours):\n%s", name, diff)
		}
	} else if diff := cmp.Diff(documents(w.t, stock.stdout, w.stock), documents(w.t, ours.stdout, w.ours)); diff != "" {
		w.t.Errorf("%s: objects (- kubectl, + ours):\n%s", name, diff)
	}
	for _, object := range s.owners {
		if diff := cmp.Diff(w.owners(w.stock, object), w.owners(w.ours, object)); diff != "" {
			w.t.Errorf("%s: who manages %s (- kubectl, + ours):\n%s", name, object, diff)
		}
	}
}

// owners returns who manages which fields.
func (w *world) owners(namespace, object string) []any {
	w.t.Helper()
	out := w.kubectl(namespace, "", "get", "-o", "json", "--show-managed-fields", object)
	var o struct {
		Metadata struct {
			ManagedFields []map[string]any `json:"managedFields"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(out.stdout), &o); err != nil {
		w.t.Fatalf("%v: %s", err, out.stderr)
	}
	var all []any
	for _, m := range o.Metadata.ManagedFields {
		// What controllers report comes when it comes; no operation writes it. Their manager is the name of the control plane's program.
		if m["subresource"] == "status" {
			continue
		}
		delete(m, "time")
		all = append(all, m)
	}
	// The API server sorts them by time, which has a resolution of a second.
	slices.SortFunc(all, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return all
}
