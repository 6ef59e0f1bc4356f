package cache_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a writer that runs on a database of its own.
type bench struct {
	*storetest.DB

	t      testing.TB
	store  *store.Store
	writer *cache.Writer
}

func newBench(t testing.TB, d *storetest.DB, o cache.Options) *bench {
	t.Helper()
	b := &bench{DB: d, t: t, store: d.Open(t)}
	o.Store = b.store
	b.writer = cache.New(o)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.writer.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) attach(account string) uint64 {
	b.t.Helper()
	epoch, _, err := b.store.Attach(b.t.Context(), account, "instance", 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return epoch
}

// write submits and waits.
func (b *bench) write(account string, epoch uint64, changes ...*linkv1.Change) cache.Result {
	b.t.Helper()
	return b.await(b.submit(account, epoch, changes...))
}

func (b *bench) submit(account string, epoch uint64, changes ...*linkv1.Change) <-chan cache.Result {
	b.t.Helper()
	done := make(chan cache.Result, 1)
	if err := b.writer.Submit(b.t.Context(), cache.Write{Account: account, Instance: "instance", Epoch: epoch, Changes: changes}, func(r cache.Result) { done <- r }); err != nil {
		b.t.Fatal(err)
	}
	return done
}

func (b *bench) await(done <-chan cache.Result) cache.Result {
	b.t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(30 * time.Second):
		b.t.Fatal("the write did not end")
		return cache.Result{}
	}
}

// until waits for a condition.
func (b *bench) until(what string, f func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// value reads a metric; label is the value of its only label, if it has one.
func value(t *testing.T, metrics prometheus.Gatherer, name, label string) (sum float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func (b *bench) mustWrite(account string, epoch uint64, changes ...*linkv1.Change) {
	b.t.Helper()
	if r := b.write(account, epoch, changes...); r.Err != nil || len(r.Rejected) > 0 {
		b.t.Fatalf("write: %v, rejected %v", r.Err, r.Rejected)
	}
}

func key(typ, scope, name string) *linkv1.Key {
	return &linkv1.Key{Type: typ, Scope: scope, Name: name}
}

func pod(name string) *linkv1.Key { return key("pod", "web", name) }

// body is what an agent would render, more or less.
func body(account string, k *linkv1.Key, extra string) []byte {
	id := bodyID(account, k)
	if k.GetType() == "applications" || k.GetType() == "clusters" {
		return fmt.Appendf(nil, `{"attributes":{"name":%q},"id":%q,"relationships":{"pod":[],"service":[]},"ttlSeconds":600}`, k.GetName(), id)
	}
	kind, group, custom := strings.Cut(k.GetType(), ".")
	apiVersion := "v1"
	if custom {
		apiVersion = group + "/v1"
	}
	return fmt.Appendf(nil, `{"attributes":{"apiVersion":"v1","fullResourceName":"%[1]s %[3]s","kind":"%[1]s","manifest":{"apiVersion":"%[6]s","kind":"%[7]s","metadata":{"name":"%[3]s","namespace":"%[2]s"},"x":%[4]q},"moniker":{"app":"web","cluster":"pod %[3]s","sequence":3},"name":"%[3]s","namespace":"%[2]s"},"id":"%[5]s","relationships":{"pod":[],"service":[]},"ttlSeconds":-1}`,
		k.GetType(), k.GetScope(), k.GetName(), extra, id, apiVersion, kind)
}

func bodyID(account string, k *linkv1.Key) string {
	id, err := cats.Key{Type: cats.Type(k.GetType()), Scope: k.GetScope(), Name: k.GetName()}.ID(account)
	if err != nil {
		panic(err)
	}
	return id
}

func put(account string, k *linkv1.Key, extra string) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: k, Body: body(account, k, extra)}}}
}

func putBody(k *linkv1.Key, body string) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: k, Body: []byte(body)}}}
}

func remove(k *linkv1.Key) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_DeleteRow{DeleteRow: k}}
}

func connect(from, to *linkv1.Key) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_PutLink{PutLink: &linkv1.Link{From: from, To: to}}}
}

func disconnect(from, to *linkv1.Key) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_DeleteLink{DeleteLink: &linkv1.Link{From: from, To: to}}}
}

var podRows = &linkv1.Group{Type: "pod"}

func TestCacheOnARealServer(t *testing.T) {
	server := storetest.Start(t)
	for name, test := range map[string]func(*testing.T, *storetest.Server, *storetest.DB){
		"rows and links look as Clouddriver's do":                                  rowsAndLinks,
		"a repeated write changes no row and keeps last_updated":                   repeated,
		"a write of an old epoch changes nothing, others in its transaction do":    fenced,
		"an attach while writes flow lets none of the old epoch through after it":  attachDuringLoad,
		"writes of an account take effect in order":                                order,
		"a row that the database refuses is rejected alone":                        poison,
		"what is wrong with a body is said, and the rest stored":                   badBodies,
		"names that MySQL takes for the same":                                      folding,
		"a snapshot is compared, listed and swept":                                 snapshot,
		"leftovers of polling are swept when asked":                                leftovers,
		"an account is removed from every table, and no other":                     removal,
		"a removed account that attaches again keeps what it writes":               removalOvertaken,
		"an account's groups are found":                                            types,
		"writes on killed connections are tried again":                             kills,
		"writes that lose a deadlock are tried again":                              deadlocks,
		"a database at 300 ms gets larger batches, and lets an attach through":     farAway,
		"stock accounts write and evict beside ours, and nobody's statement fails": stockBeside,
		"whatever the server says while it fails over, writes come through":        failover,
		"connections to a server that became read-only are dropped":                readOnly,
		"a table that was dropped comes back":                                      dropped,
		"a full queue blocks until there is room":                                  full,
		"digests of many accounts are right":                                       manyDigests,
		"a stopped writer ends what waits":                                         stopped,
	} {
		t.Run(name, func(t *testing.T) { test(t, server, server.Database(t)) })
	}
}

func rowsAndLinks(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{Custom: func(account string, typ cats.Type) bool {
		return account == "prod" && typ == "CronTab.stable.example.com"
	}})
	epoch := b.attach("prod")
	set, cron := key("replicaSet", "web", "r"), key("CronTab.stable.example.com", "web", "c")
	app := key("applications", "", "web")
	b.mustWrite("prod", epoch, put("prod", pod("p"), "1"), put("prod", set, "1"), put("prod", cron, "1"), put("prod", app, ""),
		connect(set, pod("p")), connect(app, set))
	for query, want := range map[string]string{
		`SELECT CONCAT_WS(' ', id, agent, COALESCE(application, 'NULL'), body_hash = SHA2(body, 256), ABS(last_updated - UNIX_TIMESTAMP() * 1000) < 60000) FROM cats_v1_pod`: "kubernetes.v2:infrastructure:pod:prod:web:p prod/KubernetesCoreCachingAgent[1/1] NULL 1 1",
		`SELECT CONCAT_WS(' ', id, agent) FROM cats_v1_CronTab_stable_example_com`:                                                                                           "kubernetes.v2:infrastructure:CronTab.stable.example.com:prod:web:c prod/CustomKubernetes(CronTab.stable.example.com)[1/1]",
		`SELECT CONCAT_WS(' ', id, agent) FROM cats_v1_applications`:                                                                                                         "kubernetes.v2:logical:applications:web prod/KubernetesCoreCachingAgent[1/1]",
		`SELECT CONCAT_WS(' ', LENGTH(uuid), id, rel_id, rel_agent, rel_type) FROM cats_v1_replicaSet_rel`:                                                                   "26 kubernetes.v2:infrastructure:replicaSet:prod:web:r kubernetes.v2:infrastructure:pod:prod:web:p pod:prod/KubernetesCoreCachingAgent[1/1] pod",
		`SELECT CONCAT_WS(' ', id, rel_type) FROM cats_v1_applications_rel`:                                                                                                  "kubernetes.v2:logical:applications:web replicaSet",
	} {
		if got := b.Strings(t, query); len(got) != 1 || got[0] != want {
			t.Errorf("%s:\n got %q\nwant %q", query, got, want)
		}
	}
	b.mustWrite("prod", epoch, remove(pod("p")), disconnect(set, pod("p")), remove(cron))
	if b.Count(t, "cats_v1_pod", "TRUE")+b.Count(t, "cats_v1_replicaSet_rel", "TRUE")+b.Count(t, "cats_v1_CronTab_stable_example_com", "TRUE") != 0 {
		t.Error("what was deleted is still there")
	}
	if rows, links := b.writer.Totals(); rows != 4 || links != 2 {
		t.Errorf("totals: %d rows, %d links", rows, links)
	}
}

func repeated(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	epoch := b.attach("a")
	set := key("replicaSet", "web", "r")
	changes := []*linkv1.Change{put("a", pod("p"), "1"), put("a", set, "1"), connect(set, pod("p"))}
	b.mustWrite("a", epoch, changes...)
	b.Exec(t, "UPDATE cats_v1_pod SET last_updated = 7")
	before := b.Changed(t)
	b.mustWrite("a", epoch, changes...)
	b.mustWrite("a", epoch, changes...)
	if n := b.Changed(t) - before; n != 0 {
		t.Errorf("%d rows changed", n)
	}
	if got := b.Strings(t, "SELECT last_updated FROM cats_v1_pod"); got[0] != "7" {
		t.Errorf("last_updated is %v", got)
	}
	b.mustWrite("a", epoch, put("a", pod("p"), "2"))
	if got := b.Strings(t, "SELECT last_updated FROM cats_v1_pod"); got[0] == "7" {
		t.Error("last_updated stays although the body changed")
	}
	if n := b.Changed(t) - before; n != 1 {
		t.Errorf("%d rows changed by one new body", n)
	}
}

func fenced(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	// One worker that is busy: what comes meanwhile shares the next transaction.
	b := newBench(t, d, cache.Options{Workers: 1})
	old, other := b.attach("old"), b.attach("other")
	b.mustWrite("old", old, put("old", pod("p"), "1"))
	b.attach("old")
	conn, err := b.SQL.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{"BEGIN", "SELECT * FROM fairlead_fence WHERE account = 'other' FOR UPDATE"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	first := b.submit("other", other, put("other", pod("0"), "1"))
	time.Sleep(100 * time.Millisecond)
	late := b.submit("old", old, put("old", pod("p"), "2"), put("old", pod("q"), "2"))
	good := b.submit("other", other, put("other", pod("1"), "1"))
	never := b.submit("nobody", 1, put("nobody", pod("1"), "1"))
	if _, err := conn.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	for _, done := range []<-chan cache.Result{first, good} {
		if r := b.await(done); r.Err != nil {
			t.Error(r.Err)
		}
	}
	for _, done := range []<-chan cache.Result{late, never} {
		if r := b.await(done); !errors.Is(r.Err, cache.ErrFenced) {
			t.Errorf("an old epoch's write ended with %v", r.Err)
		}
	}
	if n := b.Count(t, "cats_v1_pod", "agent LIKE 'old/%' AND body LIKE '%\"x\":\"2\"%'"); n != 0 {
		t.Errorf("%d rows of the old epoch are there", n)
	}
	if n := b.Count(t, "cats_v1_pod", "agent LIKE 'other/%'"); n != 2 {
		t.Errorf("%d rows of the other account, want 2", n)
	}
	if _, err := b.writer.Sweep(t.Context(), store.Fence{Account: "old", Holder: "instance", Epoch: old}, podRows, []string{"web/p"}); !errors.Is(err, cache.ErrFenced) {
		t.Errorf("an old epoch's sweep ended with %v", err)
	}
}

func attachDuringLoad(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{})
	const accounts = 8
	epochs := make([]uint64, accounts)
	for i := range epochs {
		account := fmt.Sprint("a", i)
		epochs[i] = b.attach(account)
		b.mustWrite(account, epochs[i], put(account, pod("p"), "first"))
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range accounts {
		group.Go(func() {
			account := fmt.Sprint("a", i)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				done := make(chan cache.Result, 1)
				err := b.writer.Submit(t.Context(), cache.Write{Account: account, Instance: "instance", Epoch: epochs[i], Changes: []*linkv1.Change{put(account, pod("p"), fmt.Sprint(n))}}, func(r cache.Result) { done <- r })
				if err != nil {
					t.Error(err)
					return
				}
				if r := <-done; r.Err != nil {
					if !errors.Is(r.Err, cache.ErrFenced) {
						t.Error(r.Err)
					}
					return
				}
			}
		})
	}
	after := make([]string, accounts)
	for i := range accounts {
		b.attach(fmt.Sprint("a", i))
		after[i] = b.Strings(t, "SELECT body_hash FROM cats_v1_pod WHERE agent = ?", fmt.Sprintf("a%d/KubernetesCoreCachingAgent[1/1]", i))[0]
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	group.Wait()
	for i := range accounts {
		if now := b.Strings(t, "SELECT body_hash FROM cats_v1_pod WHERE agent = ?", fmt.Sprintf("a%d/KubernetesCoreCachingAgent[1/1]", i))[0]; now != after[i] {
			t.Errorf("account a%d was written at its old epoch after the attach", i)
		}
	}
}

func order(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{TransactionChanges: 7})
	epoch := b.attach("a")
	const writes = 200
	var mu sync.Mutex
	var ended []int
	var group sync.WaitGroup
	for n := range writes {
		group.Add(1)
		change := put("a", pod(fmt.Sprint(n%3)), fmt.Sprint(n))
		if n%10 == 9 {
			change = remove(pod(fmt.Sprint(n % 3)))
		}
		err := b.writer.Submit(t.Context(), cache.Write{Account: "a", Instance: "instance", Epoch: epoch, Changes: []*linkv1.Change{change}}, func(r cache.Result) {
			defer group.Done()
			mu.Lock()
			defer mu.Unlock()
			if r.Err != nil {
				t.Error(r.Err)
			}
			ended = append(ended, n)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
	if !slices.IsSorted(ended) {
		t.Errorf("writes ended out of order: %v", ended)
	}
	// The last of each: 199 deletes pod 1, 198 wrote pod 0, 197 pod 2.
	got := b.Strings(t, `SELECT CONCAT(SUBSTRING_INDEX(id, ':', -1), '=', JSON_VALUE(body, '$.attributes.manifest.x')) FROM cats_v1_pod ORDER BY id`)
	if want := []string{"0=198", "2=197"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
}

// xor is what an agent computes of bodies.
func xor(bodies ...[]byte) (x uint64) {
	for _, body := range bodies {
		sum := sha256.Sum256(body)
		x ^= binary.BigEndian.Uint64(sum[:8])
	}
	return x
}

func hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func reasons(r cache.Result) string {
	var list []string
	for _, rejected := range r.Rejected {
		list = append(list, fmt.Sprintf("%s %s: %s", rejected.GetGroup().GetType(), rejected.GetKey(), rejected.GetReason()))
	}
	return strings.Join(list, "\n")
}
