package cache_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

// distance is a proxy to a database that is far away: each byte arrives a while after it was sent, however many are under way.
type distance struct {
	listener net.Listener
	server   string
	oneWay   atomic.Int64 // time.Duration
	ended    sync.WaitGroup
}

func newDistance(t *testing.T, server string) *distance {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &distance{listener: listener, server: server}
	d.ended.Go(d.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		d.ended.Wait()
	})
	return d
}

func (d *distance) accept() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", d.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		d.ended.Go(func() { d.carry(server, client) })
		d.ended.Go(func() { d.carry(client, server) })
	}
}

// carry brings bytes from one end to the other until one of them closes.
func (d *distance) carry(to, from net.Conn) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	road := make(chan piece, 4096)
	d.ended.Go(func() {
		defer func() { _ = to.Close() }()
		for p := range road {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.bytes) // after an error nobody reads
		}
	})
	defer close(road)
	for {
		buffer := make([]byte, 64<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			road <- piece{buffer[:n], time.Now().Add(time.Duration(d.oneWay.Load()))}
		}
		if err != nil {
			return
		}
	}
}

// farAway writes to a database at a round trip of 300 ms: what comes meanwhile shares the next transaction, so that the writer keeps up and
// nothing waits for more than a few of them; an attach at another bridge, which needs the fence that they hold, comes through.
func farAway(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	cfg, err := mysql.ParseDSN(d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	far := newDistance(t, cfg.Addr)
	cfg.Addr = far.listener.Addr().String()
	there := *d
	there.DSN = cfg.FormatDSN()
	metrics := prometheus.NewRegistry()
	b := newBench(t, &there, cache.Options{Metrics: metrics})
	const accounts, writes = 20, 60
	for i := range accounts {
		account := fmt.Sprint("a", i)
		b.attach(account)
		b.mustWrite(account, 1, put(account, pod("p"), ""), connect(key("replicaSet", "web", "r"), pod("p")))
	}
	before, _ := transactions(t, metrics)
	near := d.Open(t)

	far.oneWay.Store(int64(150 * time.Millisecond))
	began := time.Now()
	var last []<-chan cache.Result
	for n := range writes {
		for i := range accounts {
			account := fmt.Sprint("a", i)
			done := b.submit(account, 1, put(account, pod(fmt.Sprint("p", n%5)), fmt.Sprint(n)), connect(key("replicaSet", "web", "r"), pod(fmt.Sprint("p", n%5))))
			if n == writes-1 {
				last = append(last, done)
			}
		}
	}
	// Another bridge takes an account while its writes are under way.
	if epoch, _, err := near.Attach(t.Context(), "a0", "elsewhere", 0); err != nil || epoch != 2 {
		t.Errorf("an attach during the writes: epoch %d, %v", epoch, err)
	}
	for i, done := range last {
		if r := b.await(done); r.Err != nil && i > 0 || len(r.Rejected) > 0 {
			t.Errorf("account a%d: %v, rejected %v", i, r.Err, r.Rejected)
		}
	}
	t.Logf("%d writes of 2 changes in %s", accounts*writes, time.Since(began).Round(time.Millisecond))
	far.oneWay.Store(0)
	count, sum := transactions(t, metrics)
	if count -= before; count > accounts*writes/20 {
		t.Errorf("%d transactions for %d writes", count, accounts*writes)
	}
	t.Logf("%d transactions, %.0f writes", count, sum)
	for i := 1; i < accounts; i++ {
		if n := b.Count(t, "cats_v1_pod", "agent LIKE ? AND body LIKE ?", fmt.Sprintf("a%d/%%", i), `%"`+fmt.Sprint(writes-1)+`"%`); n != 1 {
			t.Errorf("account a%d: its last state is there %d times", i, n)
		}
	}
}

// transactions are how many there were, and how many writes they had.
func transactions(t *testing.T, metrics prometheus.Gatherer) (count int, writes float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasSuffix(f.GetName(), "cache_transaction_writes") {
			h := f.GetMetric()[0].GetHistogram()
			return int(h.GetSampleCount()), h.GetSampleSum() //nolint:gosec // a small count
		}
	}
	t.Fatal("the writer has no such metric")
	return 0, 0
}
