package cluster

import (
	"slices"
	"testing"
	"time"
)

func TestAnEventsTimeIsWhenItWasLastSeen(t *testing.T) {
	at := func(hour string) string { return "2026-01-01T" + hour + ":00:00Z" }
	for want, object := range map[string]map[string]any{
		at("05"):               {"lastTimestamp": at("05"), "firstTimestamp": at("01"), "metadata": map[string]any{"creationTimestamp": at("09")}},
		at("06"):               {"lastTimestamp": at("05"), "series": map[string]any{"lastObservedTime": "2026-01-01T06:00:00.000000Z"}},
		at("07"):               {"lastTimestamp": nil, "eventTime": "2026-01-01T07:00:00.000000Z", "firstTimestamp": at("01")},
		at("02"):               {"firstTimestamp": at("02"), "metadata": map[string]any{"creationTimestamp": at("09")}},
		at("09"):               {"lastTimestamp": "yesterday", "series": 5, "metadata": map[string]any{"creationTimestamp": at("09")}},
		"0001-01-01T00:00:00Z": {},
	} {
		if got := happened(object).Format(time.RFC3339); got != want {
			t.Errorf("%v: %s, want %s", object, got, want)
		}
	}
}

func TestEventsComeDueInTheirOrderAndNotBeforeTheyWereLastSeen(t *testing.T) {
	a := newAges("event", 2*time.Hour)
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	note := func(path string, at time.Time) bool {
		return a.note(path, map[string]any{"lastTimestamp": at.Format(time.RFC3339)}, start)
	}
	for path, age := range map[string]time.Duration{"n/a": 90 * time.Minute, "n/b": time.Hour, "n/c": 30 * time.Minute, "n/gone": 100 * time.Minute, "n/future": -10 * time.Hour} {
		if !note(path, start.Add(-age)) {
			t.Errorf("%s is too old", path)
		}
	}
	if note("n/old", start.Add(-2*time.Hour)) {
		t.Error("an event of two hours ago is kept")
	}
	a.forget("n/gone")
	note("n/a", start) // it happened again
	for _, c := range []struct {
		after time.Duration
		over  []string
		next  time.Duration
	}{
		{0, nil, time.Hour}, {time.Hour, []string{"n/b"}, 90 * time.Minute}, {95 * time.Minute, []string{"n/c"}, 2 * time.Hour},
		{2 * time.Hour, []string{"n/a", "n/future"}, 4 * time.Hour},
	} {
		over, next := a.over(start.Add(c.after))
		slices.Sort(over)
		if !slices.Equal(over, c.over) || !next.Equal(start.Add(c.next)) {
			t.Errorf("after %s: %v, then %s", c.after, over, next.Sub(start))
		}
	}
	if len(a.until) != 0 || len(a.due) != 0 {
		t.Errorf("%d, %d are left", len(a.until), len(a.due))
	}
	if newAges("pod", time.Hour) != nil {
		t.Error("pods have ages")
	}
}

func TestAQuotaShowsTheFirstByNamespaceAndName(t *testing.T) {
	q := newQuota(2)
	admit := func(path string, want bool, evicted string) {
		t.Helper()
		if ok, gone := q.admit(path); ok != want || gone != evicted {
			t.Errorf("%s: %v %q, want %v %q", path, ok, gone, want, evicted)
		}
	}
	wanting := func() bool {
		select {
		case <-q.wanting:
			return true
		default:
			return false
		}
	}
	admit("n/b", true, "")
	admit("n/c", true, "")
	q.leave("n/c")
	if wanting() {
		t.Error("it wants a listing and nothing was left out")
	}
	admit("n/c", true, "")
	admit("n/d", false, "")
	admit("n/b", true, "")
	admit("n/a", true, "n/c")
	admit("n/b", true, "")
	q.leave("n/zzz")
	if wanting() {
		t.Error("something that did not show left, and it wants a listing")
	}
	q.leave("n/a")
	if !wanting() {
		t.Error("there is room, others were left out, and it wants no listing")
	}
	q.leave("n/b")
	q.begin()
	if wanting() || len(q.shown) != 0 || q.hidden {
		t.Errorf("a listing begins with %+v", q)
	}
	var none *quota
	if ok, gone := none.admit("n/x"); !ok || gone != "" || newQuota(0) != nil {
		t.Error("without a bound something is left out")
	}
}
