package dynamic

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
)

// UnservedTime is how long nobody may serve an active account before it counts as orphaned: agents restart and change bridges.
const UnservedTime = 15 * time.Second

// World is what an account's next event depends on.
type World struct {
	// Agents are all that are connected, at any bridge.
	Agents []store.Agent
	// Connected: an agent serves the account. Revision and Agent are those of what was declared last.
	Connected bool
	Revision  uint64
	Agent     string
	// Unserved is how long nobody has.
	Unserved time.Duration
	// Due: the account's time is over.
	Due bool
}

// Next returns what happens to an account, if anything does.
func Next(a Account, w World) (Event, bool) {
	if w.Connected && w.Revision == a.Revision && a.State != Active || a.State == Active && w.Connected && w.Revision == a.Revision && (a.Reason != "" || a.Agent != w.Agent) {
		if m := table[a.State][Served]; m.to != "" {
			return Event{Kind: Served, Agent: w.Agent, Revision: w.Revision}, true
		}
	}
	switch a.State {
	case ToMigrate:
		return choose(a, w)
	case Orphaned:
		if !w.Due {
			return Event{}, false
		}
		a.Tried = []string{a.Place}
		e, _ := choose(a, w)
		if e.Kind == NoAgent {
			e.Reason = cmp.Or(a.Reason, e.Reason)
		}
		return e, true
	case Active:
		if w.Connected || w.Unserved < UnservedTime {
			return Event{}, false
		}
		return Event{Kind: Unserved, Reason: fmt.Sprintf("no agent of %s is connected; what is cached stays, and commands fail until one is back", a.Place)}, true
	}
	return Event{Kind: Due}, w.Due && table[a.State][Due].to != ""
}

// choose looks for a place that has not failed yet: the one that had the account last, else the first by name.
func choose(a Account, w World) (Event, bool) {
	var best string
	for _, place := range places(a, w.Agents) {
		if !a.tried(place) && (best == "" || place == a.Place) {
			best = place
		}
	}
	if best != "" {
		return Event{Kind: Chosen, Place: best}, true
	}
	e := Event{Kind: NoAgent}
	if len(a.Tried) == 0 {
		e.Reason = whyNone(a, w.Agents)
	}
	return e, true
}

// places are those whose agents may have an account, sorted.
func places(a Account, agents []store.Agent) []string {
	var list []string
	for _, g := range agents {
		if g.Dynamic && mayHave(a, g) && !slices.Contains(list, g.Place) {
			list = append(list, g.Place)
		}
	}
	slices.Sort(list)
	return list
}

// mayHave tells whether an agent's identity and zone allow it an account.
func mayHave(a Account, g store.Agent) bool {
	return (a.Zone == "" || g.Zone == a.Zone) && covers(g.Patterns, a.Name)
}

func covers(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return identity.Matches(p, name) })
}

// whyNone says why no agent may have the account, and what to do.
func whyNone(a Account, agents []store.Agent) string {
	var old, zones []string
	for _, g := range agents {
		switch {
		case mayHave(a, g):
			old = append(old, g.Agent)
		case covers(g.Patterns, a.Name):
			zones = append(zones, fmt.Sprintf("%q", g.Zone))
		}
	}
	slices.Sort(zones)
	switch {
	case len(agents) == 0:
		return "no agent is connected"
	case len(old) > 0:
		return fmt.Sprintf("agent %s is of a version that takes no dynamic accounts: upgrade it", old[0])
	case len(zones) > 0:
		return fmt.Sprintf("no agent of zone %q is connected; those whose identity allows account %q are in zone %s", a.Zone, a.Name, strings.Join(slices.Compact(zones), ", "))
	}
	return fmt.Sprintf("none of the %d connected agents has an identity that allows account %q: give one a token of \"fairlead token create --accounts %s\"", len(agents), a.Name, a.Name)
}
