package session

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

const (
	// mostOutdated bounds how many agents that were turned away are remembered, outdatedFor how long after their last attempt.
	mostOutdated = 1000
	outdatedFor  = time.Hour
)

// TurnedAway is an agent that is not served because it is too old.
type TurnedAway struct {
	Agent  *linkv1.Agent
	Remote string
	Last   time.Time
	Reason string
}

// outdated remembers agents that were turned away, so that people see them: they never have a session.
type outdated struct {
	mu     sync.Mutex
	agents map[string]TurnedAway
}

func newOutdated() *outdated { return &outdated{agents: map[string]TurnedAway{}} }

// heard takes a Hello. The machine decides by itself; this only remembers what it refuses for its age.
func (o *outdated) heard(hello *linkv1.Hello, remote string, now time.Time) {
	agent, name := hello.GetAgent(), hello.GetAgent().GetName()
	if agent == nil {
		return
	}
	if name == "" {
		name = agent.GetInstance()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if link.Capability(hello.GetCapability()) >= link.Oldest {
		delete(o.agents, name) // it was upgraded
		return
	}
	if _, known := o.agents[name]; !known && len(o.agents) >= mostOutdated {
		o.forget(now)
		if len(o.agents) >= mostOutdated {
			return
		}
	}
	o.agents[name] = TurnedAway{Agent: agent, Remote: remote, Last: now, Reason: Outdated(agent, "")}
}

// forget drops those that do not come any more. The lock is held.
func (o *outdated) forget(now time.Time) {
	for name, a := range o.agents {
		if now.Sub(a.Last) > outdatedFor {
			delete(o.agents, name)
		}
	}
}

// TurnedAway lists the agents that came within the last hour and were too old, by name.
func (s *Service) TurnedAway() []TurnedAway {
	s.outdated.mu.Lock()
	defer s.outdated.mu.Unlock()
	s.outdated.forget(time.Now())
	list := make([]TurnedAway, 0, len(s.outdated.agents))
	for _, a := range s.outdated.agents {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b TurnedAway) int { return strings.Compare(a.Agent.GetName(), b.Agent.GetName()) })
	return list
}

// Outdated says why an agent should be upgraded, "" if it need not be. bridge is this bridge's version; versions that are no releases are not
// compared.
func Outdated(agent *linkv1.Agent, bridge string) string {
	switch can := link.Capability(agent.GetCapability()); {
	case can < link.Oldest:
		return fmt.Sprintf("it is not served: it has capability %d, and this bridge needs at least %d", can, link.Oldest)
	case can < link.Current:
		return fmt.Sprintf("it has capability %d, and this bridge has %d: it is served, without what is newer", can, link.Current)
	case older(agent.GetVersion(), bridge):
		return fmt.Sprintf("it is %s, and this bridge is %s: it is served", agent.GetVersion(), bridge)
	}
	return ""
}

// older tells whether one release came before another.
func older(one, other string) bool {
	a, errA := version.ParseSemantic(one)
	b, errB := version.ParseSemantic(other)
	return errA == nil && errB == nil && a.LessThan(b)
}
