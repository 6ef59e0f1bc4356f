package cache_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

// failover raises each error that a server answers with around a failover, as long as the trouble lasts. A trigger says them in place of
// the servers that cannot be had here.
func failover(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	metrics := prometheus.NewRegistry()
	b := newBench(t, d, cache.Options{Metrics: metrics})
	epoch, other := b.attach("a"), b.attach("b")
	b.mustWrite("a", epoch, put("a", pod("p"), "0"))
	b.mustWrite("b", other, put("b", key("service", "web", "s"), "0"))
	b.Exec(t, "CREATE TABLE trouble (n INT)")
	for _, number := range []int{1205, 1213, 1290, 1792, 1836, 1040, 1047, 1053, 1203, 1317, 1927, 3101} {
		b.Exec(t, fmt.Sprintf(`CREATE TRIGGER says BEFORE INSERT ON cats_v1_pod FOR EACH ROW
 IF EXISTS (SELECT 1 FROM trouble) THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = %d, MESSAGE_TEXT = 'trouble'; END IF`, number))
		b.Exec(t, "INSERT INTO trouble VALUES (1)")
		retries := func() float64 { return value(t, metrics, "fairlead_bridge_cache_retries_total", "") }
		before := retries()
		done := b.submit("a", epoch, put("a", pod("p"), fmt.Sprint(number)))
		b.until("it was tried again", func() bool { return retries() >= before+2 })
		// Others go on meanwhile.
		b.mustWrite("b", other, put("b", key("service", "web", "s"), fmt.Sprint(number)))
		b.Exec(t, "DELETE FROM trouble")
		if r := b.await(done); r.Err != nil || len(r.Rejected) > 0 {
			t.Errorf("error %d: the write ended with %v, rejected %v", number, r.Err, r.Rejected)
		}
		if n := b.Count(t, "cats_v1_pod", "body LIKE ?", fmt.Sprintf(`%%"%d"%%`, number)); n != 1 {
			t.Errorf("error %d: the row was not written", number)
		}
		b.Exec(t, "DROP TRIGGER says")
	}
	if n := value(t, metrics, "fairlead_bridge_cache_failed_total", ""); n != 0 {
		t.Errorf("%g writes failed", n)
	}
}

// readOnly makes the server a replica under the writer's connections, and a primary again.
func readOnly(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	metrics := prometheus.NewRegistry()
	all := *d
	all.DSN = d.Restricted(t)
	b := newBench(t, &all, cache.Options{Workers: 1, Metrics: metrics})
	epoch := b.attach("a")
	b.mustWrite("a", epoch, put("a", pod("p"), "0"))
	// Several connections that nobody uses at the moment.
	for range 8 {
		b.until("digests are read", func() bool { _, _, err := b.writer.Digest(t.Context(), "a", podRows, false); return err == nil })
	}
	connections := func() []string {
		return d.Strings(t, "SELECT id FROM information_schema.processlist WHERE user = ? AND db = ?", d.Name, d.Name)
	}
	before := connections()
	d.Exec(t, "SET GLOBAL read_only = 1")
	writable := func() { d.Exec(t, "SET GLOBAL read_only = 0") }
	defer writable()
	done := b.submit("a", epoch, put("a", pod("p"), "1"))
	b.until("the write was tried again", func() bool { return value(t, metrics, "fairlead_bridge_cache_retries_total", "failure") >= 2 })
	b.until("the connections from before are gone", func() bool {
		return !slices.ContainsFunc(connections(), func(id string) bool { return slices.Contains(before, id) })
	})
	writable()
	if r := b.await(done); r.Err != nil {
		t.Error(r.Err)
	}
}
