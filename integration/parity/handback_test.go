package parity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

// handBack gives an account of the agent to Clouddriver's own polling, and takes it again. Each time nothing is left of the one that had
// it, and the views are those of an account that was always Clouddriver's.
func handBack(t *testing.T, s *suite) {
	ctx := within(t, 5*time.Minute)
	admin, err := s.Bridges[0].AdminClient()
	must(t, err)
	beside := *s
	beside.pairs = []pair{{stock: s.pairs[0].stock, agent: moved}}

	s.awaitOwner(ctx, t, "the agent's", s.agentHasMoved)
	released, err := admin.ReleaseAccount(ctx, connect.NewRequest(&adminv1.ReleaseAccountRequest{Name: moved}))
	must(t, err)
	if n := released.Msg.GetRowsDeleted(); n < leastObjects {
		t.Errorf("releasing deleted %d rows", n)
	}
	if rows, err := s.rowsOf(ctx, moved+"/%[1/1]"); err != nil || len(rows) > 0 {
		t.Errorf("rows and links of ours after the release: %v %v", rows, err)
	}
	then, _, err := s.state(ctx)
	must(t, err)
	s.awaitOwner(ctx, t, "Clouddriver's", s.stockPolls)
	// Its first cycle is complete: nobody asked for a second one.
	if rows, err := s.rowsOf(ctx, moved+"/%[1/1]"); err != nil || len(rows) > 0 {
		t.Errorf("rows and links of ours after a cycle of Clouddriver's: %v %v", rows, err)
	}
	all, custom, err := s.state(ctx)
	must(t, err)
	want := s.pairs[0].rows(all, custom)
	have, err := s.versionsOf(ctx, moved)
	must(t, err)
	// None is missing, none is left that is gone, and each is as it was before the cycle or as it is after it.
	before := s.pairs[0].rows(then, custom)
	for id, version := range want {
		if have[id] != version && (have[id] == "" || have[id] != before[id]) {
			t.Errorf("after Clouddriver's first cycle %s is at version %q in the rows; in the cluster it was at %q before and is at %q", id, have[id], before[id], version)
		}
	}
	for id := range have {
		if want[id] == "" {
			t.Errorf("after Clouddriver's first cycle the rows have %s and the cluster does not", id)
		}
	}
	beside.compareSome(t, "released")

	_, err = admin.ResumeAccount(ctx, connect.NewRequest(&adminv1.ResumeAccountRequest{Name: moved}))
	must(t, err)
	s.awaitOwner(ctx, t, "the agent's again", s.agentHasMoved)
	beside.compareSome(t, "resumed")
}

func (s *suite) awaitOwner(ctx context.Context, t *testing.T, whose string, is func(context.Context) error) {
	t.Helper()
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := testenv.Wait(limited, is); err != nil {
		t.Fatalf("account %s does not become %s: %v", moved, whose, err)
	}
	t.Logf("account %s is %s after %s", moved, whose, time.Since(began).Round(time.Millisecond))
}

// agentHasMoved tells whether the account has the rows of the cluster, all of them from the agent.
func (s *suite) agentHasMoved(ctx context.Context) error {
	if rows, err := s.rowsOf(ctx, moved+"/%/2]"); err != nil || len(rows) > 0 {
		return errors.Join(err, fmt.Errorf("rows of Clouddriver's polling: %v", rows))
	}
	all, custom, err := s.state(ctx)
	if err != nil {
		return err
	}
	return s.shows(ctx, moved, s.pairs[0].rows(all, custom), true)
}

// stockPolls waits for Clouddriver's first cycle of the account, of both its threads.
func (s *suite) stockPolls(ctx context.Context) error {
	agents, err := s.locks(ctx, moved)
	if err != nil {
		return err
	}
	if len(agents) < movedThreads {
		return fmt.Errorf("%d of %d agents of Clouddriver's run: %v", len(agents), movedThreads, agents)
	}
	return s.cycle(ctx, moved)
}

// compareSome compares a part of the views of the suite's pairs: all rows were compared before.
func (s *suite) compareSome(t *testing.T, name string) {
	t.Helper()
	must(t, s.cycle(t.Context(), s.pairs[0].stock))
	const part = 4
	c := s.crawl(t, part)
	total := count{}
	for _, n := range c.counts {
		total.add(*n)
	}
	t.Logf("%s: views compared / with content / different: %s", name, total.String())
	c.tell(t, 10)
	if total.full < leastViews/part {
		t.Errorf("%s: %d views with content are fewer than %d", name, total.full, leastViews/part)
	}
}

// rowsOf counts the rows and links of writers that match a pattern of LIKE, by table.
func (s *suite) rowsOf(ctx context.Context, agents string) (map[string]int, error) {
	found := map[string]int{}
	for condition, links := range map[string]bool{"agent LIKE ?": false, "rel_agent LIKE CONCAT('%:', ?)": true} {
		tables, err := s.tables(ctx, links)
		if err != nil {
			return nil, err
		}
		for _, table := range tables {
			var n int
			if err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM `"+table+"` WHERE "+condition, agents).Scan(&n); err != nil { //nolint:gosec // a table's name
				return nil, err
			}
			if n > 0 {
				found[table] = n
			}
		}
	}
	return found, nil
}

// evicted shows that an application comes back whose rows Clouddriver deleted for all accounts, because one of its own accounts does not
// have the application any more (SqlCache.evictAll goes by id). The agent's account has it still: by a ConfigMap, which the other does not cache.
func evicted(t *testing.T, s *suite) {
	ctx := within(t, 3*time.Minute)
	const app = "evictee"
	object := func(version, kind string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": version, "kind": kind,
			"metadata": map[string]any{"name": "evictee", "namespace": "parity", "annotations": map[string]any{application: app}},
		}}
	}
	policy := object("networking.k8s.io/v1", "NetworkPolicy")
	policy.Object["spec"] = map[string]any{"podSelector": map[string]any{}}
	must(t, s.cluster.Create(ctx, []*unstructured.Unstructured{policy, object("v1", "ConfigMap")}))
	stock := s.pairs[0].stock
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		_, ours := s.written(ctx, everything, app)
		return ours
	}))
	must(t, s.cycle(ctx, stock))
	if _, err := s.written(ctx, stock, app); err != nil {
		t.Fatal(err)
	}
	before, err := s.written(ctx, everything, app)
	must(t, err)
	must(t, s.remove(ctx, refOf(policy), false))
	must(t, s.cycle(ctx, stock))
	if _, err := s.written(ctx, stock, app); err == nil {
		t.Fatal("Clouddriver's account has the application still")
	}
	began := time.Now()
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		again, err := s.written(ctx, everything, app)
		if err == nil && again == before {
			err = errors.New("the row was never deleted")
		}
		return err
	}))
	t.Logf("the application was there again %s after Clouddriver deleted it", time.Since(began).Round(time.Millisecond))
	answer, err := s.get(ctx, "/applications/"+app+"/rawResources")
	must(t, err)
	part, _ := s.projection(everything, true).of(answer)
	if empty(part) {
		t.Error("the view of the application is empty")
	}
}

// written is when the row of an application was, in milliseconds.
func (s *suite) written(ctx context.Context, account, app string) (at int64, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT last_updated FROM cats_v1_applications WHERE id = ? AND agent = ?",
		"kubernetes.v2:logical:applications:"+app, account+"/KubernetesCoreCachingAgent[1/1]").Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("account %s has no row of application %s", account, app)
	}
	return at, err
}
