package install

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv"
)

// TestNewPodIsReadyOnlyWithTheAccounts starts the sidecar before its database can be reached, and evaluates the probes of the manifests
// as the kubelet does: alive at once, ready with the first list of accounts, and so it stays when the database goes away again.
func TestNewPodIsReadyOnlyWithTheAccounts(t *testing.T) {
	path := spinnakerPaths[slices.IndexFunc(spinnakerPaths, func(p spinnakerPath) bool { return p.name == "Operator" })]
	pod := newSpinnakerPod(t, path)
	database := testenv.MySQL(t)
	server := regexp.MustCompile(`tcp\(([^)]*)\)`).FindStringSubmatch(database.DSN)
	if server == nil {
		t.Fatal("no server in the DSN")
	}
	gate := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
	pod.Variables["FAIRLEAD_DATABASE_DSN"] = func(string) string { return strings.Replace(database.DSN, server[1], gate, 1) }
	pod.Variables["FAIRLEAD_DATABASE_PASSWORD_FILE"] = func(string) string { return "" }
	must(t, pod.startBridge())
	t.Cleanup(func() {
		pod.signal()
		if err := <-pod.ended; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("end of the bridge's log:\n%s", tail(pod.log.String()))
		}
	})
	bridge, err := pod.Container("fairlead-bridge")
	must(t, err)

	alive := func(ctx context.Context) error { return pod.Probe(ctx, bridge, bridge.LivenessProbe) }
	must(t, testenv.Wait(within(t, time.Minute), alive))
	// It has tried, and failed.
	must(t, testenv.Wait(within(t, time.Minute), func(context.Context) error {
		if !strings.Contains(pod.log.String(), `"msg":"waiting","for":"database"`) {
			return errors.New("the bridge does not say that it waits for its database")
		}
		return nil
	}))
	if err := pod.Probe(t.Context(), bridge, bridge.ReadinessProbe); err == nil {
		t.Error("the pod is ready without ever having read its accounts")
	}
	must(t, alive(t.Context()))

	front := newBalancer(t, gate, server[1])
	ready := func(ctx context.Context) error { return pod.Probe(ctx, bridge, bridge.ReadinessProbe) }
	must(t, testenv.Wait(within(t, time.Minute), ready))
	must(t, front.Close())
	must(t, errors.Join(ready(t.Context()), alive(t.Context())))
}

// readyWithoutAgents is a pod to which no agent has come yet.
func (x *agentWorld) readyWithoutAgents(t *testing.T, pod *spinnakerPod) {
	if names := accountNames(t, x.admin); len(names) > 0 {
		t.Errorf("accounts %v", names)
	}
	must(t, x.env.REST().Get(t.Context(), "/health", nil))
	bridge, err := pod.bridgePod.Container("fairlead-bridge")
	must(t, err)
	if bridge.ReadinessProbe == nil {
		must(t, pod.bridgeIsReady(t.Context())) // Halyard gives a sidecar no probes
		return
	}
	must(t, pod.bridgePod.Probe(t.Context(), bridge, bridge.ReadinessProbe))
}
