package atmostonce

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

func TestChangesHaveAtMostOneEffect(t *testing.T) {
	w := newWorld(t, testenv.DefaultClouddriver)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"the stream is cut before the operation is sent", cutBeforeSend},
		{"the stream is cut after it was sent, before its effect", cutBeforeEffect},
		{"the stream is cut after its effect, before its result", cutBeforeResult},
		{"a scale whose result is late is not applied again", scaleOnce},
		{"the caller goes away", callerGone},
		{"the deadline passes", deadline},
		{"one API server hangs", hangingServer},
		{"the agent is away: Clouddriver is told that nothing began, and retries", retriedWhenAbsent},
		{"the agent is killed after the effect: Clouddriver is told what to look at, and does not retry", agentKilled},
		{"the bridge is killed in the middle", bridgeKilled},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			w.connected(t, true)
			c.run(t, w)
		}) {
			return // what comes next would tell nothing
		}
	}
}

func (w *world) create(t *testing.T, prefix string) <-chan result {
	return w.begin(t.Context(), w.account, 2*time.Minute, generated(prefix), "create", "-o", "json", "-f", "-")
}

// once asserts that a create succeeded, named what it made, and made one.
func (w *world) once(t *testing.T, prefix string, r result) {
	t.Helper()
	if r.err != nil || r.code != 0 || !strings.Contains(r.stdout, `"`+prefix+"-") {
		t.Error(r)
	}
	if n := w.count(t, prefix); n != 1 {
		t.Errorf("%d were made", n)
	}
}

func cutBeforeSend(t *testing.T, w *world) {
	w.wire.sever()
	w.connected(t, false)
	r := w.create(t, "before-send")
	w.wire.join()
	w.once(t, "before-send", ended(t, r))
}

func cutBeforeEffect(t *testing.T, w *world) {
	h := w.gate.hold(t, false, "POST", "/configmaps")
	r := w.create(t, "before-effect")
	arrived(t, h.arrived, "the request")
	w.wire.sever()
	w.connected(t, false)
	w.wire.join()
	w.connected(t, true)
	h.release()
	w.once(t, "before-effect", ended(t, r))
}

func cutBeforeResult(t *testing.T, w *world) {
	h := w.gate.hold(t, true, "POST", "/configmaps")
	r := w.create(t, "before-result")
	arrived(t, h.arrived, "the answer")
	w.wire.sever()
	w.connected(t, false)
	// The agent has the result while nobody is there to take it: it is kept, and answered when it is asked for again.
	h.release()
	w.wire.join()
	w.once(t, "before-result", ended(t, r))
	row := w.history(t, &adminv1.ListOperationsRequest{Verb: "create", Limit: 1}, "succeeded")
	if row.GetUser() != "ada" || row.GetExecution() != "01TEST" || !strings.Contains(row.GetTarget(), "ConfigMap") || row.GetAgent() == "" {
		t.Errorf("%v", row)
	}
	last := row.GetReceived().AsTime()
	for _, hop := range []interface{ AsTime() time.Time }{row.GetSent(), row.GetStarted(), row.GetFinished(), row.GetAnswered()} {
		if hop.AsTime().Before(last) {
			t.Errorf("hops are out of order: %v", row)
		}
		last = hop.AsTime()
	}
}

func scaleOnce(t *testing.T, w *world) {
	r := w.run(t, w.account, time.Minute, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: scaled, namespace: "+namespace+"}\nspec: {replicas: 0, selector: {matchLabels: {a: b}}, "+
		"template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: example.com/c}]}}}\n", "create", "-o", "json", "-f", "-")
	if r.code != 0 {
		t.Fatal(r)
	}
	h := w.gate.hold(t, true, "PUT", "/deployments/scaled/scale")
	hp := w.gate.hold(t, true, "PATCH", "/deployments/scaled/scale")
	scaled := w.begin(t.Context(), w.account, time.Minute, "", "--namespace="+namespace, "scale", "deployment/scaled", "--replicas=3")
	select {
	case <-h.arrived:
	case <-hp.arrived:
	case r := <-scaled:
		t.Fatal(r)
	}
	w.wire.sever()
	w.connected(t, false)
	// Somebody else changes it before the result is told: a second scale would undo that.
	// By a patch: the controller writes the status meanwhile, and an update would collide with it.
	_, err := w.kube.AppsV1().Deployments(namespace).Patch(t.Context(), "scaled", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{})
	must(t, err)
	h.release()
	hp.release()
	w.wire.join()
	if r := ended(t, scaled); r.err != nil || r.code != 0 {
		t.Error(r)
	}
	d, err := w.kube.AppsV1().Deployments(namespace).Get(t.Context(), "scaled", metav1.GetOptions{})
	must(t, err)
	if n := w.gate.changed("P", "/deployments/scaled/scale") + w.gate.changed("PUT", "/deployments/scaled/scale") + w.gate.changed("PATCH", "/deployments/scaled/scale"); n != 1 || *d.Spec.Replicas != 1 {
		t.Errorf("%d requests to scale it, %d replicas; one that somebody else set to 1 afterwards", n, *d.Spec.Replicas)
	}
}

func callerGone(t *testing.T, w *world) {
	h := w.gate.hold(t, false, "POST", "/configmaps")
	ctx, leave := context.WithCancel(t.Context())
	r := w.begin(ctx, w.account, 2*time.Minute, generated("caller-gone"), "create", "-o", "json", "-f", "-")
	arrived(t, h.arrived, "the request")
	leave()
	arrived(t, h.cancelled, "the cancellation at the API server")
	if r := ended(t, r); r.err == nil {
		t.Error(r)
	}
	row := w.history(t, &adminv1.ListOperationsRequest{Verb: "create", Limit: 1}, "cancelled")
	if !strings.Contains(row.GetReason(), "caller") {
		t.Errorf("%v", row)
	}
	if n := w.count(t, "caller-gone"); n != 0 {
		t.Errorf("%d were made", n)
	}
}

func deadline(t *testing.T, w *world) {
	h := w.gate.hold(t, false, "POST", "/configmaps")
	r := w.run(t, w.account, 2*time.Second, generated("deadline"), "create", "-o", "json", "-f", "-")
	arrived(t, h.cancelled, "the cancellation of the change at the API server")
	if r.code == 0 || r.killed || !strings.Contains(r.stderr, "look at the object") {
		t.Errorf("a change that may have had its effect: %v", r)
	}
	read := w.gate.hold(t, false, "GET", "/configmaps/deadline")
	r = w.run(t, w.account, 2*time.Second, "", "--namespace="+namespace, "-o", "json", "get", "configmap", "deadline")
	arrived(t, read.cancelled, "the cancellation of the read at the API server")
	if r.code == 0 || !r.killed {
		t.Errorf("a read may be repeated: %v", r)
	}
}

func hangingServer(t *testing.T, w *world) {
	h := w.gate.hold(t, false, "GET", "/configmaps/hangs")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	const many = 400 // more than may run and wait of one account
	var hanging []<-chan result
	for range many {
		hanging = append(hanging, w.begin(ctx, w.account, time.Minute, "", "--namespace="+namespace, "-o", "json", "get", "configmap", "hangs"))
	}
	for range 32 {
		arrived(t, h.arrived, "the operations that hang")
	}
	for range 20 {
		if r := w.run(t, other, 30*time.Second, "", "--namespace="+namespace, "-o", "json", "get", "deployment", "scaled"); r.err != nil || r.code != 0 {
			t.Fatalf("an operation of another account: %v", r)
		}
	}
	leave()
	for _, r := range hanging {
		if r := ended(t, r); r.err == nil && r.code == 0 {
			t.Error(r)
		}
	}
}

// deploy has Clouddriver, whose kubernetes.jobExecutor.retries is on, create a ServiceAccount with a generated name, and returns what it says of the failure.
func (w *world) deploy(ctx context.Context, name string) (string, error) {
	task, _, err := w.env.REST().Run(ctx, testenv.Deploy(w.account, "retried", map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"generateName": name + "-", "namespace": namespace}}))
	if err != nil {
		return "", err
	}
	if !task.Status.Failed {
		return "", errors.New("the task did not fail")
	}
	text := task.Status.Status
	for _, h := range task.History {
		text += "\n" + h.Status
	}
	return text, nil
}

func (w *world) serviceAccounts(t *testing.T, prefix string) (n int) {
	t.Helper()
	list, err := w.kube.CoreV1().ServiceAccounts(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for _, a := range list.Items {
		if strings.HasPrefix(a.Name, prefix+"-") {
			n++
		}
	}
	return n
}

func retriedWhenAbsent(t *testing.T, w *world) {
	w.wire.sever()
	w.connected(t, false)
	text, err := w.deploy(t.Context(), "absent")
	w.wire.join()
	must(t, err)
	w.connected(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, testenv.Wait(ctx, func(context.Context) error {
		if n := w.tries(t, "absent"); n < 3 {
			return fmt.Errorf("%d tries are on record", n)
		}
		return nil
	}))
	if n := w.tries(t, "absent"); n != 3 || !strings.Contains(text, "nothing was changed") || w.serviceAccounts(t, "absent") != 0 {
		t.Errorf("what did not begin was tried %d times, 3 are configured: %s", n, text)
	}
}

func agentKilled(t *testing.T, w *world) {
	h := w.gate.hold(t, true, "POST", "/serviceaccounts")
	type failure struct {
		text string
		err  error
	}
	failed := make(chan failure, 1)
	go func() {
		text, err := w.deploy(t.Context(), "mid-effect")
		failed <- failure{text, err}
	}()
	arrived(t, h.arrived, "the answer")
	must(t, w.env.Restart(t.Context(), "agent", 0, true))
	h.release()
	select {
	case f := <-failed:
		must(t, f.err)
		for _, text := range []string{"not known", "may have changed the cluster", "look at the object"} {
			if !strings.Contains(f.text, text) {
				t.Errorf("%q lacks %q", f.text, text)
			}
		}
	case <-time.After(patience):
		t.Fatal("the task does not end")
	}
	row := w.history(t, &adminv1.ListOperationsRequest{Account: w.account, Verb: "create", Limit: 1}, "unknown")
	if !strings.Contains(row.GetReason(), "went away") {
		t.Errorf("%v", row)
	}
	if n := w.serviceAccounts(t, "mid-effect"); n != 1 || w.tries(t, "unknown") != 1 {
		t.Errorf("what may have had its effect was tried %d times, and %d were made", w.tries(t, "unknown"), n)
	}
}

func bridgeKilled(t *testing.T, w *world) {
	h := w.gate.hold(t, false, "POST", "/configmaps")
	r := w.create(t, "bridge-killed")
	arrived(t, h.arrived, "the request")
	w.history(t, &adminv1.ListOperationsRequest{Verb: "create", Limit: 1}, "running")
	must(t, w.env.Restart(t.Context(), "bridge", 0, true))
	if r := ended(t, r); r.err == nil || r.killed {
		t.Error(r)
	}
	w.connected(t, true)
	h.release()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, testenv.Wait(ctx, func(context.Context) error {
		if w.count(t, "bridge-killed") == 0 {
			return errors.New("the operation under way does not end")
		}
		return nil
	}))
	if n := w.count(t, "bridge-killed"); n != 1 {
		t.Errorf("%d were made", n)
	}
	// It stays on record as what nobody saw end.
	w.history(t, &adminv1.ListOperationsRequest{Verb: "create", Limit: 1}, "running")
}
