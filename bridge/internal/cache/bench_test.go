package cache_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	benchAccounts = 40
	perWrite      = 10
)

// benchRows are bodies of 5 kB with a link each, as an agent would render them: made outside of what is measured.
func benchRows(accounts, n, generation int) map[string][]*linkv1.Change {
	filler := strings.Repeat("0123456789abcdef", 5000/16)
	changes := map[string][]*linkv1.Change{}
	for i := range accounts {
		account := fmt.Sprint("account-", i)
		for j := range n {
			p := pod(fmt.Sprint("pod-", j))
			changes[account] = append(changes[account], put(account, p, fmt.Sprint(generation)+filler), connect(key("replicaSet", "web", "r"), p))
		}
	}
	return changes
}

// BenchmarkCommit writes rows as many accounts do at once: new ones, the same with other bodies, and the same again. "raw" are plain
// upserts of as many rows and links, without fences or checks, by as many connections: what the server can do.
func BenchmarkCommit(b *testing.B) {
	server := storetest.Start(b)
	for _, workers := range []int{1, 4} {
		for _, kind := range []string{"new", "changed", "same"} {
			b.Run(fmt.Sprintf("%s/workers=%d", kind, workers), func(b *testing.B) {
				bench := newBench(b, server.Database(b), cache.Options{Workers: workers})
				for i := range benchAccounts {
					bench.attach(fmt.Sprint("account-", i))
				}
				n := max(b.N/benchAccounts, 1)
				if kind != "new" {
					bench.submitAll(b, benchRows(benchAccounts, n, 1))
				}
				rows := benchRows(benchAccounts, n, map[string]int{"new": 1, "same": 1, "changed": 2}[kind])
				measure(b, server, n*benchAccounts, func() { bench.submitAll(b, rows) })
			})
			b.Run(fmt.Sprintf("%s/raw=%d", kind, workers), func(b *testing.B) {
				bench := newBench(b, server.Database(b), cache.Options{})
				if err := bench.store.EnsureTables(b.Context(), "cats_v1_pod", "cats_v1_replicaSet_rel"); err != nil {
					b.Fatal(err)
				}
				n := max(b.N/benchAccounts, 1)
				if kind != "new" {
					bench.upsertAll(b, benchRows(benchAccounts, n, 1), workers)
				}
				rows := benchRows(benchAccounts, n, map[string]int{"new": 1, "same": 1, "changed": 2}[kind])
				measure(b, server, n*benchAccounts, func() { bench.upsertAll(b, rows, workers) })
			})
		}
	}
}

func measure(b *testing.B, server *storetest.Server, rows int, f func()) {
	b.ReportAllocs()
	b.ResetTimer()
	ours, theirs := cpuTime(b, "self"), cpuTime(b, strconv.Itoa(server.PID))
	f()
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	// What it costs does not depend on who else uses the machine.
	b.ReportMetric(float64((cpuTime(b, "self")-ours).Microseconds())/float64(rows), "bridge-µs/row")
	b.ReportMetric(float64((cpuTime(b, strconv.Itoa(server.PID))-theirs).Microseconds())/float64(rows), "server-µs/row")
}

// submitAll writes all accounts' changes, a few objects at a time.
func (b *bench) submitAll(t *testing.B, rows map[string][]*linkv1.Change) {
	var group sync.WaitGroup
	var failed atomic.Int64
	for account, changes := range rows {
		for part := range slices.Chunk(changes, 2*perWrite) {
			group.Add(1)
			err := b.writer.Submit(context.Background(), cache.Write{Account: account, Instance: "instance", Epoch: 1, Changes: part}, func(r cache.Result) {
				if r.Err != nil || len(r.Rejected) > 0 {
					failed.Add(1)
				}
				group.Done()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	group.Wait()
	if failed.Load() > 0 {
		t.Fatalf("%d writes failed", failed.Load())
	}
}

// upsertAll writes the same rows and links with the plainest statements there are, 200 in each, sorted.
func (b *bench) upsertAll(t *testing.B, rows map[string][]*linkv1.Change, connections int) {
	accounts := slices.Sorted(maps.Keys(rows))
	var group sync.WaitGroup
	for part := range slices.Chunk(accounts, (len(accounts)+connections-1)/connections) {
		group.Go(func() {
			db, err := sql.Open("mysql", b.DSN+"&interpolateParams=true")
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			var bodies, links []any
			for _, account := range part {
				for _, c := range rows[account] {
					if row := c.GetPutRow(); row != nil {
						bodies = append(bodies, bodyID(account, row.GetKey()), account+"/KubernetesCoreCachingAgent[1/1]", hash(row.GetBody()), string(row.GetBody()), 1)
						continue
					}
					l := c.GetPutLink()
					link := cats.Link{From: cats.Key{Type: "replicaSet", Scope: "web", Name: "r"}, To: cats.Key{Type: "pod", Scope: "web", Name: l.GetTo().GetName()}}
					links = append(links, link.ID(account), bodyID(account, l.GetFrom()), bodyID(account, l.GetTo()), "pod:"+account+"/KubernetesCoreCachingAgent[1/1]", "pod", 1)
				}
			}
			upsert := func(into, tuple, update string, args []any) {
				for chunk := range slices.Chunk(args, 200*strings.Count(tuple, "?")) {
					n := len(chunk) / strings.Count(tuple, "?")
					if _, err := db.ExecContext(context.Background(), "INSERT INTO "+into+" VALUES "+strings.Repeat(","+tuple, n)[1:]+" ON DUPLICATE KEY UPDATE "+update, chunk...); err != nil {
						t.Error(err)
					}
				}
			}
			upsert("cats_v1_pod (id, agent, body_hash, body, last_updated)", "(?,?,?,?,?)", "body_hash = VALUES(body_hash), body = VALUES(body), last_updated = VALUES(last_updated)", bodies)
			upsert("cats_v1_replicaSet_rel (uuid, id, rel_id, rel_agent, rel_type, last_updated)", "(?,?,?,?,?,?)", "last_updated = VALUES(last_updated)", links)
		})
	}
	group.Wait()
}

// cpuTime is the processor time that a process has used.
func cpuTime(b *testing.B, process string) time.Duration {
	b.Helper()
	content, err := os.ReadFile("/proc/" + process + "/stat")
	if err != nil {
		b.Skip("no /proc: ", err)
	}
	// After the name in parentheses come state, … and, as 12th and 13th, user and system time in ticks of 10 ms.
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// BenchmarkDigest asks for the digests of all accounts of a table at once.
func BenchmarkDigest(b *testing.B) {
	const accounts, rows = 200, 100
	bench := newBench(b, storetest.Start(b).Database(b), cache.Options{})
	var group sync.WaitGroup
	for i := range accounts {
		account := fmt.Sprint("account-", i)
		bench.attach(account)
		var changes []*linkv1.Change
		for j := range rows {
			changes = append(changes, put(account, pod(fmt.Sprint("pod-", j)), "x"))
		}
		bench.mustWrite(account, 1, changes...)
	}
	b.ResetTimer()
	for range b.N {
		for i := range accounts {
			group.Go(func() {
				if count, _, err := bench.writer.Digest(b.Context(), fmt.Sprint("account-", i), podRows, false); err != nil || count != rows {
					b.Errorf("%d, %v", count, err)
				}
			})
		}
		group.Wait()
	}
	b.ReportMetric(float64(accounts*b.N)/b.Elapsed().Seconds(), "digests/s")
}
