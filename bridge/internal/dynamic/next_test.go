package dynamic

import (
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

func agent(name, zone string, patterns ...string) store.Agent {
	return store.Agent{Session: name, Agent: name, Zone: zone, Place: "zone " + zone, Dynamic: true, Patterns: patterns}
}

func TestAgentsAreChosenByIdentityAndZoneOnePlaceAtATime(t *testing.T) {
	old := agent("old", "c", "*")
	old.Dynamic = false
	agents := []store.Agent{agent("one", "b", "prod-*"), agent("two", "a", "*"), agent("three", "a", "stage")}
	for _, c := range []struct {
		name    string
		account Account
		agents  []store.Agent
		want    string
	}{
		{"the first place by name", Account{Name: "prod-eu"}, agents, "zone a"},
		{"the one that had it", Account{Name: "prod-eu", Place: "zone b"}, agents, "zone b"},
		{"not one that failed", Account{Name: "prod-eu", Place: "zone b", Tried: []string{"zone b"}}, agents, "zone a"},
		{"none is left", Account{Name: "prod-eu", Tried: []string{"zone a", "zone b"}}, agents, ""},
		{"the zone that is wanted", Account{Name: "prod-eu", Zone: "b"}, agents, "zone b"},
		{"a zone without agents", Account{Name: "prod-eu", Zone: "x"}, agents, `no agent of zone "x" is connected; those whose identity allows account "prod-eu" are in zone "a", "b"`},
		{"nobody allowed", Account{Name: "dev"}, agents[:1], `none of the 1 connected agents`},
		{"nobody there", Account{Name: "dev"}, nil, "no agent is connected"},
		{"too old", Account{Name: "dev"}, []store.Agent{old}, "upgrade it"},
	} {
		c.account.State = ToMigrate
		e, any := Next(c.account, World{Agents: c.agents})
		got := e.Reason
		if e.Kind == Chosen {
			got = e.Place
		}
		if !any || !strings.Contains(got, c.want) || c.want == "" && e.Kind != NoAgent {
			t.Errorf("%s: %+v, want %q", c.name, e, c.want)
		}
	}
}

func TestWhatServesAnAccountDecidesWhatHappens(t *testing.T) {
	a := Account{Name: "prod", State: Active, Place: "zone a", Agent: "one", Revision: 3}
	served := World{Connected: true, Revision: 3, Agent: "one"}
	with := func(state State) Account { b := a; b.State = state; return b }
	for _, c := range []struct {
		name    string
		account Account
		world   World
		want    Kind
	}{
		{"all is well", a, served, ""},
		{"another agent has it", a, World{Connected: true, Revision: 3, Agent: "two"}, Served},
		{"away for a moment", a, World{Unserved: UnservedTime - 1}, ""},
		{"away", a, World{Unserved: UnservedTime}, Unserved},
		{"still at the former revision", with(Activating), World{Connected: true, Revision: 2, Agent: "one"}, ""},
		{"declared", with(Activating), served, Served},
		{"not in time", with(Activating), World{Due: true}, Due},
		{"an orphan that is served", with(Orphaned), served, Served},
		{"an orphan that waits", with(Orphaned), World{}, ""},
		{"an orphan for whom others are looked for", with(Orphaned), World{Due: true, Agents: []store.Agent{agent("x", "b", "*")}}, Chosen},
		{"an orphan for whom there is nobody", with(Orphaned), World{Due: true}, NoAgent},
		{"on its way out, and still served", with(Deleting), served, ""},
		{"taken up by another bridge", with(Deleting), World{Due: true}, Due},
		{"inactive", with(Inactive), World{Due: true}, ""},
		{"tried again", with(Failed), World{Due: true}, Due},
	} {
		e, any := Next(c.account, c.world)
		if any != (c.want != "") || e.Kind != c.want && any {
			t.Errorf("%s: %+v %v, want %q", c.name, e, any, c.want)
		}
	}
}
