package execute

import (
	"fmt"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func scaleTo(kind, name string, replicas int32, flags ...string) step {
	return step{plain: true, arguments: append([]string{"scale", kind + "/" + name, fmt.Sprintf("--replicas=%d", replicas)}, flags...), op: func(ns string) *linkv1.Operation {
		o := &linkv1.Scale{Kind: kind, Namespace: ns, Name: name, Replicas: replicas}
		for _, f := range flags {
			if value, is := strings.CutPrefix(f, "--current-replicas="); is {
				current := int32(value[0] - '0')
				o.CurrentReplicas = &current
			}
			if f == "--record" {
				o.ChangeCause = fmt.Sprintf("kubectl scale %s/%s --namespace=%s --replicas=%d --record=true", kind, name, ns, replicas)
			}
		}
		return &linkv1.Operation{Operation: &linkv1.Operation_Scale{Scale: o}}
	}}
}

// patch has --record if recorded, as Clouddriver's option has it.
func patch(kind, name, patchType, body string, recorded bool) step {
	arguments := []string{"patch", kind, name}
	if recorded {
		arguments = append(arguments, "--record")
	}
	return step{plain: true, arguments: append(arguments, "--type", patchType, "--patch", body), op: func(ns string) *linkv1.Operation {
		o := &linkv1.Patch{Kind: kind, Namespace: ns, Name: name, Type: patchType, Patch: []byte(body)}
		if recorded {
			o.ChangeCause = fmt.Sprintf("kubectl patch %s %s --namespace=%s --record=true --type=%s --patch=%s", kind, name, ns, patchType, body)
		}
		return &linkv1.Operation{Operation: &linkv1.Operation_Patch{Patch: o}}
	}}
}

func rolloutHistory(kind, name string, revision int64) step {
	arguments := []string{"rollout", "history", kind + "/" + name}
	if revision != 0 {
		arguments = append(arguments, fmt.Sprintf("--revision=%d", revision))
	}
	return step{plain: true, arguments: arguments, op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_RolloutHistory{RolloutHistory: &linkv1.RolloutHistory{Kind: kind, Namespace: ns, Name: name, Revision: revision}}}
	}}
}

func rolloutUndo(kind, name string, revision int64) step {
	return step{plain: true, arguments: []string{"rollout", "undo", kind + "/" + name, fmt.Sprintf("--to-revision=%d", revision)}, op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_RolloutUndo{RolloutUndo: &linkv1.RolloutUndo{Kind: kind, Namespace: ns, Name: name, ToRevision: revision}}}
	}}
}

func rolloutDo(action, kind, name string) step {
	return step{plain: true, arguments: []string{"rollout", action, kind + "/" + name}, op: func(ns string) *linkv1.Operation {
		r := &linkv1.Rollout{Kind: kind, Namespace: ns, Name: name}
		switch action {
		case "pause":
			return &linkv1.Operation{Operation: &linkv1.Operation_RolloutPause{RolloutPause: r}}
		case "resume":
			return &linkv1.Operation{Operation: &linkv1.Operation_RolloutResume{RolloutResume: r}}
		default:
			return &linkv1.Operation{Operation: &linkv1.Operation_RolloutRestart{RolloutRestart: r}}
		}
	}}
}

// await waits until both namespaces answer yes.
func (w *world) await(name string, until func(*world, string) bool) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for _, ns := range []string{w.stock, w.ours} {
		for until != nil && !until(w, ns) {
			if time.Now().After(deadline) {
				w.t.Fatalf("%s: what it waits for did not come about in %s", name, ns)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// once waits until the controllers have written down so many revisions of a workload.
func (s step) once(revisions int, object string) step {
	s.until = func(w *world, ns string) bool {
		out := w.kubectl(ns, "", "rollout", "history", object)
		return out.exit == 0 && strings.Count(strings.TrimSpace(out.stdout), "\n") == revisions+1
	}
	return s
}

func workload(kind, name, image string) string {
	service := ""
	if kind == "StatefulSet" {
		service = `"serviceName":"x",`
	}
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":%q,"metadata":{"name":%q},"spec":{%s"selector":{"matchLabels":{"app":%q}},
"template":{"metadata":{"labels":{"app":%q}},"spec":{"containers":[{"name":"c","image":%q}]}}}}`, kind, name, service, name, name, image)
}

var workloadStories = map[string][]step{
	"scale": {
		create(deployment("web", "i", 1, ""), ""), scaleTo("deployment", "web", 3).checking("deploy/web"), scaleTo("deployment", "web", 3), scaleTo("Deployment.apps", "web", 0).checking("deploy/web"), get("deploy", "web"),
		scaleTo("deploy", "web", 2, "--current-replicas=1"), scaleTo("deploy", "web", 2, "--current-replicas=0"), scaleTo("deploy", "web", 1, "--record"), get("deploy", "web"),
		scaleTo("deployment", "missing", 1), scaleTo("nonsense", "web", 1), scaleTo("nonsense.example.com", "web", 1),
		create(workload("StatefulSet", "db", "i"), ""), scaleTo("statefulSet", "db", 0), create(workload("ReplicaSet", "rs", "i"), ""), scaleTo("replicaSet", "rs", 0),
		create(workload("DaemonSet", "ds", "i"), ""), scaleTo("daemonSet", "ds", 1), create(configMap, ""), scaleTo("configMap", "cm", 1),
	},
	"patch": {
		create(deployment("web", "i", 0, ""), ""), create(configMap, ""),
		patch("deployment", "web", "strategic", `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}}`, false).checking("deploy/web"), get("deploy", "web"),
		patch("deployment", "web", "strategic", `{"metadata":{"labels":{"app":"web"}}}`, false), patch("deployment", "web", "strategic", `{"metadata":{"labels":{"x":"y"}}}`, true).checking("deploy/web"), get("deploy", "web"),
		patch("deployment", "web", "merge", `{"metadata":{"labels":{"x":null}}}`, true), patch("configMap", "cm", "merge", "data:\n  k: yaml\n", false), get("cm", "cm"),
		patch("configMap", "cm", "json", `[{"op":"replace","path":"/data/k","value":"json"}]`, false), patch("configMap", "cm", "json", `[{"op":"replace","path":"/data/k","value":"json"}]`, false),
		patch("configMap", "cm", "json", `[{"op":"remove","path":"/data/absent"}]`, false), patch("configMap", "cm", "json", `{"not":"a list"}`, false), patch("configMap", "cm", "merge", `{"data":`, false),
		patch("configMap", "cm", "merge", `{"data":{"k":1}}`, false), patch("deployment", "web", "strategic", `{"spec":{"replicas":-1}}`, false), patch("deployment", "web", "strategic", `{"spec":{"selector":{"matchLabels":{"app":"other"}}}}`, false),
		patch("deployment", "web", "merge", `{"metadata":{"resourceVersion":"1"}}`, false),
		patch("deployment", "missing", "merge", `{}`, false), patch("nonsense", "x", "merge", `{}`, false), patch("pod", "missing", "json", `[]`, true),
	},
	"rollout of a deployment": {
		apply(deployment("web", "i:1", 0, "")), apply(deployment("web", "i:2", 0, "")).once(1, "deploy/web"), rolloutHistory("deployment", "web", 0).once(2, "deploy/web"),
		patch("deployment", "web", "strategic", `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i:3"}]}}}}`, true),
		rolloutHistory("deployment", "web", 0).once(3, "deploy/web"), rolloutHistory("deployment", "web", 2), rolloutHistory("deployment", "web", 9),
		rolloutUndo("deployment", "web", 1).checking("deploy/web"), get("deploy", "web"), rolloutUndo("deployment", "web", 99), rolloutUndo("deployment", "web", 0), rolloutUndo("deployment", "missing", 1),
		rolloutDo("pause", "deployment", "web").checking("deploy/web"), rolloutDo("pause", "deployment", "web"), rolloutDo("restart", "deployment", "web"), rolloutUndo("deployment", "web", 2), rolloutDo("resume", "deployment", "web").checking("deploy/web"), rolloutDo("resume", "deployment", "web"),
		rolloutDo("restart", "deployment", "web").checking("deploy/web"), get("deploy", "web"), rolloutDo("pause", "deployment", "missing"), rolloutDo("restart", "nonsense", "web"), rolloutHistory("deployment", "missing", 0), rolloutHistory("nonsense", "x", 0),
	},
	"rollout of others": {
		apply(workload("StatefulSet", "db", "i:1")), apply(workload("StatefulSet", "db", "i:2")).once(1, "sts/db"), rolloutHistory("statefulSet", "db", 0).once(2, "sts/db"), rolloutHistory("statefulSet", "db", 1), rolloutUndo("statefulSet", "db", 1).checking("sts/db"),
		rolloutUndo("statefulSet", "db", 7), rolloutDo("restart", "statefulSet", "db"), rolloutDo("pause", "statefulSet", "db"), rolloutHistory("sts", "missing", 0), rolloutUndo("sts", "missing", 1),
		apply(workload("DaemonSet", "ds", "i:1")), apply(workload("DaemonSet", "ds", "i:2")).once(1, "ds/ds"), rolloutHistory("daemonSet", "ds", 0).once(2, "ds/ds"), rolloutUndo("daemonSet", "ds", 1).checking("ds/ds"), get("ds", "ds"), rolloutDo("restart", "daemonSet", "ds"), rolloutDo("resume", "daemonSet", "ds"),
		create(configMap, ""), rolloutHistory("configMap", "cm", 0), rolloutUndo("configMap", "cm", 1), rolloutDo("restart", "configMap", "cm"), create(workload("ReplicaSet", "rs", "i"), ""), rolloutHistory("replicaSet", "rs", 0), rolloutDo("restart", "rs", "rs"),
	},
}

// getAll reads several objects by name; everywhere lists a kind of all namespaces.
func getAll(arguments []string, objects ...string) step {
	return step{arguments: append([]string{"get", "-o", "json"}, arguments...), op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_List{List: &linkv1.List{Objects: objects, Namespace: ns}}}
	}}
}

func listEverywhere(kind, labels string) step {
	return step{arguments: []string{"get", "-o", "json", kind, "-A", "-l=" + labels}, op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_List{List: &linkv1.List{Kinds: []string{kind}, LabelSelector: labels, Namespace: ns, AllNamespaces: true}}}
	}}
}

func TestSeveralObjectsAndAllNamespacesAreReadAsKubectlDoes(t *testing.T) {
	w := newWorld(t)
	for i, s := range []step{
		create(configMap, ""), create(service, ""), getAll([]string{"cm", "cm", "kube-root-ca.crt"}, "cm/cm", "cm/kube-root-ca.crt"), getAll([]string{"cm/cm", "svc/web"}, "cm/cm", "svc/web"),
		getAll([]string{"cm", "cm", "missing"}, "cm/cm", "cm/missing"), getAll([]string{"cm", "absent", "missing"}, "cm/absent", "cm/missing"), getAll([]string{"cm/cm", "nonsense/x"}, "cm/cm", "nonsense/x"),
		listEverywhere("ns", "kubernetes.io/metadata.name=default"), listEverywhere("svc", "component=apiserver"), listEverywhere("cm", "none=there"),
	} {
		w.compare(fmt.Sprintf("%d: %s", i+1, strings.Join(s.arguments, " ")), s)
	}
}

func TestWorkloadsAreChangedAsKubectlDoes(t *testing.T) {
	for name, steps := range workloadStories {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i, s := range steps {
				w.compare(fmt.Sprintf("%d: %s", i+1, strings.Join(s.arguments, " ")), s)
			}
		})
	}
}
