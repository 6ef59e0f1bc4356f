package kubectl

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const manifest = `{"kind":"ConfigMap"}`

func TestCommandLinesOfClouddriverBecomeOperations(t *testing.T) {
	bytes := `"` + "eyJraW5kIjoiQ29uZmlnTWFwIn0=" + `"`
	for _, test := range []struct{ line, want string }{
		{"-o json get namespace", `{"list":{"kinds":["namespace"]}}`},
		{"--namespace=demo -o json get deployment web", `{"get":{"kind":"deployment","namespace":"demo","name":"web"}}`},
		{"--request-timeout=30 -v 9 --namespace=demo -o json get deployment/web", `{"get":{"kind":"deployment","namespace":"demo","name":"web"}}`},
		{"--namespace=demo -o json get pod,service -l=app=web,tier!=db", `{"list":{"kinds":["pod","service"],"namespace":"demo","labelSelector":"app=web,tier!=db"}}`},
		{"get pod -n demo -ojson -lapp=web", `{"list":{"kinds":["pod"],"namespace":"demo","labelSelector":"app=web"}}`},
		{"--namespace=demo -o json get event --field-selector involvedObject.name=web,involvedObject.kind=Deployment",
			`{"list":{"kinds":["event"],"namespace":"demo","fieldSelector":"involvedObject.name=web,involvedObject.kind=Deployment"}}`},
		{"-o json get CronTab.stable.example.com c --namespace demo", `{"get":{"kind":"CronTab.stable.example.com","namespace":"demo","name":"c"}}`},
		{"-o json get pod a b", `{"list":{"objects":["pod/a","pod/b"]}}`},
		{"-o json -n demo get pod/a service/b", `{"list":{"namespace":"demo","objects":["pod/a","service/b"]}}`},
		{"-o json get pod -A -l a=b", `{"list":{"kinds":["pod"],"allNamespaces":true,"labelSelector":"a=b"}}`},
		{"-o json get pod,pod", `{"list":{"kinds":["pod"]}}`},

		{"apply -o json -f -", `{"apply":{"manifests":` + bytes + `}}`},
		{"-v 9 apply --server-side=true --force-conflicts=true -o json -f - -l=app=web",
			`{"apply":{"manifests":` + bytes + `,"serverSide":true,"forceConflicts":true,"labelSelector":"app=web"}}`},
		{"apply --server-side --field-manager=me --output=json --filename=- -n demo", `{"apply":{"manifests":` + bytes + `,"serverSide":true,"fieldManager":"me","namespace":"demo"}}`},
		{"apply --record -o json -f -", `{"apply":{"manifests":` + bytes + `,"changeCause":"kubectl apply --record=true --output=json --filename=-"}}`},
		{"apply --record=false -o json -f -", `{"apply":{"manifests":` + bytes + `}}`},
		{"-n demo create --record -o json -f -", `{"create":{"manifests":` + bytes + `,"namespace":"demo","changeCause":"kubectl create --namespace=demo --record=true --output=json --filename=-"}}`},
		{"create -o json -f - -l=app=web", `{"create":{"manifests":` + bytes + `,"labelSelector":"app=web"}}`},
		{"replace -o json -f -", `{"replace":{"manifests":` + bytes + `}}`},

		{"--namespace=demo delete deployment/web --ignore-not-found=true --cascade=foreground --grace-period=5",
			`{"delete":{"kind":"deployment","namespace":"demo","name":"web","ignoreNotFound":true,"cascade":"foreground","gracePeriodSeconds":"5","wait":true}}`},
		{"--namespace=demo delete replicaSet -l=app=web --ignore-not-found=true",
			`{"delete":{"kind":"replicaSet","namespace":"demo","labelSelector":"app=web","ignoreNotFound":true,"cascade":"background","gracePeriodSeconds":"-1","wait":true}}`},
		{"delete pod x", `{"delete":{"kind":"pod","name":"x","cascade":"background","gracePeriodSeconds":"-1","wait":true}}`},
		{"delete pod/x --cascade --wait=false", `{"delete":{"kind":"pod","name":"x","cascade":"background","gracePeriodSeconds":"-1"}}`},
		{"delete pod/x --cascade=true", `{"delete":{"kind":"pod","name":"x","cascade":"background","gracePeriodSeconds":"-1","wait":true}}`},
		{"delete pod/x --cascade=false", `{"delete":{"kind":"pod","name":"x","cascade":"orphan","gracePeriodSeconds":"-1","wait":true}}`},
		{"delete pod/x --cascade=orphan", `{"delete":{"kind":"pod","name":"x","cascade":"orphan","gracePeriodSeconds":"-1","wait":true}}`},
		{"delete pod/x --grace-period=0", `{"delete":{"kind":"pod","name":"x","cascade":"background","gracePeriodSeconds":"1","wait":true}}`},
		{"delete pod -l app=web", `{"delete":{"kind":"pod","labelSelector":"app=web","ignoreNotFound":true,"cascade":"background","gracePeriodSeconds":"-1","wait":true}}`},
		{"delete pod -l app=web --ignore-not-found=false", `{"delete":{"kind":"pod","labelSelector":"app=web","cascade":"background","gracePeriodSeconds":"-1","wait":true}}`},

		{"--namespace=demo logs web-1 -c=main", `{"logs":{"namespace":"demo","name":"web-1","container":"main"}}`},
		{"--namespace=demo logs job/pi -c=main", `{"logs":{"kind":"job","namespace":"demo","name":"pi","container":"main"}}`},
		{"logs web-1 main -n demo --tail=10 --since=90s -p --timestamps --limit-bytes 5",
			`{"logs":{"namespace":"demo","name":"web-1","container":"main","tailLines":"10","sinceSeconds":"90","previous":true,"timestamps":true,"limitBytes":"5"}}`},
		{"logs web-1 --all-containers --tail=0 --since-time=2026-01-02T03:04:05Z", `{"logs":{"name":"web-1","allContainers":true,"tailLines":"0","sinceTime":"2026-01-02T03:04:05Z"}}`},
		{"--namespace=demo scale deployment/web --replicas=3", `{"scale":{"kind":"deployment","namespace":"demo","name":"web","replicas":3}}`},
		{"scale Deployment.apps web --replicas=0 --current-replicas=2", `{"scale":{"kind":"Deployment.apps","name":"web","currentReplicas":2}}`},
		{"--namespace=demo patch deployment web --type json --patch [{}]", `{"patch":{"kind":"deployment","namespace":"demo","name":"web","type":"json","patch":"W3t9XQ=="}}`},
		{"--namespace=demo patch deployment web --record --type strategic --patch {}", `{"patch":{"kind":"deployment","namespace":"demo","name":"web","type":"strategic","patch":"e30=",
			"changeCause":"kubectl patch deployment web --namespace=demo --record=true --type=strategic --patch={}"}}`},
		{"patch pod/web -p {} --field-manager=me", `{"patch":{"kind":"pod","name":"web","type":"strategic","patch":"e30=","fieldManager":"me"}}`},
		{"--namespace=demo rollout history deployment/web", `{"rolloutHistory":{"kind":"deployment","namespace":"demo","name":"web"}}`},
		{"rollout history deployment/web --revision=2", `{"rolloutHistory":{"kind":"deployment","name":"web","revision":"2"}}`},
		{"--namespace=demo rollout undo deployment/web --to-revision=2", `{"rolloutUndo":{"kind":"deployment","namespace":"demo","name":"web","toRevision":"2"}}`},
		{"rollout pause deployment/web", `{"rolloutPause":{"kind":"deployment","name":"web"}}`},
		{"rollout resume deployment web", `{"rolloutResume":{"kind":"deployment","name":"web"}}`},
		{"-v 9 --request-timeout 30 rollout restart -n demo statefulSet/db", `{"rolloutRestart":{"kind":"statefulSet","namespace":"demo","name":"db"}}`},
		{"--namespace=demo top po web-1 --containers", `{"top":{"namespace":"demo","pod":"web-1","containers":true}}`},
		{"--namespace=demo top po --containers", `{"top":{"namespace":"demo","containers":true}}`},
		{"top pods -l app=web", `{"top":{"labelSelector":"app=web"}}`},
	} {
		t.Run(test.line, func(t *testing.T) {
			got, mutation, err := Parse(strings.Fields(test.line), []byte(manifest))
			if err != nil {
				t.Fatal(err)
			}
			want := &linkv1.Operation{}
			if err := protojson.Unmarshal([]byte(test.want), want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			read := got.GetGet() != nil || got.GetList() != nil || got.GetLogs() != nil || got.GetTop() != nil || got.GetRolloutHistory() != nil
			if mutation == read {
				t.Errorf("mutation = %v", mutation)
			}
		})
	}
}

func TestWhatIsNotUnderstoodIsRefusedByName(t *testing.T) {
	for _, test := range []struct{ line, stdin, want string }{
		{"", "", "no verb"},
		{"--namespace=demo -o json", "", "no verb"},
		{"-- get pod", "", "no verb"},
		{"logs", "", "POD or TYPE/NAME is a required argument"},
		{"logs web main more", "", "POD or TYPE/NAME is a required argument"},
		{"logs web main -c main", "", "only one of -c or an inline [CONTAINER] arg"},
		{"logs web -c main --all-containers", "", "--all-containers=true should not be specified with container name main"},
		{"logs web -f", "", "unknown shorthand flag: 'f'"},
		{"logs web --tail=-2", "", "--tail must be greater than or equal to -1"},
		{"logs web --since=-1s", "", "--since must be greater than 0"},
		{"logs web --since=1s --since-time=2026-01-02T03:04:05Z", "", "at most one of"},
		{"logs web --since-time=yesterday", "", `cannot parse "yesterday"`},
		{"logs web --limit-bytes=-1", "", "--limit-bytes must be greater than 0"},
		{"logs job/", "", "resource/name form"},
		{"scale deployment/web", "", `required flag(s) "replicas" not set`},
		{"scale deployment/web --replicas=-1", "", "COUNT must be greater than or equal to 0"},
		{"scale deployment/web --replicas=1 --current-replicas=-2", "", "-1 or greater"},
		{"scale deployment/web --replicas=some", "", `invalid argument "some"`},
		{"scale deployment --replicas=1", "", "a name is required"},
		{"scale --replicas=1", "", "You must provide one or more resources"},
		{"scale deployment,job x --replicas=1", "", "one kind at a time"},
		{"patch deployment web", "", "must specify --patch"},
		{"patch deployment web --patch {} --type odd", "", `--type must be one of [json merge strategic], not "odd"`},
		{"patch deployment --patch {}", "", "a name is required"},
		{"patch deployment web --patch-file /etc/passwd", "", "unknown flag: --patch-file"},
		{"rollout", "", "one of history, undo, pause, resume, restart is required"},
		{"rollout status deployment/web", "", "rollout status is not supported"},
		{"rollout undo deployment/web --revision=1", "", "unknown flag: --revision (of rollout undo)"},
		{"rollout restart deployment/web --to-revision=1", "", "unknown flag: --to-revision (of rollout restart)"},
		{"rollout history deployment/web --revision=-1", "", "revision must be a positive integer: -1"},
		{"rollout history", "", "required resource not specified"},
		{"rollout pause deployment", "", "a name is required"},
		{"top", "", "only top pod is supported"},
		{"top node", "", "only top pod is supported"},
		{"top po a b", "", "pod [NAME | -l label]"},
		{"top po a -l b=c", "", "only one of NAME or selector can be provided"},
		{"exec web -- sh", "", "exec is not supported"},
		{"frobnicate pod", "", `unknown command "frobnicate"`},
		{"-o json get pod --frobnicate=1", "", "unknown flag: --frobnicate"},
		{"-o json get pod -Z", "", "unknown shorthand flag: 'Z'"},
		{"--kubeconfig=/etc/x -o json get pod", "", "--kubeconfig is not accepted"},
		{"-o json --token=abc get pod", "", "--token is not accepted"},
		{"--request-timeout=soon -o json get pod", "", `Invalid timeout value "soon"`},
		{"-v nine -o json get pod", "", `invalid argument "nine"`},
		{"get pod", "", "-o json is required"},
		{"-o yaml get pod", "", "-o yaml is not supported"},
		{"-o json get", "", "You must specify the type of resource to get."},
		{"-o json get pod a b -l x=y", "", "name cannot be provided when a selector is specified"},
		{"-o json get pod a b -A", "", "cannot be retrieved by name across all namespaces"},
		{"-o json get pod a -A", "", "cannot be retrieved by name across all namespaces"},
		{"-o json get pod/a b c", "", "a name is required"},
		{"-o json get pod a pod/b", "", "no need to specify a resource type"},
		{"-o json get pod,service a b", "", "must have a single resource and name"},
		{"delete pod a b", "", "one name at a time"},
		{"-o json get pod,service a", "", "one kind with a name"},
		{"-o json get pod pod/b", "", "no need to specify a resource type"},
		{"-o json get pod, a", "", "empty kind"},
		{"-o json get pod a -l=x=y", "", "name cannot be provided when a selector is specified"},
		{"apply -f -", manifest, "-o json is required"},
		{"apply -o json", manifest, "-f - is required"},
		{"apply -o json -f /etc/passwd", manifest, `-f - is required (manifests are read from standard input only), got -f "/etc/passwd"`},
		{"apply -o json -f - x", manifest, "Unexpected args: [x]"},
		{"apply -o json -f -", " \n", "no objects passed to apply"},
		{"create -o json -f -", "", "no objects passed to create"},
		{"replace -o json -f -", "", "no objects passed to replace"},
		{"replace -o json -f - -l=a=b", manifest, "unknown shorthand flag: 'l'"},
		{"apply -o json -f - --force-conflicts", manifest, "--force-conflicts only works with --server-side"},
		{"apply -o json -f - --prune", manifest, "unknown flag: --prune"},
		{"delete", "", "You must provide one or more resources"},
		{"delete pod", "", "no name was specified"},
		{"delete pod a -l=x=y", "", "name cannot be provided when a selector is specified"},
		{"delete pod,service -l=x=y", "", "one kind at a time"},
		{"delete pod/a --cascade=never", "", "invalid cascade value (never)"},
		{"delete pod/a --grace-period=soon", "", `invalid argument "soon"`},
		{"delete pod --all", "", "unknown flag: --all"},
		{"delete pod/a --force", "", "unknown flag: --force"},
	} {
		t.Run(test.line, func(t *testing.T) {
			op, mutation, err := Parse(strings.Fields(test.line), []byte(test.stdin))
			if op != nil || mutation || !IsUsage(err) {
				t.Fatalf("got %v, %v, %v", op, mutation, err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q does not say %q", err, test.want)
			}
			stdout, stderr, exit := Render(nil, nil, err)
			if stdout != "" || exit != 1 || !strings.HasPrefix(stderr, "error: ") || !strings.HasSuffix(stderr, "\n") {
				t.Errorf("rendered %q, %q, %d", stdout, stderr, exit)
			}
		})
	}
}

// The file holds the distinct command lines that a real Clouddriver 1.38 ran.
func TestRecordedCommandLinesAreUnderstood(t *testing.T) {
	file, err := os.Open("testdata/clouddriver-1.38-argv.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	understood := 0
	for lines.Scan() {
		var recorded struct{ Argv []string }
		if err := json.Unmarshal(lines.Bytes(), &recorded); err != nil {
			t.Fatal(err)
		}
		_, _, err := Parse(recorded.Argv, []byte(manifest))
		if err != nil {
			t.Errorf("%q: %v", recorded.Argv, err)
		}
		understood++
	}
	if understood < 40 {
		t.Errorf("only %d command lines were there", understood)
	}
}

func TestRequestTimeoutCountsSecondsWithoutUnit(t *testing.T) {
	for line, want := range map[string]time.Duration{
		"--request-timeout=30 get pod":    30 * time.Second,
		"--request-timeout 2m get pod":    2 * time.Minute,
		"get pod --request-timeout=0":     0,
		"get pod":                         0,
		"get pod --request-timeout=wrong": 0,
	} {
		if got := RequestTimeout(strings.Fields(line)); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

// No command line may crash the bridge, yield an operation beside an error, or an operation that names nothing.
func FuzzParse(f *testing.F) {
	file, err := os.Open("testdata/clouddriver-1.38-argv.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var recorded struct{ Argv []string }
		if err := json.Unmarshal(lines.Bytes(), &recorded); err != nil {
			f.Fatal(err)
		}
		f.Add(strings.Join(recorded.Argv, "\x1f"), manifest)
	}
	for _, line := range []string{"-ojson get a b c", "-ojson get a/b c/d -A", "logs job/a -c=b --tail 3", "scale a/b --replicas 1 --record", "rollout undo a/b --to-revision=0", "patch -p {} a b", "top po --containers", "delete pod/a --cascade", "-o json get pod/", "-n", "-v", "-ojson -- get", "apply -f- -o=json --server-side=maybe", "--=x get", "- get"} {
		f.Add(strings.ReplaceAll(line, " ", "\x1f"), "")
	}
	f.Fuzz(func(t *testing.T, line, stdin string) {
		op, mutation, err := Parse(strings.Split(line, "\x1f"), []byte(stdin))
		if (op == nil) == (err == nil) {
			t.Fatalf("operation %v, error %v", op, err)
		}
		if err != nil {
			if !IsUsage(err) || mutation || err.Error() == "" {
				t.Fatalf("error %#v, mutation %v", err, mutation)
			}
			return
		}
		if mutation != mutates(op) {
			t.Fatalf("mutation %v for %v", mutation, op)
		}
		if d := op.GetDelete(); d != nil && (d.Kind == "" || (d.Name == "") == (d.LabelSelector == "")) {
			t.Fatalf("delete of what? %v", d)
		}
		if g := op.GetGet(); g != nil && (g.Kind == "" || g.Name == "") {
			t.Fatalf("get of what? %v", g)
		}
		if l := op.GetList(); l != nil && (len(l.Kinds) == 0) == (len(l.Objects) == 0) {
			t.Fatalf("list of what? %v", l)
		}
		if proto.Size(op) > 5*len(line)+len(stdin)+128+severalBytes { // --record repeats the line, with full names of flags
			t.Fatalf("operation of %d bytes out of %d", proto.Size(op), len(line)+len(stdin))
		}
	})
}
