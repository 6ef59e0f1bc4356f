package accounts

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestOnlyAConfiguredGraceTakesOutWhatNobodyServes(t *testing.T) {
	now := time.Now()
	with := func(grace time.Duration) *Registry {
		r := New(Options{RemoveAfter: grace, Log: slog.New(slog.DiscardHandler)})
		r.complete, r.began = true, now.Add(-2*time.Hour)
		add := func(name string, absent time.Duration) *account {
			a := &account{declared: &linkv1.Account{Name: name}}
			if absent > 0 {
				a.lastSeen = now.Add(-absent)
			}
			r.accounts[name] = a
			return a
		}
		add("long-gone", 30*time.Hour)
		add("gone", 2*time.Hour)
		add("never-seen", 0)
		add("served", 30*time.Hour)
		r.serving["served"] = map[string]bool{"s": true}
		add("elsewhere", 30*time.Hour).elsewhere = []store.Session{{Bridge: "b"}}
		add("released", 30*time.Hour)
		r.released["released"] = now
		return r
	}
	for grace, want := range map[time.Duration][]string{0: nil, 24 * time.Hour: {"long-gone"}, time.Hour: {"gone", "long-gone"}} {
		if diff := cmp.Diff(want, with(grace).expired(now)); diff != "" {
			t.Errorf("%s\n%s", grace, diff)
		}
	}
	young := with(24 * time.Hour)
	young.began = now.Add(-59 * time.Minute)
	if names := young.expired(now); names != nil {
		t.Errorf("a bridge that has just started takes out %v", names)
	}
	young.began = now.Add(-2 * time.Hour)
	young.complete = false
	if names := young.expired(now); names != nil {
		t.Errorf("a bridge that does not know all accounts takes out %v", names)
	}
}
