package agent

import (
	"slices"
	"strings"

	"github.com/fairlead/fairlead/agent/internal/session"
)

// standing is how an account stands with its configuration and credentials.
type standing struct {
	name   string
	served *session.Account
	// waiting: it is served once its credentials can be read.
	waiting bool
	// problem of configuration or credentials, in words for a person.
	problem string
}

// all returns every account that the configuration names.
func (f *fleet) all() []standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []standing
	for name, m := range f.members {
		s := standing{name: name, served: m.served, waiting: m.served == nil}
		var problems []string
		if p := f.refused[name]; p != "" {
			problems = append(problems, "its configuration is not in force: "+p)
		}
		if _, p := m.keeper.Current(); p != "" {
			problems = append(problems, p)
		}
		if m.problem != "" {
			problems = append(problems, m.problem)
		}
		s.problem = strings.Join(problems, "; ")
		list = append(list, s)
	}
	for name, problem := range f.refused {
		if f.members[name] == nil {
			list = append(list, standing{name: name, problem: problem})
		}
	}
	slices.SortFunc(list, func(a, b standing) int { return strings.Compare(a.name, b.name) })
	return list
}

// state words a standing for metrics.
func (s standing) state() string {
	switch {
	case s.served != nil && s.problem != "":
		return "troubled"
	case s.served != nil:
		return "served"
	case s.waiting:
		return "waiting"
	default:
		return "refused"
	}
}

// count tells how many accounts are in each state.
func (f *fleet) count() map[string]int {
	counts := map[string]int{}
	for _, s := range f.all() {
		counts[s.state()]++
	}
	return counts
}

func (f *fleet) hasRefused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.refused) > 0
}

// serves tells whether the configuration names any account.
func (f *fleet) serves() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.members) > 0
}
