package store_test

import (
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

// bids asks for an account that others hold or held.
func bids(t *testing.T, d *storetest.DB) {
	s, ctx := d.Open(t), t.Context()
	for _, name := range []string{"one", "two"} {
		if err := s.StartBridge(ctx, name, "1", ""); err != nil {
			t.Fatal(err)
		}
	}
	serve := func(bridge, session, instance string) {
		if err := s.PutSessions(ctx, []store.Session{{Account: "a", Session: session, Bridge: bridge, Agent: instance, Instance: instance}}); err != nil {
			t.Fatal(err)
		}
	}
	bid := func(what string, b store.Bid, want store.Attached) {
		t.Helper()
		b.Account = "a"
		got, err := s.AttachUnlessHeld(ctx, b)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
		}
	}
	bid("of nobody", store.Bid{Instance: "x", Bridge: "one"}, store.Attached{Epoch: 1})
	bid("of a process that no bridge has", store.Bid{Instance: "y", Bridge: "two"}, store.Attached{Epoch: 2})
	serve("two", "s", "y")
	bid("of a live one", store.Bid{Instance: "x", Bridge: "one"}, store.Attached{HeldBy: "two"})
	bid("of a live one, by the bridge that has it", store.Bid{Instance: "x", Bridge: "two"}, store.Attached{Epoch: 3})
	bid("of its own session elsewhere", store.Bid{Instance: "y", Bridge: "one"}, store.Attached{Epoch: 4})
	bid("by the same process, which knows the epoch", store.Bid{Instance: "y", Bridge: "one", ResumeEpoch: 4, Again: true}, store.Attached{Epoch: 5, Continues: true})
	bid("by an older session of the same process", store.Bid{Instance: "y", Bridge: "one", ResumeEpoch: 4, Again: true}, store.Attached{HeldBy: "two"})
	bid("over an epoch that has passed", store.Bid{Instance: "x", Bridge: "one", Over: 4}, store.Attached{HeldBy: "two"})
	bid("over the epoch that was seen", store.Bid{Instance: "x", Bridge: "one", Over: 5}, store.Attached{Epoch: 6})
	bid("back over the same", store.Bid{Instance: "y", Bridge: "two", Over: 5}, store.Attached{Epoch: 7})

	// The bridge of the holder has been silent, by the database's clock alone.
	d.Exec(t, "UPDATE fairlead_bridge SET heartbeat = heartbeat - ? WHERE name = 'two'", (store.BridgeSilence + time.Second).Milliseconds())
	bid("of one whose bridge is gone", store.Bid{Instance: "x", Bridge: "one"}, store.Attached{Epoch: 8})

	serve("one", "t", "x")
	if err := s.Vacate(ctx, "nobody", []string{"a"}); err != nil {
		t.Fatal(err)
	}
	bid("of one that still holds", store.Bid{Instance: "y", Bridge: "two"}, store.Attached{HeldBy: "one"})
	if err := s.Vacate(ctx, "x", []string{"b", "a"}); err != nil {
		t.Fatal(err)
	}
	bid("of one that gave it back", store.Bid{Instance: "y", Bridge: "two"}, store.Attached{Epoch: 9})
}
