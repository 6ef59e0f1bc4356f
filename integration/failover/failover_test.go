package failover

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/faultnet"
)

// fault is something that goes wrong while objects change and operations come in.
type fault struct {
	name string
	// what happens, until all is well again.
	happen func(ctx context.Context, i *install) error
	// allowed are the outcomes that a caller may be told.
	allowed []outcome
	// callers ask these bridges; none: all.
	callers []int
}

// anything may be told of what was under way, as long as it is true.
var anything = []outcome{done, nothing, unknown}

var faults = []fault{
	{"a bridge is killed and comes back", func(ctx context.Context, i *install) error {
		bridge := max(i.bridgeOf(ctx, "demo"), 0)
		return firstError(i.Stop(ctx, "bridge", bridge, true), pause(ctx, 2*time.Second), i.Start(ctx, "bridge", bridge))
	}, anything, nil},
	{"a bridge stands still with batches in its hand and wakes when its agents are elsewhere", func(ctx context.Context, i *install) error {
		bridge := max(i.bridgeOf(ctx, "demo-b"), 0)
		// Longer than the silence of four seconds.
		return firstError(i.Pause("bridge", bridge), pause(ctx, 7*time.Second), i.Resume("bridge", bridge), pause(ctx, 2*time.Second))
	}, anything, nil},
	{"an agent is killed, its replica takes over, and it comes back", func(ctx context.Context, i *install) error {
		return firstError(i.Stop(ctx, "agent", 0, true), pause(ctx, 9*time.Second), i.Start(ctx, "agent", 0))
	}, anything, nil},
	{"an agent stands still for longer than the silence and wakes as one that was replaced", func(ctx context.Context, i *install) error {
		return firstError(i.Pause("agent", 1), pause(ctx, 7*time.Second), i.Resume("agent", 1))
	}, anything, nil},
	{"the network is half open, cut, slow and lossy", func(ctx context.Context, i *install) error {
		for _, name := range []string{"half-open", "none", "cut", "none", "slow", "lossy", "none"} {
			wait := 2 * time.Second
			if name == "half-open" {
				wait = 6 * time.Second
			}
			if err := firstError(i.SetNetwork(ctx, faultnet.Named()[name]), pause(ctx, wait)); err != nil {
				return err
			}
		}
		return nil
	}, anything, nil},
	{"a proxy ends connections of a certain age", func(ctx context.Context, i *install) error {
		return firstError(i.SetNetwork(ctx, faultnet.Faults{Age: 3 * time.Second}), pause(ctx, 7*time.Second), i.SetNetwork(ctx, faultnet.Faults{}))
	}, anything, nil},
	{"the database is killed, stands still, and cannot be written", func(ctx context.Context, i *install) error {
		if err := firstError(i.Restart(ctx, "mysql", 0, true), pause(ctx, time.Second), i.Pause("mysql", 0), pause(ctx, 4*time.Second), i.Resume("mysql", 0)); err != nil {
			return err
		}
		return firstError(i.exec(ctx, "SET GLOBAL read_only = 1"), pause(ctx, 4*time.Second), i.exec(ctx, "SET GLOBAL read_only = 0"))
	}, anything, nil},
	{"bridges and agents are told to stop one after the other, and what they had accepted is answered", func(ctx context.Context, i *install) error {
		for _, part := range []struct {
			name string
			n    int
		}{{"bridge", 1}, {"bridge", 2}, {"agent", 0}, {"agent", 1}} {
			if err := firstError(i.Restart(ctx, part.name, part.n, false), pause(ctx, 2*time.Second)); err != nil {
				return err
			}
		}
		return nil
	}, []outcome{done}, []int{0}},
	{"the bridge that callers ask is told to stop, and answers what it had accepted", func(ctx context.Context, i *install) error {
		return i.Restart(ctx, "bridge", 1, false)
	}, []outcome{done, nothing}, []int{0, 1}},
}

func TestWhateverGoesAwayNothingIsLostAndCallersAreToldTheTruth(t *testing.T) {
	i := newInstall(t, testenv.DefaultClouddriver)
	ctx := within(t, patience)
	must(t, i.shared(ctx))
	must(t, testenv.Wait(ctx, i.agrees))
	i.guard(ctx, t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			ctx := within(t, 2*time.Minute)
			callers := f.callers
			if callers == nil {
				callers = []int{0, 1, 2}
			}
			l := i.begin(ctx, callers...)
			must(t, pause(ctx, time.Second))
			err := f.happen(ctx, i)
			began := time.Now()
			must(t, err)
			must(t, i.serves(ctx))
			t.Logf("all accounts do operations at all bridges %s after the fault", time.Since(began).Round(time.Millisecond))
			i.verify(t, l, f.allowed...)
		})
	}
	t.Run("replicas share the accounts again", func(t *testing.T) { must(t, i.shared(within(t, patience))) })
	t.Run("the database is set back to an earlier state", func(t *testing.T) { i.setBack(t) })
}

// setBack restores what the tables were a while ago, under load: epochs, sessions, accounts and rows.
func (i *install) setBack(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	tables := []string{"fairlead_fence", "fairlead_session", "fairlead_account", "cats_v1_service", "cats_v1_service_rel"}
	for _, table := range tables {
		must(t, i.exec(ctx, "CREATE TABLE kept_"+table+" AS SELECT * FROM "+table))
	}
	l := i.begin(ctx, 0)
	must(t, pause(ctx, time.Second))
	// Epochs go on: another holder, and back.
	must(t, firstError(i.Restart(ctx, "agent", 0, true), pause(ctx, 4*time.Second)))
	must(t, i.exec(ctx, "DROP TRIGGER failover_noted"))
	must(t, testenv.Wait(ctx, func(ctx context.Context) error { return i.restore(ctx, tables) })) // writers may be in the way
	began := time.Now()
	must(t, i.serves(ctx))
	operations := l.end()
	i.truthful(ctx, t, operations)
	must(t, testenv.Wait(ctx, i.agrees))
	must(t, testenv.Wait(ctx, i.shown))
	must(t, i.shared(ctx))
	t.Logf("%d operations; tables, views and shares agree %s after the restore", len(operations), time.Since(began).Round(time.Millisecond))
}

func (i *install) restore(ctx context.Context, tables []string) error {
	tx, err := i.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing is left to roll back after Commit
	for _, table := range tables {
		for _, statement := range []string{"DELETE FROM " + table, "INSERT INTO " + table + " SELECT * FROM kept_" + table} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}

// serves waits until an operation on each account is done at each bridge.
func (i *install) serves(ctx context.Context) error {
	for bridge := range i.Bridges {
		for _, account := range accounts {
			err := testenv.Wait(ctx, func(ctx context.Context) error {
				if told, text := i.create(ctx, bridge, account, nextID()); told != done {
					return &toldError{bridge, account, told, text}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

type toldError struct {
	bridge  int
	account string
	told    outcome
	text    string
}

func (e *toldError) Error() string {
	return "operation on " + e.account + ": " + e.told.String() + ": " + e.text
}

func (i *install) exec(ctx context.Context, statement string) error {
	_, err := i.db.ExecContext(ctx, statement)
	return err
}

// pause lets a fault last; nothing is asserted about how long it takes.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// firstError is the first of what several steps returned, which have all been done by then, in order.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
