package operations

import (
	"context"
	"errors"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
)

// rules is a database that a test takes away: a fault fake.
type rules struct {
	list []store.Mode
	away bool
}

func (r *rules) Modes(context.Context) ([]store.Mode, error) {
	if r.away {
		return nil, errors.New("away")
	}
	return append([]store.Mode(nil), r.list...), nil
}

func (r *rules) SetMode(_ context.Context, pattern, mode string) error {
	if r.away {
		return errors.New("away")
	}
	r.list = append(r.list, store.Mode{Pattern: pattern, Mode: mode})
	return nil
}

func TestLongestPatternSaysWhichAgentsHaveAnAccountsOperations(t *testing.T) {
	database := &rules{list: []store.Mode{{Pattern: "*", Mode: Failover}, {Pattern: "prod-*", Mode: Distributed}, {Pattern: "prod-eu", Mode: Failover}}}
	m := NewModes(database, Distributed, identity.Matches, (&journal{}).logger())
	if !m.Spread("test") {
		t.Error("before anything was read the default holds")
	}
	if err := m.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]bool{"test": false, "prod-us": true, "prod-eu": false} {
		if m.Spread(account) != want {
			t.Errorf("%s: spread is %v", account, !want)
		}
	}
	if err := m.Set(t.Context(), "test", Distributed); err != nil || !m.Spread("test") {
		t.Errorf("what is set holds at once: %v", err)
	}
	database.away, database.list = true, nil
	if err := m.Read(t.Context()); err == nil || !m.Spread("prod-us") {
		t.Errorf("while the database is away the last known modes hold: %v", err)
	}
}
