package atmostonce

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

// replicas is a cluster whose account two agents serve.
type replicas struct {
	*world
	batch int
}

func TestWhichReplicaHasOperations(t *testing.T) {
	env := testenv.UpForTest(t, testenv.Options{Clouddriver: testenv.NoClouddriver, AgentsPerCluster: 2})
	kube, err := env.Kube(0)
	must(t, err)
	w := &replicas{world: &world{env: env, kube: kube, account: env.Clusters[0].Account}}
	w.connected(t, 2)

	one := w.agents(t)
	if len(one) != 1 {
		t.Errorf("failover, the default: %v had operations", one)
	}
	w.mode(t, "distributed", 2)
	if again := w.mode(t, "", 1); !slices.Equal(again, one) {
		t.Errorf("the one that caches has operations again: %v, and before it was %v", again, one)
	}
	w.mode(t, "distributed", 2)
	w.mode(t, "failover", 1)

	// The one that has the operations dies: the other one has them then.
	must(t, env.Stop(t.Context(), "agent", 0, true))
	left := w.connected(t, 1)
	if slices.Equal(left, one) {
		must(t, env.Start(t.Context(), "agent", 0))
		w.connected(t, 2)
		must(t, env.Stop(t.Context(), "agent", 1, true))
		left = w.connected(t, 1)
	}
	if next := w.agents(t); !slices.Equal(next, left) || slices.Equal(next, one) {
		t.Errorf("%v had operations after %v was killed, and only %v is there", next, one, left)
	}
}

// connected waits until so many agents are, and returns their processes.
func (w *replicas) connected(t *testing.T, want int) (instances []string) {
	t.Helper()
	w.await(t, func(ctx context.Context) error {
		client, err := w.env.Bridges[0].AdminClient()
		if err != nil {
			return err
		}
		status, err := client.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
		if err != nil {
			return err
		}
		instances = nil
		for _, s := range status.Msg.GetSessions() {
			instances = append(instances, s.GetInstance())
		}
		if len(instances) != want {
			return fmt.Errorf("%d agents are connected, not %d", len(instances), want)
		}
		return nil
	})
	return instances
}

// agents has twenty ConfigMaps made at the same time and returns which agent processes did it.
func (w *replicas) agents(t *testing.T) []string {
	t.Helper()
	w.batch++
	const many = 20
	name := fmt.Sprintf("batch-%d-", w.batch)
	var results []<-chan result
	for i := range many {
		results = append(results, w.begin(t.Context(), w.account, time.Minute, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s%d, namespace: default}\n", name, i), "create", "-o", "json", "-f", "-"))
	}
	for _, r := range results {
		if r := ended(t, r); r.err != nil || r.code != 0 {
			t.Fatal(r)
		}
	}
	var by map[string]bool
	w.await(t, func(ctx context.Context) error {
		client, err := w.env.Bridges[0].AdminClient()
		if err != nil {
			return err
		}
		list, err := client.ListOperations(ctx, connect.NewRequest(&adminv1.ListOperationsRequest{Account: w.account, Verb: "create", Outcome: "succeeded", Limit: 1000}))
		if err != nil {
			return err
		}
		n := 0
		by = map[string]bool{}
		for _, o := range list.Msg.GetOperations() {
			if strings.Contains(o.GetTarget(), name) {
				n++
				instance, _, _ := strings.Cut(o.GetAgent(), ".")
				by[instance] = true
			}
		}
		if n != many {
			return fmt.Errorf("%d of %d operations are on record", n, many)
		}
		return nil
	})
	return slices.Sorted(maps.Keys(by))
}

// mode changes the account's mode at run time, waits until so many agents have operations, and returns which.
func (w *replicas) mode(t *testing.T, mode string, want int) (by []string) {
	t.Helper()
	client, err := w.env.Bridges[0].AdminClient()
	must(t, err)
	_, err = client.SetOperationsMode(t.Context(), connect.NewRequest(&adminv1.SetOperationsModeRequest{Pattern: w.account, Mode: mode}))
	must(t, err)
	w.await(t, func(context.Context) error {
		if by = w.agents(t); len(by) != want {
			return fmt.Errorf("%s: %d agents have operations, not %d", mode, len(by), want)
		}
		return nil
	})
	return by
}

func (w *replicas) await(t *testing.T, condition func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, testenv.Wait(ctx, condition))
}
