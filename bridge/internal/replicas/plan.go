package replicas

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
)

// Account is one account and the agent processes that serve it.
type Account struct {
	Name string
	// Replicas are the instances that serve it now.
	Replicas []string
	// Holder attached it last; it need not be there any more.
	Holder string
}

// Move gives an account's caching to a process.
type Move struct {
	Account string
	// From is the holder; "" if that has gone.
	From, To string
}

// Plan returns what has to move, by name of the account. settled tells whether a process has been there long enough to be given what another
// one holds.
func Plan(accounts []Account, settled func(instance string) bool) []Move {
	p := plan{load: map[string]int{}, groups: map[string]*group{}, settled: settled}
	var vacant []Account
	before := map[string]string{}
	for _, a := range accounts {
		if len(a.Replicas) == 0 {
			continue
		}
		if slices.Contains(a.Replicas, a.Holder) {
			before[a.Name] = a.Holder
			p.put(a, a.Holder)
		} else {
			vacant = append(vacant, a)
		}
	}
	slices.SortFunc(vacant, func(a, b Account) int { return cmp.Compare(a.Name, b.Name) })
	for _, a := range vacant {
		p.put(a, p.least(a))
	}
	p.level()
	var moves []Move
	for _, g := range p.groups {
		for to, held := range g.held {
			for _, name := range held {
				if before[name] != to {
					moves = append(moves, Move{Account: name, From: before[name], To: to})
				}
			}
		}
	}
	slices.SortFunc(moves, func(a, b Move) int { return cmp.Compare(a.Account, b.Account) })
	return moves
}

// plan is who holds what while it is made up.
type plan struct {
	load    map[string]int
	groups  map[string]*group
	settled func(string) bool
}

// group is the accounts that the same processes serve.
type group struct {
	replicas []string
	held     map[string][]string
}

func (p *plan) put(a Account, holder string) {
	replicas := slices.Compact(slices.Sorted(slices.Values(a.Replicas)))
	key := strings.Join(replicas, "\x00")
	g := p.groups[key]
	if g == nil {
		g = &group{replicas: replicas, held: map[string][]string{}}
		p.groups[key] = g
	}
	g.held[holder] = append(g.held[holder], a.Name)
	p.load[holder]++
}

// least is the replica with the fewest accounts; of several the one that the account's name chooses, so that all bridges choose the same.
func (p *plan) least(a Account) string {
	return slices.MinFunc(a.Replicas, func(x, y string) int {
		return cmp.Or(cmp.Compare(p.load[x], p.load[y]), cmp.Compare(weight(a.Name, y), weight(a.Name, x)), cmp.Compare(x, y))
	})
}

// level evens out groups until none is uneven. Each move brings two loads closer together, so it ends.
func (p *plan) level() {
	keys := slices.Sorted(maps.Keys(p.groups))
	for moved := true; moved; {
		moved = false
		for _, key := range keys {
			g := p.groups[key]
			if from, to := p.ends(g, g.counts()); from == "" || p.load[from]-p.load[to] <= p.tolerance(g) {
				continue
			}
			p.even(g)
			moved = true
		}
	}
}

// even levels a group: first how many go from whom to whom, then which.
func (p *plan) even(g *group) {
	flow := map[[2]string]int{}
	left := g.counts()
	for {
		from, to := p.ends(g, left)
		if from == "" || p.load[from]-p.load[to] < 2 {
			break
		}
		flow[[2]string{from, to}]++
		p.load[from]--
		left[from]--
		p.load[to]++
		left[to]++
	}
	ways := slices.SortedFunc(maps.Keys(flow), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, way := range ways {
		g.move(way[0], way[1], flow[way])
	}
}

// ends are the replica of a group that has the most and holds something of it, and the one that has the fewest and may be given something; "" if
// there are none.
func (p *plan) ends(g *group, left map[string]int) (from, to string) {
	for _, r := range g.replicas {
		if left[r] > 0 && (from == "" || p.load[r] > p.load[from]) {
			from = r
		}
		if p.settled(r) && (to == "" || p.load[r] < p.load[to]) {
			to = r
		}
	}
	if to == "" {
		return "", ""
	}
	return from, to
}

// tolerance is the difference that is left alone: with each account that comes or goes, or each process that is gone for a moment, something
// would move otherwise.
func (p *plan) tolerance(g *group) int {
	sum := 0
	for _, r := range g.replicas {
		sum += p.load[r]
	}
	return max(1, sum/len(g.replicas)/20)
}

func (g *group) counts() map[string]int {
	counts := map[string]int{}
	for r, held := range g.held {
		counts[r] = len(held)
	}
	return counts
}

// move moves the accounts that the receiver's name chooses: every bridge moves the same.
func (g *group) move(from, to string, n int) {
	held := g.held[from]
	weights := make(map[string]uint64, len(held))
	for _, name := range held {
		weights[name] = weight(name, to)
	}
	slices.SortFunc(held, func(a, b string) int { return cmp.Or(cmp.Compare(weights[b], weights[a]), cmp.Compare(a, b)) })
	g.held[to] = append(g.held[to], held[:n]...)
	g.held[from] = slices.Clone(held[n:])
}

// weight is how much an account belongs to a process (rendezvous hashing).
func weight(account, instance string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(account + "\x00" + instance)) // never fails
	// FNV's high bits know little of the last bytes.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
