package link

import (
	"strconv"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// busyAgent serves three accounts; order starts an operation of one of them.
func busyAgent(t *testing.T, cfg LedgerConfig) (a *Agent, now time.Time, order func(account string, n int)) {
	t.Helper()
	a, now = connectedAgent(t, cfg)
	served := []Served{}
	for _, name := range []string{"hangs", "prod", "test"} {
		served = append(served, Served{Account: &linkv1.Account{Name: name}, Records: newInventory(name)})
	}
	a.SetAccounts(now, served, nil)
	actionsOf(a)
	count := 0
	return a, now, func(account string, n int) {
		for range n {
			count++
			f := startFrame(account+strconv.Itoa(count), true, 0, 100)
			f.GetStart().Account = account
			a.ReceivedOperation(now, f)
		}
	}
}

// begun counts the operations that began, by account.
func begun(a *Agent) map[string]int {
	counts := map[string]int{}
	for _, action := range actionsOf(a) {
		if s, ok := action.(StartOperation); ok {
			counts[s.Account]++
		}
	}
	return counts
}

func TestAccountWhoseAPIServerHangsDelaysNoOther(t *testing.T) {
	a, _, order := busyAgent(t, LedgerConfig{Running: 4, Waiting: 6, Each: 3, EachWaiting: 4})
	order("hangs", 20)
	if n := begun(a)["hangs"]; n != 3 {
		t.Fatalf("%d operations of one account run, 3 may", n)
	}
	_, outcomes := operationFrames(a)
	if len(outcomes) != 20-3-4 {
		t.Fatalf("%d operations were refused; 3 run and 4 wait of 20", len(outcomes))
	}
	for _, o := range outcomes {
		if o.GetState() != linkv1.Outcome_STATE_NOT_STARTED || !strings.Contains(o.GetReason(), "account hangs") {
			t.Fatalf("%v", o)
		}
	}
	// All room is taken, and yet each other account has one at once, and one that waits.
	order("prod", 4)
	order("test", 2)
	if counts := begun(a); counts["prod"] != 1 || counts["test"] != 1 {
		t.Fatalf("%v began", counts)
	}
}

func TestAccountWithTheFewestOperationsIsNext(t *testing.T) {
	a, now, order := busyAgent(t, LedgerConfig{Running: 4, Waiting: 100, Each: 4, EachWaiting: 50})
	order("hangs", 30)
	order("prod", 10)
	if counts := begun(a); counts["hangs"] != 4 || counts["prod"] != 1 {
		t.Fatalf("%v began", counts)
	}
	// As those end that came in a flood, the other account gets its half.
	for _, id := range []string{"hangs1", "hangs2", "hangs3"} {
		a.Finish(now, id, &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE})
	}
	if counts := begun(a); counts["prod"] != 1 || counts["hangs"] != 1 {
		t.Fatalf("%v began", counts)
	}
}

func TestAnAccountMayBeHeldToFewerOperationsAtOnceWhileTheyRun(t *testing.T) {
	a, now, order := busyAgent(t, LedgerConfig{Running: 8, Waiting: 100, Each: 4, EachWaiting: 50})
	decide := func(most uint32) {
		a.receiveVerdict(&linkv1.AccountVerdict{Account: "prod", Accepted: true, Settings: &linkv1.AccountSettings{OperationsAtOnce: most}})
	}
	decide(1)
	order("prod", 5)
	order("test", 5)
	if counts := begun(a); counts["prod"] != 1 || counts["test"] != 4 {
		t.Fatalf("%v began", counts)
	}
	decide(3) // those that wait begin at once
	if counts := begun(a); counts["prod"] != 2 {
		t.Fatalf("%v began", counts)
	}
	decide(1) // what runs goes on
	a.Finish(now, "prod1", &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE})
	if counts := begun(a); counts["prod"] != 0 {
		t.Fatalf("%v began", counts)
	}
	decide(0)
	if counts := begun(a); counts["prod"] != 2 {
		t.Fatalf("%v began", counts)
	}
}
