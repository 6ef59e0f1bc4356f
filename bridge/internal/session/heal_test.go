package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/session"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	"github.com/fairlead/fairlead/proto/cats"
)

const core = "a/KubernetesCoreCachingAgent[1/1]"

// healing breaks the tables in every way that an operator can, and waits until checks have found it.
func healing(t *testing.T, d *storetest.DB, _ int) {
	// Checks read all rows whole here; they would not all at once in a large install.
	w := newWorld(t, d, "b", cache.Options{VerifyRate: 1_000_000})
	m := newMirror(w, "a", everything()...)
	m.put(workload("web", 5)...)
	m.put(workload("shop", 3)...)
	m.agrees("at first")
	for _, damage := range []struct{ name, sql string }{
		{"a table truncated", "TRUNCATE cats_v1_pod"},
		{"a table of links truncated", "TRUNCATE cats_v1_replicaSet_rel"},
		{"every row deleted", "DELETE FROM cats_v1_pod; DELETE FROM cats_v1_replicaSet; DELETE FROM cats_v1_replicaSet_rel; DELETE FROM cats_v1_applications; DELETE FROM cats_v1_clusters"},
		{"tables dropped", "DROP TABLE cats_v1_pod, cats_v1_pod_rel, cats_v1_applications"},
		{"rows deleted by hand", "DELETE FROM cats_v1_pod WHERE id LIKE '%-1-1'"},
		{"links deleted by hand", "DELETE FROM cats_v1_replicaSet_rel WHERE rel_id LIKE '%-1-1'"},
		{"a hash edited", "UPDATE cats_v1_pod SET body_hash = REPEAT('0', 64) WHERE id LIKE '%-1-0'"},
		{"a body edited", "UPDATE cats_v1_pod SET body = REPLACE(body, 'node', 'mode') WHERE id LIKE '%-1-0'"},
		{"a link edited", "UPDATE cats_v1_replicaSet_rel SET rel_id = 'kubernetes.v2:infrastructure:pod:a:n:other' WHERE rel_id LIKE '%-1-0'"},
		{"a row given to another agent", "UPDATE cats_v1_service SET agent = 'a/KubernetesCoreCachingAgent[2/2]'"},
		{"a row of nothing added", "INSERT INTO cats_v1_pod (id, agent, body_hash, body, last_updated) VALUES ('kubernetes.v2:infrastructure:pod:a:n:ghost', '" + core + "', REPEAT('1', 64), '{}', 1)"},
		{"a link of nothing added", "INSERT INTO cats_v1_replicaSet_rel (uuid, id, rel_id, rel_agent, rel_type, last_updated) VALUES (REPEAT('0', 26), 'x', 'y', 'pod:" + core + "', 'pod', 1)"},
		{"applications evicted for another account", "DELETE FROM cats_v1_applications WHERE id IN ('kubernetes.v2:logical:applications:web')"},
	} {
		d.Exec(t, damage.sql)
		m.agrees("after " + damage.name)
		w.until("nobody else's rows are left after "+damage.name, func() bool { return d.Count(t, "cats_v1_service", "agent <> ?", core) == 0 })
	}
}

// restore sets the whole database back by an hour, while the agent is connected and after it has changed almost everything.
func restore(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{VerifyRate: 1_000_000})
	m := newMirror(w, "a", everything()...)
	m.put(workload("web", 5)...)
	m.agrees("at first")
	old := d.Strings(t, "SELECT CONCAT(epoch, ' ', holder) FROM fairlead_fence WHERE account = 'a'")[0]
	dump := func(from, to string) {
		d.Exec(t, "CREATE DATABASE IF NOT EXISTS "+to+" CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
		for _, table := range d.Strings(t, "SELECT table_name FROM information_schema.tables WHERE table_schema = ?", from) {
			d.Exec(t, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %[2]s.%[3]s LIKE %[1]s.%[3]s; TRUNCATE %[2]s.%[3]s; INSERT INTO %[2]s.%[3]s SELECT * FROM %[1]s.%[3]s", from, to, table))
		}
	}
	backup := d.Name + "_backup"
	t.Cleanup(func() { d.Exec(t, "DROP DATABASE IF EXISTS "+backup) })
	dump(d.Name, backup)

	// An hour passes: the account is attached again, objects come and go, another account comes.
	for i := range 3 {
		if _, _, err := w.store.Attach(t.Context(), "a", "somebody else", 0); err != nil {
			t.Fatal(err)
		}
		m.put(workload("shop", 2)...)
		m.remove(cats.Key{Type: "pod", Scope: "n", Name: "web-1-1"})
		m.put(workload("web", 7+i)...)
		m.agrees("while the hour passes")
	}
	late := newMirror(w, "late", everything()...)
	late.put(workload("web", 2)...)
	late.agrees("at its first attach")
	w.until("the late account's session is stored", func() bool { return d.Count(t, "fairlead_session", "account = 'late'") == 1 })
	before := m.lastEpoch()

	dump(backup, d.Name)
	w.until("the agent has a fence again", func() bool { n := epoch(t, d, "a"); return n > before && n == m.lastEpoch() })
	m.agrees("after the restore")
	late.agrees("after the restore")
	w.until("the late account is back", func() bool { return d.Count(t, "fairlead_account", "name = 'late'") == 1 })
	w.until("the late account's session is stored again", func() bool { return d.Count(t, "fairlead_session", "account = 'late'") == 1 })
	// What a process of the restored hour had is worth nothing any more.
	var number uint64
	var holder string
	if _, err := fmt.Sscan(old, &number); err != nil {
		t.Fatal(err)
	}
	_, holder, _ = strings.Cut(old, " ")
	ended := make(chan cache.Result, 1)
	stale := batch("a", number, 1, "stale", 10).GetBatch().GetChanges()
	if err := w.cache.Submit(t.Context(), cache.Write{Account: "a", Instance: holder, Epoch: number, Changes: stale}, func(r cache.Result) { ended <- r }); err != nil {
		t.Fatal(err)
	}
	if r := <-ended; !errors.Is(r.Err, cache.ErrFenced) {
		t.Errorf("a writer of before the restore ended with %v", r.Err)
	}
	m.agrees("in the end")
}

func epoch(t *testing.T, d *storetest.DB, account string) (n uint64) {
	t.Helper()
	if _, err := fmt.Sscan(d.Strings(t, "SELECT epoch FROM fairlead_fence WHERE account = ?", account)[0], &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// stockRow writes a row as polling with several threads would.
func stockRow(t *testing.T, d *storetest.DB, account, agent, typ, name string) {
	t.Helper()
	d.Exec(t, fmt.Sprintf("CREATE TABLE IF NOT EXISTS cats_v1_%s LIKE cats_v1_resource_template", typ))
	d.Exec(t, fmt.Sprintf("INSERT INTO cats_v1_%s (id, agent, body_hash, body, last_updated) VALUES (?, ?, SHA2('{}', 256), '{}', 1) ON DUPLICATE KEY UPDATE body = VALUES(body), body_hash = VALUES(body_hash)", typ),
		fmt.Sprintf("kubernetes.v2:infrastructure:%s:%s:n:%s", typ, account, name), account+"/"+agent)
}

// takeover attaches an account that Clouddriver polls still.
func takeover(t *testing.T, d *storetest.DB, _ int) {
	poll := func() {
		for _, agent := range []string{"KubernetesCoreCachingAgent[1/1]", "KubernetesCoreCachingAgent[1/2]", "KubernetesCoreCachingAgent[2/2]"} {
			for _, typ := range []string{"pod", "deployment", "ingress"} {
				stockRow(t, d, "a", agent, typ, "web-1-0")
				stockRow(t, d, "a", agent, typ, "of-stock")
			}
		}
		stockRow(t, d, "other", "KubernetesCoreCachingAgent[1/2]", "pod", "p")
	}
	poll()
	w := newWorld(t, d, "b", cache.Options{})
	// The list of pods is under way: what is there of them stays.
	m := newMirror(w, "a", "deployment", "replicaSet", "service")
	m.put(workload("web", 3)...)
	foreign := func(typ string) int {
		return d.Count(t, "cats_v1_"+typ, "agent LIKE 'a/%' AND (agent <> ? OR id LIKE '%:of-stock')", core)
	}
	w.until("the rows of polled deployments have gone", func() bool { return foreign("deployment") == 0 })
	if n := foreign("pod"); n != 5 {
		t.Errorf("%d rows of polled pods are left of 5, although their snapshot is not complete", n)
	}
	m.live("pod", cats.Applications, cats.Clusters)
	clean := func(when string) {
		for _, typ := range []string{"pod", "deployment", "ingress"} {
			w.until("no row of polling is left in "+typ+" "+when, func() bool { return foreign(typ) == 0 })
		}
		m.agrees(when)
	}
	clean("after the snapshot is complete")
	// A Clouddriver of before the change polls once more.
	poll()
	clean("after a late poll")
	if d.Count(t, "cats_v1_pod", "agent LIKE 'other/%'") != 1 {
		t.Error("a row of an account that is not ours was deleted")
	}
}

// released hands an account back to polling, and takes it again.
func released(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	m := newMirror(w, "a", everything()...)
	m.put(workload("web", 3)...)
	m.agrees("at first")
	deleted, found, err := w.registry.Release(t.Context(), "a")
	if err != nil || !found || deleted == 0 {
		t.Fatalf("%d rows, %v, %v", deleted, found, err)
	}
	if all, _, _ := w.registry.List(); len(all) != 0 {
		t.Errorf("accounts %v are listed", all)
	}
	for _, table := range d.Strings(t, "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_name LIKE 'cats\\_v1%'", d.Name) {
		if n := d.Count(t, table, "TRUE"); n != 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
	w.until("the agent was told", func() bool { return strings.Contains(m.refusal(), "accounts resume a") })
	// What Clouddriver polls now stays as it is, whatever the agent sees.
	stockRow(t, d, "a", "KubernetesCoreCachingAgent[1/1]", "pod", "web-1-0")
	stockRow(t, d, "a", "KubernetesCoreCachingAgent[1/1]", "pod", "of-stock")
	m.put(workload("web", 6)...)
	w.sleepChecks()
	if got := d.Strings(t, "SELECT body FROM cats_v1_pod"); len(got) != 2 || got[0] != "{}" {
		t.Errorf("what Clouddriver polled is %v", got)
	}
	if _, _, err := w.store.Attach(t.Context(), "a", "another process", 0); !errors.Is(err, store.ErrReleased) {
		t.Errorf("a released account could be attached: %v", err)
	}
	if _, found, err := w.registry.Release(t.Context(), "nobody"); found || err != nil {
		t.Errorf("an account that is not there was released: %v", err)
	}
	// Another bridge knows of it too.
	other := newWorld(t, d, "other", cache.Options{})
	again := newMirror(other, "a", everything()...)
	other.until("the other bridge refuses it too", func() bool { return again.refusal() != "" })

	if found, err := w.registry.Resume(t.Context(), "a"); err != nil || !found {
		t.Fatal(found, err)
	}
	if found, err := w.registry.Resume(t.Context(), "a"); err != nil || found {
		t.Errorf("resumed twice: %v, %v", found, err)
	}
	w.until("an agent has it again", func() bool { return d.Count(t, "cats_v1_pod", "agent = ? AND body <> '{}'", core) > 0 })
	w.until("what was polled has gone", func() bool { return d.Count(t, "cats_v1_pod", "body = '{}'") == 0 })
}

// resumed takes an account back in the session that had it before, the only one that there is.
func resumed(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	m := newMirror(w, "a", everything()...)
	m.put(workload("web", 3)...)
	m.agrees("at first")
	before := m.lastEpoch()
	w.tells.Store(true)
	if _, found, err := w.registry.Release(t.Context(), "a"); err != nil || !found {
		t.Fatal(found, err)
	}
	w.until("the agent was told", func() bool { return strings.Contains(m.refusal(), "accounts resume a") })
	stockRow(t, d, "a", "KubernetesCoreCachingAgent[1/2]", "pod", "of-stock")
	m.put(workload("web", 6)...)
	if found, err := w.registry.Resume(t.Context(), "a"); err != nil || !found {
		t.Fatal(found, err)
	}
	w.until("the agent has it again", func() bool { return m.lastEpoch() > before })
	m.agrees("after it was resumed")
	w.until("what was polled has gone", func() bool { return d.Count(t, "cats_v1_pod", "agent LIKE '%/2]'") == 0 })
}

// removed takes an account out that its agent still serves.
func removed(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{})
	m := newMirror(w, "a", everything()...)
	m.put(workload("web", 3)...)
	m.agrees("at first")
	before := m.lastEpoch()
	if _, found, err := w.registry.Remove(t.Context(), "a"); err != nil || !found {
		t.Fatal(found, err)
	}
	w.until("the account is back", func() bool { return d.Count(t, "fairlead_account", "name = 'a' AND NOT removing") == 1 })
	w.until("the agent has it again", func() bool { return m.lastEpoch() > before })
	m.agrees("after it came back")
}

// resynced compares on demand what checks do not look at.
func resynced(t *testing.T, d *storetest.DB, _ int) {
	w := newWorld(t, d, "b", cache.Options{VerifyRate: -1})
	m := newMirror(w, "a", everything()...)
	m.put(workload("web", 3)...)
	m.agrees("at first")
	w.until("everything was compared", func() bool { live, pending := w.service.Kinds("a"); return len(live) >= 6 && len(pending) == 0 })
	d.Exec(t, "UPDATE cats_v1_pod SET body = REPLACE(body, 'node', 'mode')")
	w.sleepChecks()
	if d.Count(t, "cats_v1_pod", "body LIKE '%mode%'") != 3 {
		t.Error("checks looked at bodies although they should not")
	}
	groups, err := w.service.Resync(t.Context(), "a", "pod")
	if err != nil || len(groups) < 2 {
		t.Fatal(groups, err)
	}
	for _, g := range groups {
		if g.Group.Type != "pod" && g.Group.RelType != "pod" || g.GaveUp || g.Differed != (g.Group == cats.Group{Type: "pod"}) {
			t.Errorf("%+v", g)
		}
	}
	if m.differs() != "" || d.Count(t, "cats_v1_pod", "body LIKE '%mode%'") != 0 {
		t.Error("the resync has ended and bodies differ")
	}
	if all, err := w.service.Resync(t.Context(), "a", ""); err != nil || len(all) <= len(groups) {
		t.Errorf("of all kinds: %v, %v", all, err)
	}
	for _, c := range []struct {
		account, kind string
		want          error
	}{{"a", "nothing", session.ErrNoKind}, {"b", "", session.ErrNotHere}} {
		if _, err := w.service.Resync(t.Context(), c.account, c.kind); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v", c.account, c.kind, err)
		}
	}
	// One whose kind is not live is not compared in time; a caller that leaves does not stay in the way.
	m.step(func(time.Time) { m.core.NotLive("a", "pod") })
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := w.service.Resync(ctx, "a", "pod"); err == nil || !strings.Contains(err.Error(), "pod") {
		t.Errorf("without a watch: %v", err)
	}
	m.live("pod")
	if _, err := w.service.Resync(t.Context(), "a", "pod"); err != nil {
		t.Error(err)
	}
}
