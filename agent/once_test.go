package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// A fake API server counts what it is asked.
func TestWhatTheTablesHaveNothingOfIsReadOnce(t *testing.T) {
	const applications, pods = 6, 200
	for name, c := range map[string]struct {
		surveys     bool
		least, most int
	}{
		// Three pages of 500 hold the pods.
		"the bridge says that its tables are empty": {true, 3, 3},
		"the bridge does not say what it has":       {false, 6, 12},
	} {
		t.Run(name, func(t *testing.T) {
			fleet, err := fakekube.New()
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
			ended := make(chan error, 1)
			go func() { ended <- fleet.Run(ctx) }()
			t.Cleanup(func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
			cluster := fleet.Add("one")
			cluster.Populate(fakekube.Population{Applications: applications, Pods: pods, Namespaces: 1})
			kubeconfig, err := cluster.Kubeconfig()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
				t.Fatal(err)
			}
			bridge := &greedy{policy: &linkv1.CachePolicy{Kinds: []string{"pod"}}, largest: 1 << 20, bodies: map[string]int{}, surveys: c.surveys, agrees: c.surveys}
			p := &planted{t: t, namespace: "team-0"}
			p.watchedBy(t, file, bridge)
			eventually(t, "all pods have come", func() bool { return bridge.count("acct", cats.ParseType("pod")) == applications*pods })
			eventually(t, "they were compared", func() bool { return bridge.compared("acct", "pod") > 0 })
			if lists := cluster.Asked("list", "pods"); lists < c.least || lists > c.most {
				t.Errorf("%d pages were read", lists)
			}
		})
	}
}
