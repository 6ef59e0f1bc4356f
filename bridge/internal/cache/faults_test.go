package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func poison(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{Workers: 1})
	epoch, other := b.attach("a"), b.attach("b")
	b.mustWrite("a", epoch, put("a", pod("0"), "1"))
	// A row that passes our checks and not the database's.
	b.Exec(t, "ALTER TABLE cats_v1_pod ADD CONSTRAINT picky CHECK (body NOT LIKE '%poison%')")
	var changes []*linkv1.Change
	for i := range 20 {
		changes = append(changes, put("a", pod(fmt.Sprint("p", i)), map[bool]string{true: "poison", false: "fine"}[i == 13]))
	}
	first := b.submit("a", epoch, changes...)
	second := b.submit("a", epoch, put("a", pod("later"), "fine"))
	third := b.submit("b", other, put("b", pod("p"), "fine"))
	r := b.await(first)
	if r.Err != nil || len(r.Rejected) != 1 || r.Rejected[0].GetKey() != "web/p13" || r.Rejected[0].GetEpoch() != epoch || !strings.Contains(r.Rejected[0].GetReason(), "picky") {
		t.Errorf("%v, %v", r.Err, r.Rejected)
	}
	for _, done := range []<-chan cache.Result{second, third} {
		if r := b.await(done); r.Err != nil || len(r.Rejected) > 0 {
			t.Errorf("%v, %v", r.Err, r.Rejected)
		}
	}
	if n := b.Count(t, "cats_v1_pod", "TRUE"); n != 1+19+1+1 {
		t.Errorf("%d rows, want 22", n)
	}
}

// load writes many states of two rows for each of some accounts while f makes trouble, and checks that the last ones are there.
func load(t *testing.T, b *bench, accounts, writes int, trouble func(ctx context.Context)) {
	t.Helper()
	for i := range accounts {
		b.attach(fmt.Sprint("a", i))
		b.mustWrite(fmt.Sprint("a", i), 1, put(fmt.Sprint("a", i), pod("x"), "0"), put(fmt.Sprint("a", i), pod("y"), "0"))
	}
	ctx, stop := context.WithCancel(t.Context())
	var troubles, writers sync.WaitGroup
	troubles.Go(func() { trouble(ctx) })
	for i := range accounts {
		account := fmt.Sprint("a", i)
		writers.Go(func() {
			for n := range writes {
				done := make(chan cache.Result, 1)
				err := b.writer.Submit(t.Context(), cache.Write{Account: account, Instance: "instance", Epoch: 1, Changes: []*linkv1.Change{
					put(account, pod("x"), fmt.Sprint(n)), put(account, pod("y"), fmt.Sprint(n)), connect(key("replicaSet", "web", fmt.Sprint(n)), pod("x")),
				}}, func(r cache.Result) { done <- r })
				if err != nil {
					t.Error(err)
					return
				}
				if r := <-done; r.Err != nil || len(r.Rejected) > 0 {
					t.Errorf("write %d of %s: %v, %v", n, account, r.Err, r.Rejected)
				}
			}
		})
	}
	writers.Wait()
	stop()
	troubles.Wait()
	if n := b.Count(t, "cats_v1_pod", `JSON_VALUE(body, '$.attributes.manifest.x') = ?`, fmt.Sprint(writes-1)); n != 2*accounts {
		t.Errorf("%d rows have the last state, want %d", n, 2*accounts)
	}
	if n := b.Count(t, "cats_v1_replicaSet_rel", "TRUE"); n != accounts*writes {
		t.Errorf("%d links, want %d", n, accounts*writes)
	}
}

func kills(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	killed := 0
	load(t, b, 6, 60, func(ctx context.Context) {
		for ctx.Err() == nil {
			ids := b.Strings(t, `SELECT id FROM information_schema.processlist WHERE db = ? AND id <> CONNECTION_ID() ORDER BY RAND() LIMIT 2`, b.Name)
			for _, id := range ids {
				if _, err := b.SQL.ExecContext(t.Context(), "KILL "+id); err == nil {
					killed++
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	t.Logf("%d connections killed", killed)
	if killed == 0 {
		t.Error("no connection was killed")
	}
}

func deadlocks(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	metrics := prometheus.NewRegistry()
	b := newBench(t, d, cache.Options{Workers: 1, Metrics: metrics})
	epoch := b.attach("a")
	b.mustWrite("a", epoch, put("a", pod("x"), "0"), put("a", pod("y"), "0"))
	b.Exec(t, "CREATE TABLE weight (n INT PRIMARY KEY)")
	before := b.Deadlocks(t)
	const rounds = 3
	for n := range rounds {
		tx, err := b.SQL.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		touch := func(name string) {
			if _, err := tx.ExecContext(t.Context(), `UPDATE cats_v1_pod SET application = ? WHERE id = ?`, fmt.Sprint(n), bodyID("a", pod(name))); err != nil {
				t.Fatal(err)
			}
		}
		// The heavier transaction wins.
		for i := range 300 {
			if _, err := tx.ExecContext(t.Context(), "INSERT INTO weight VALUES (?)", 1000*(n+1)+i); err != nil {
				t.Fatal(err)
			}
		}
		touch("y")
		done := b.submit("a", epoch, put("a", pod("x"), fmt.Sprint("new", n)), put("a", pod("y"), fmt.Sprint("new", n)))
		b.until("the writer waits for the row that the other one has", func() bool {
			time.Sleep(150 * time.Millisecond) // the server renews this table when nobody has read it for 100 ms
			return len(b.Strings(t, "SELECT trx_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")) > 0
		})
		touch("x")
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if r := b.await(done); r.Err != nil || len(r.Rejected) > 0 {
			t.Errorf("the write ended with %v, rejected %v", r.Err, r.Rejected)
		}
	}
	if n := b.Count(t, "cats_v1_pod", "body LIKE ?", fmt.Sprintf(`%%"new%d"%%`, rounds-1)); n != 2 {
		t.Errorf("%d rows have the last state, want 2", n)
	}
	if n := b.Deadlocks(t) - before; n != rounds {
		t.Errorf("%d deadlocks came about, want %d", n, rounds)
	}
	if n := value(t, metrics, "fairlead_bridge_cache_retries_total", "conflict"); n != rounds {
		t.Errorf("%g retries were counted, want %d", n, rounds)
	}
}

func dropped(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	epoch := b.attach("a")
	b.mustWrite("a", epoch, put("a", pod("p"), "1"))
	b.Exec(t, "DROP TABLE cats_v1_pod, cats_v1_pod_rel")
	if count, _, err := b.writer.Digest(t.Context(), "a", podRows, false); err != nil || count != 0 {
		t.Errorf("digest of a missing table: %d, %v", count, err)
	}
	b.mustWrite("a", epoch, put("a", pod("p"), "1"))
	if b.Count(t, "cats_v1_pod", "TRUE") != 1 {
		t.Error("the row did not come back")
	}
	// Without the templates nothing can be made: the write waits for Clouddriver.
	b.Exec(t, "DROP TABLE cats_v1_pod, cats_v1_pod_rel")
	b.Exec(t, "RENAME TABLE cats_v1_resource_template TO away")
	done := b.submit("a", epoch, put("a", pod("p"), "1"))
	select {
	case r := <-done:
		t.Errorf("ended without templates: %v", r.Err)
	case <-time.After(300 * time.Millisecond):
	}
	b.Exec(t, "RENAME TABLE away TO cats_v1_resource_template")
	if r := b.await(done); r.Err != nil {
		t.Error(r.Err)
	}
}

func full(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{QueueChanges: 10, Workers: 2})
	epoch := b.attach("a")
	tx, err := b.SQL.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "SELECT * FROM fairlead_fence FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var pending []<-chan cache.Result
	for i := range 10 {
		pending = append(pending, b.submit("a", epoch, put("a", pod(fmt.Sprint(i)), "1")))
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err = b.writer.Submit(short, cache.Write{Account: "b", Instance: "instance", Epoch: 1, Changes: []*linkv1.Change{put("b", pod("x"), "1")}}, func(cache.Result) { t.Error("done was called for a write that was not taken") })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the eleventh change: %v", err)
	}
	if b.writer.Oldest() < 200*time.Millisecond {
		t.Errorf("the oldest has waited %s", b.writer.Oldest())
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	for _, done := range pending {
		if r := b.await(done); r.Err != nil {
			t.Error(r.Err)
		}
	}
	// One that is larger than the whole queue gets through when it is alone.
	var many []*linkv1.Change
	for i := range 25 {
		many = append(many, put("a", pod(fmt.Sprint(i)), "2"))
	}
	b.mustWrite("a", epoch, many...)
}

func stopped(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	s := d.Open(t)
	w := cache.New(cache.Options{Store: s, QueueChanges: 2})
	ended := make(chan cache.Result, 2)
	submit := func() error {
		return w.Submit(t.Context(), cache.Write{Account: "a", Instance: "instance", Epoch: 1, Changes: []*linkv1.Change{put("a", pod("x"), "1")}}, func(r cache.Result) { ended <- r })
	}
	for range 2 {
		if err := submit(); err != nil {
			t.Fatal(err)
		}
	}
	blocked := make(chan error, 1)
	go func() { blocked <- submit() }()
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := <-ended; !errors.Is(r.Err, cache.ErrStopped) {
			t.Errorf("what waited ended with %v", r.Err)
		}
	}
	if err := <-blocked; !errors.Is(err, cache.ErrStopped) {
		t.Errorf("who waited for room got %v", err)
	}
	if err := submit(); !errors.Is(err, cache.ErrStopped) {
		t.Errorf("submit after the end: %v", err)
	}
	if _, _, err := w.Digest(t.Context(), "a", podRows, false); !errors.Is(err, cache.ErrStopped) {
		t.Errorf("digest after the end: %v", err)
	}
}
