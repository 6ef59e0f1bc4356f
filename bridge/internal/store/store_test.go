package store_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStoreOnARealServer shares one server among all tests that need one.
func TestStoreOnARealServer(t *testing.T) {
	server := storetest.Start(t)
	for name, test := range map[string]func(*testing.T, *storetest.DB){
		"bridges that start together migrate once":                                      migrateTogether,
		"an attach raises the epoch and continues only for the same process":            attach,
		"an account is taken from a live holder only at the epoch that was seen":        bids,
		"concurrent attaches give each epoch once":                                      attachTogether,
		"an attach waits for a write under way and keeps out the next":                  attachDuringWrite,
		"an epoch that came up again does not let an earlier process write":             restored,
		"names that differ only in case are refused":                                    caseOfNames,
		"an account that is declared again while it is removed stays":                   removeAndDeclare,
		"a session that ends leaves when the account was seen last":                     sessions,
		"the first secret wins":                                                         secrets,
		"tokens are found by hash and revoked once":                                     tokens,
		"operations are kept, listed and forgotten":                                     history,
		"the plans of hot statements use the indexes that they name":                    plans,
		"rows are written in the order of the server's collation":                       collated,
		"a row makes room for one that is equal under the collation":                    makesRoom,
		"migrations that can never succeed end the start":                               hopeless,
		"whatever a text holds is stored as it is":                                      hostile,
		"a wait for templates ends when Clouddriver makes them":                         awaitTemplates,
		"a server that refuses what a row holds is told from one that may accept later": classification,
	} {
		t.Run(name, func(t *testing.T) { test(t, server.Database(t)) })
	}
}

func migrateTogether(t *testing.T, d *storetest.DB) {
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			s, err := store.Open(store.Options{DSN: d.DSN, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := d.Count(t, "fairlead_schema", "version_id = 1"); n != 1 {
		t.Errorf("migration 1 is noted %d times", n)
	}
	if tables := d.Strings(t, `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name NOT LIKE 'fairlead\_%' AND table_name NOT LIKE 'cats\_%'`); len(tables) > 0 {
		t.Errorf("tables without our prefix: %v", tables)
	}
}

func attach(t *testing.T, d *storetest.DB) {
	s := d.Open(t)
	step := func(instance string, resume, wantEpoch uint64, wantContinues bool) {
		t.Helper()
		epoch, continues, err := s.Attach(t.Context(), "prod", instance, resume)
		if err != nil || epoch != wantEpoch || continues != wantContinues {
			t.Errorf("attach %q with epoch %d: epoch %d, continues %v, %v; want %d, %v", instance, resume, epoch, continues, err, wantEpoch, wantContinues)
		}
	}
	step("a", 0, 1, false)
	step("a", 1, 2, true)
	step("a", 1, 3, false) // it does not know of its own second attach
	step("b", 0, 4, false)
	step("a", 3, 5, false)
	step("a", 99, 100, false) // the database is older than the agent: restored
	step("a", 100, 101, true)
	step("", 0, 102, false)
	step("", 102, 103, false)
}

func attachTogether(t *testing.T, d *storetest.DB) {
	s := d.Open(t)
	const each, workers = 20, 4
	seen := sync.Map{}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range each {
				epoch, _, err := s.Attach(t.Context(), "prod", "a", 0)
				if err != nil {
					t.Error(err)
					return
				}
				if _, twice := seen.LoadOrStore(epoch, true); twice {
					t.Errorf("epoch %d was given twice", epoch)
				}
			}
		})
	}
	group.Wait()
	epochs, err := s.Epochs(t.Context())
	if err != nil || epochs["prod"] != each*workers {
		t.Errorf("epoch %d after %d attaches (%v)", epochs["prod"], each*workers, err)
	}
}

func attachDuringWrite(t *testing.T, d *storetest.DB) {
	s := d.Open(t)
	ctx := t.Context()
	for _, account := range []string{"one", "two"} {
		if _, _, err := s.Attach(ctx, account, "a", 0); err != nil {
			t.Fatal(err)
		}
	}
	inside, goOn, written := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := s.WriteCache(ctx, []store.Fence{{Account: "one", Holder: "a", Epoch: 1}, {Account: "two", Holder: "a", Epoch: 1}}, func(fenced map[string]bool) []store.TableChange {
			if len(fenced) > 0 {
				t.Errorf("fenced: %v", fenced)
			}
			close(inside)
			<-goOn
			return nil
		})
		written <- err
	}()
	<-inside
	attached := make(chan time.Time, 1)
	go func() {
		if _, _, err := s.Attach(ctx, "one", "b", 0); err != nil {
			t.Error(err)
		}
		attached <- time.Now()
	}()
	select {
	case <-attached:
		t.Error("the attach did not wait for the write")
	case <-time.After(300 * time.Millisecond):
	}
	// Another account's attach that nobody holds up goes through at once.
	if _, _, err := s.Attach(ctx, "three", "a", 0); err != nil {
		t.Error(err)
	}
	committed := time.Now()
	close(goOn)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if at := <-attached; at.Before(committed) {
		t.Error("attached before the commit")
	}
	result, err := s.WriteCache(ctx, []store.Fence{{Account: "one", Holder: "a", Epoch: 1}, {Account: "two", Holder: "a", Epoch: 1}, {Account: "unknown", Holder: "a", Epoch: 1}}, func(map[string]bool) []store.TableChange { return nil })
	if err != nil || len(result.Fenced) != 2 || !result.Fenced["one"] || !result.Fenced["unknown"] {
		t.Errorf("fenced %v, %v; want one and unknown", result.Fenced, err)
	}
}

func caseOfNames(t *testing.T, d *storetest.DB) {
	s := d.Open(t)
	if _, err := s.PutAccount(t.Context(), "Prod", "{}", "agent"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutAccount(t.Context(), "prod", "{}", "agent"); !errors.Is(err, store.ErrTaken) || !strings.Contains(err.Error(), `"Prod"`) {
		t.Errorf("prod beside Prod: %v", err)
	}
	first, err := s.AccountRevisions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutAccount(t.Context(), "Prod", `{"name":"Prod"}`, "agent"); err != nil {
		t.Fatal(err)
	}
	second, err := s.AccountRevisions(t.Context())
	if err != nil || second["Prod"] <= first["Prod"] {
		t.Errorf("revision went from %d to %d (%v)", first["Prod"], second["Prod"], err)
	}
	// Stock accounts show by their rows.
	if err := s.EnsureTables(t.Context(), "cats_v1_applications"); err != nil {
		t.Fatal(err)
	}
	for _, agent := range []string{"STAGE/KubernetesCoreCachingAgent[1/1]", "stage2/KubernetesCoreCachingAgent[1/1]"} {
		d.Exec(t, `INSERT INTO cats_v1_applications (id, agent, body_hash, body, last_updated) VALUES ('x', ?, '', '', 0)`, agent)
	}
	if others, err := s.StockNames(t.Context(), "cats_v1_applications", "stage"); err != nil || len(others) != 1 || others[0] != "STAGE" {
		t.Errorf("like stage: %v, %v", others, err)
	}
	if others, err := s.StockNames(t.Context(), "cats_v1_applications", "STAGE"); err != nil || len(others) != 0 {
		t.Errorf("like STAGE: %v, %v", others, err)
	}
}

func removeAndDeclare(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	if _, err := s.PutAccount(ctx, "a", "{}", "agent"); err != nil {
		t.Fatal(err)
	}
	if there, err := s.MarkRemoving(ctx, "a"); err != nil || !there {
		t.Fatal(there, err)
	}
	if there, err := s.MarkRemoving(ctx, "b"); err != nil || there {
		t.Fatal(there, err)
	}
	if revisions, err := s.AccountRevisions(ctx); err != nil || revisions["a"] != 0 {
		t.Error(revisions, err)
	}
	if revision, err := s.PutFacts(ctx, "a", `{"serverVersion":"v1"}`); err != nil || revision != 0 {
		t.Errorf("facts of a removed account: revision %d, %v", revision, err)
	}
	if _, err := s.PutAccount(ctx, "a", "{}", "agent"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteAccount(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Accounts(ctx, []string{"a"}); err != nil || len(list) != 1 || list[0].Removing {
		t.Error(list, err)
	}
}

func sessions(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	if _, err := s.PutAccount(ctx, "a", "{}", "agent"); err != nil {
		t.Fatal(err)
	}
	if err := s.StartBridge(ctx, "b1", "1", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.PutSessions(ctx, []store.Session{{Account: "a", Session: "s1", Bridge: "b1", Agent: "x", Instance: "i"}, {Account: "a", Session: "s2", Bridge: "b1", Agent: "x", Instance: "i"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.EndSession(ctx, "s1", []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Sessions(ctx); err != nil || len(list) != 1 || list[0].Session != "s2" || list[0].Age > 60_000 {
		t.Error(list, err)
	}
	if list, err := s.Accounts(ctx, []string{"a"}); err != nil || time.Since(time.UnixMilli(list[0].LastSeen)) > time.Minute {
		t.Error(list, err)
	}
	// A bridge that comes again ends what it left behind, at its last heartbeat.
	d.Exec(t, `UPDATE fairlead_bridge SET heartbeat = 123`)
	d.Exec(t, `UPDATE fairlead_account SET last_seen = 5`)
	if err := s.StartBridge(ctx, "b1", "2", "10.0.0.1:9093"); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Accounts(ctx, []string{"a"}); err != nil || list[0].LastSeen != 123 {
		t.Error(list, err)
	}
	if list, err := s.Bridges(ctx); err != nil || len(list) != 1 || list[0].Version != "2" || list[0].Age > 60_000 {
		t.Error(list, err)
	}
	if err := s.StopBridge(ctx, "b1"); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Bridges(ctx); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
}

func secrets(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	if _, found, err := s.Secret(ctx, "ca"); found || err != nil {
		t.Fatal(found, err)
	}
	for _, offer := range []string{"first", "second"} {
		if kept, err := s.OfferSecret(ctx, "ca", []byte(offer)); err != nil || string(kept) != "first" {
			t.Errorf("offered %s: %q, %v", offer, kept, err)
		}
	}
}

func tokens(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	for i, ttl := range []int64{0, 60_000} {
		if err := s.PutToken(ctx, store.Token{ID: string(rune('a' + i)), Hash: [32]byte{byte(i), 255, 0, '\''}, Patterns: []string{"prod-*", "x"}, Description: "für \"alle\""}, ttl); err != nil {
			t.Fatal(err)
		}
	}
	found, ok, err := s.TokenByHash(ctx, [32]byte{1, 255, 0, '\''})
	if err != nil || !ok || found.ID != "b" || len(found.Patterns) != 2 || found.Remaining < 50_000 || found.Remaining > 60_000 {
		t.Errorf("%+v, %v, %v", found, ok, err)
	}
	if _, ok, err := s.TokenByHash(ctx, [32]byte{9}); ok || err != nil {
		t.Error(ok, err)
	}
	for id, want := range map[string]bool{"a": true, "zz": false} {
		for range 2 {
			if found, err := s.RevokeToken(ctx, id); err != nil || found != want {
				t.Errorf("revoke %s: %v, %v", id, found, err)
			}
		}
	}
	if err := s.TouchTokens(ctx, []string{"b"}); err != nil {
		t.Fatal(err)
	}
	list, err := s.Tokens(ctx)
	if err != nil || len(list) != 2 || list[0].Revoked == 0 || list[1].Revoked != 0 || list[1].LastUsed == 0 || list[0].Description != "für \"alle\"" {
		t.Errorf("%+v, %v", list, err)
	}
}

func history(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	long := strings.Repeat("ä", 2000)
	list := []store.Operation{{ID: "1", Account: "a", Verb: "apply", Target: long, Mutation: true, Reason: long, Age: time.Hour, Duration: time.Second}, {ID: "2", Account: "b", Verb: "get"}}
	for range 2 {
		if err := s.PutOperations(ctx, list); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Operations(ctx, store.OperationFilter{Limit: 10})
	if err != nil || len(all) != 2 || all[0].ID != "2" || all[1].Duration != time.Second || len([]rune(all[1].Target)) != 512 {
		t.Fatalf("%+v, %v", all, err)
	}
	if age := time.Since(time.UnixMilli(all[1].Started)); age < 59*time.Minute || age > 61*time.Minute {
		t.Errorf("began %s ago", age)
	}
	// What ended replaces what was under way, but for when it began.
	list[0] = store.Operation{ID: "1", Account: "a", Mutation: true, Outcome: "succeeded", Waited: 5 * time.Millisecond, Begun: -1, Ended: -1}
	if err := s.PutOperations(ctx, list[:1]); err != nil {
		t.Fatal(err)
	}
	one := func(f store.OperationFilter) (ids string) {
		f.Limit = 10
		found, err := s.Operations(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range found {
			ids += o.ID
		}
		return ids
	}
	for _, c := range []struct {
		want   string
		filter store.OperationFilter
	}{
		{"21", store.OperationFilter{}}, {"1", store.OperationFilter{Offset: 1}}, {"1", store.OperationFilter{ID: "1"}}, {"2", store.OperationFilter{Account: "b"}},
		{"1", store.OperationFilter{Verb: "apply", Mutations: true}}, {"1", store.OperationFilter{Outcome: "succeeded"}}, {"2", store.OperationFilter{Within: time.Minute}},
		{"", store.OperationFilter{User: "ada"}}, {"", store.OperationFilter{Execution: "x' OR '1'='1"}},
	} {
		if got := one(c.filter); got != c.want {
			t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
		}
	}
	if got, err := s.Operations(ctx, store.OperationFilter{ID: "1", Limit: 1}); err != nil || got[0].Started != all[1].Started || got[0].Waited != 5*time.Millisecond || got[0].Begun >= 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if n, err := s.ForgetOperations(ctx, 30*time.Minute, 10); err != nil || n != 1 || one(store.OperationFilter{}) != "2" {
		t.Error(n, err)
	}
	for _, mode := range []string{"failover", "distributed", "distributed"} {
		if err := s.SetMode(ctx, "prod-*", mode); err != nil {
			t.Fatal(err)
		}
	}
	if modes, err := s.Modes(ctx); err != nil || len(modes) != 1 || modes[0].Mode != "distributed" || time.Since(time.UnixMilli(modes[0].Since)).Abs() > time.Minute {
		t.Errorf("%+v, %v", modes, err)
	}
	if err := s.SetMode(ctx, "prod-*", ""); err != nil {
		t.Fatal(err)
	}
	if modes, err := s.Modes(ctx); err != nil || len(modes) != 0 {
		t.Errorf("%+v, %v", modes, err)
	}
}

func awaitTemplates(t *testing.T, d *storetest.DB) {
	s := d.Open(t)
	d.Exec(t, "RENAME TABLE cats_v1_rel_template TO elsewhere")
	short, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	if err := s.WaitForTemplates(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("without a template: %v", err)
	}
	// Clouddriver makes the templates with their first columns, and adds the others one by one.
	d.Exec(t, "RENAME TABLE elsewhere TO cats_v1_rel_template")
	d.Exec(t, "ALTER TABLE cats_v1_resource_template DROP INDEX application_idx")
	short, cancel = context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	if err := s.WaitForTemplates(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("while Clouddriver's migrations are under way: %v", err)
	}
	if err := s.EnsureTables(t.Context(), "cats_v1_early", "cats_v1_early_rel"); !errors.Is(err, store.ErrNoTable) {
		t.Fatalf("a table is made like a template that is not finished: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.WaitForTemplates(t.Context()) }()
	d.Exec(t, "CREATE INDEX application_idx ON cats_v1_resource_template (application)")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.EnsureTables(t.Context(), "cats_v1_early", "cats_v1_early_rel"); err != nil {
		t.Error(err)
	}
}

func makesRoom(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	if err := s.EnsureTables(ctx, "cats_v1_applications", "cats_v1_applications_rel"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Attach(ctx, "a", "i", 0); err != nil {
		t.Fatal(err)
	}
	for _, shared := range []bool{false, true} {
		for _, pair := range [][2]string{{"admin", "Admin"}, {"Admin", "admin"}, {"straße", "STRASSE"}, {"жук", "Жук"}, {"Жук", "жук"}} {
			old, now := store.Row{ID: pair[0], Agent: "a"}, store.Row{ID: pair[1], Agent: "a"}
			between := store.Row{ID: "b", Agent: "a"}
			for _, change := range []store.TableChange{
				{Put: []store.Row{old}},
				{Delete: []store.Row{old}, Put: []store.Row{between, now}},
			} {
				change.Rows, change.Folds, change.Shared = "cats_v1_applications", true, shared
				result, err := s.WriteCache(ctx, []store.Fence{{Account: "a", Holder: "i", Epoch: 1}}, func(map[string]bool) []store.TableChange { return []store.TableChange{change} })
				if err != nil || len(result.Collided) > 0 {
					t.Errorf("shared %v, %v: %v, collided %v", shared, pair, err, result.Collided)
				}
			}
			if d.Count(t, "cats_v1_applications", "BINARY id = ?", now.ID) != 1 {
				t.Errorf("shared %v: %s is not there after %s made room", shared, pair[1], pair[0])
			}
			d.Exec(t, "DELETE FROM cats_v1_applications")
		}
	}
}

func classification(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	if err := s.EnsureTables(ctx, "cats_v1_pod", "cats_v1_pod_rel"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Attach(ctx, "a", "i", 0); err != nil {
		t.Fatal(err)
	}
	write := func(c store.TableChange) error {
		_, err := s.WriteCache(ctx, []store.Fence{{Account: "a", Holder: "i", Epoch: 1}}, func(map[string]bool) []store.TableChange { return []store.TableChange{c} })
		return err
	}
	if err := write(store.TableChange{Rows: "cats_v1_pod", Put: []store.Row{{ID: strings.Repeat("x", 400), Agent: "a", Hash: "", Body: ""}}}); !store.IsData(err) {
		t.Errorf("an id that is too long: %v", err)
	}
	if err := write(store.TableChange{Rows: "cats_v1_pod", Put: []store.Row{{ID: "x", Agent: "a", Body: "\xff\xfe"}}}); !store.IsData(err) {
		t.Errorf("a body that is no text: %v", err)
	}
	if err := write(store.TableChange{Rows: "cats_v1_gone", Put: []store.Row{{ID: "x"}}}); !store.IsNoTable(err) || store.IsData(err) {
		t.Errorf("a table that is not there: %v", err)
	}
}

// restored shows that an epoch that came up again for another process does not let the first one write.
func restored(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	if _, _, err := s.Attach(ctx, "restored", "first", 0); err != nil {
		t.Fatal(err)
	}
	// The database is restored to before that attach, and another process attaches: epoch 1 again.
	d.Exec(t, `DELETE FROM fairlead_fence WHERE account = 'restored'`)
	if epoch, _, err := s.Attach(ctx, "restored", "second", 0); err != nil || epoch != 1 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	result, err := s.WriteCache(ctx, []store.Fence{{Account: "restored", Holder: "first", Epoch: 1}}, func(map[string]bool) []store.TableChange { return nil })
	if err != nil || !result.Fenced["restored"] {
		t.Errorf("fenced %v, %v; want the first process kept out", result.Fenced, err)
	}
}
