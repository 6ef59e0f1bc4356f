package cache_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// BenchmarkCommit writes bodies of 5 kB with a link each, as many accounts do at once: new rows, and the same rows with other bodies.
func BenchmarkCommit(b *testing.B) {
	server := storetest.Start(b)
	const accounts, perWrite = 40, 10
	filler := strings.Repeat("0123456789abcdef", 5000/16)
	for _, workers := range []int{1, 4} {
		for _, kind := range []string{"new", "changed", "same"} {
			b.Run(fmt.Sprintf("%s/workers=%d", kind, workers), func(b *testing.B) {
				bench := newBench(b, server.Database(b), cache.Options{Workers: workers})
				for i := range accounts {
					bench.attach(fmt.Sprint("account-", i))
				}
				round := func(n, generation int) {
					var group sync.WaitGroup
					var failed atomic.Int64
					for i := range accounts {
						account := fmt.Sprint("account-", i)
						for first := 0; first < n; first += perWrite {
							var changes []*linkv1.Change
							for j := first; j < min(first+perWrite, n); j++ {
								p := pod(fmt.Sprint("pod-", j))
								changes = append(changes, put(account, p, fmt.Sprint(generation)+filler), connect(key("replicaSet", "web", "r"), p))
							}
							group.Add(1)
							err := bench.writer.Submit(context.Background(), cache.Write{Account: account, Instance: "instance", Epoch: 1, Changes: changes}, func(r cache.Result) {
								if r.Err != nil || len(r.Rejected) > 0 {
									failed.Add(1)
								}
								group.Done()
							})
							if err != nil {
								b.Fatal(err)
							}
						}
					}
					group.Wait()
					if failed.Load() > 0 {
						b.Fatalf("%d writes failed", failed.Load())
					}
				}
				n := max(b.N/accounts, 1)
				if kind != "new" {
					round(n, 1)
				}
				b.ReportAllocs()
				b.ResetTimer()
				ours, theirs := cpuTime(b, "self"), cpuTime(b, strconv.Itoa(server.PID))
				round(n, map[string]int{"new": 1, "same": 1, "changed": 2}[kind])
				written := float64(n * accounts)
				b.ReportMetric(written/b.Elapsed().Seconds(), "rows/s")
				// What it costs does not depend on who else uses the machine.
				b.ReportMetric(float64((cpuTime(b, "self")-ours).Microseconds())/written, "bridge-µs/row")
				b.ReportMetric(float64((cpuTime(b, strconv.Itoa(server.PID))-theirs).Microseconds())/written, "server-µs/row")
			})
		}
	}
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
