package cache_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestOneAccountCannotFillTheTables(t *testing.T) {
	d := storetest.Start(t).Database(t)
	b := newBench(t, d, cache.Options{MaximumApplications: 5, MaximumLinks: 5})
	greedy, modest := b.attach("greedy"), b.attach("modest")
	application := func(account string, n int) *linkv1.Change {
		return put(account, key("applications", "", fmt.Sprint("app-", n)), "")
	}
	link := func(n int) *linkv1.Change { return connect(key("applications", "", "app-0"), pod(fmt.Sprint("p-", n))) }
	rejects := func(epoch uint64, account, reason string, changes ...*linkv1.Change) {
		t.Helper()
		r := b.write(account, epoch, changes...)
		if r.Err != nil || len(r.Rejected) != len(changes) {
			t.Fatalf("%v, rejected %v", r.Err, r.Rejected)
		}
		if got := r.Rejected[0].GetReason(); !strings.Contains(got, reason) {
			t.Errorf("rejected because %q, want %q", got, reason)
		}
	}
	for round := range 4 {
		// What is put again is no more than before, however often.
		for n := range 5 {
			b.mustWrite("greedy", greedy, application("greedy", n), link(n))
		}
		b.mustWrite("modest", modest, application("modest", round))
	}
	// One write may go beyond: it could be about what is there.
	b.mustWrite("greedy", greedy, application("greedy", 5), link(5))
	rejects(greedy, "greedy", "more than 5 applications, the limit (cache.maximumApplications)", application("greedy", 6), application("greedy", 7))
	rejects(greedy, "greedy", "more than 5 links, the limit (cache.maximumLinks)", link(6))
	// Everything else goes on, and so do others.
	b.mustWrite("greedy", greedy, put("greedy", pod("p"), "1"), remove(pod("p")))
	b.mustWrite("modest", modest, application("modest", 4), connect(key("applications", "", "app-0"), pod("p")))
	if n := d.Count(t, "cats_v1_applications", "agent LIKE 'greedy/%'"); n != 6 {
		t.Errorf("%d applications of the greedy account", n)
	}
	if n := d.Count(t, "cats_v1_applications_rel", "rel_agent LIKE '%greedy/%'"); n != 6 {
		t.Errorf("%d links of the greedy account", n)
	}
}
