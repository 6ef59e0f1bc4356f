package dynamic

import (
	"context"
	"errors"
	"slices"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Session is an agent's session at this bridge, as package session knows it. Its functions must not block.
type Session struct {
	ID       string
	Agent    *linkv1.Agent
	Identity identity.Identity
	// Takes: the agent is of a version that takes dynamic accounts.
	Takes    bool
	Assign   func(*linkv1.Assign)
	Withdraw func(account string)
	// Close ends the session; the agent connects again.
	Close func(reason string)
}

// member is a session with what is known of its dynamic accounts.
type member struct {
	Session

	place string
	// declared are the dynamic accounts that the agent has declared, by revision; sent is what it was given, by attempt.
	declared map[string]uint64
	sent     map[string]sending
}

type sending struct {
	revision uint64
	attempt  int
}

// place names the agents that share accounts: those of a zone, or those with one identity where they tell no zone.
func place(agent *linkv1.Agent, id identity.Identity) string {
	if zone := agent.GetZone(); zone != "" {
		return clip("zone "+zone, 255)
	}
	return clip("identity "+id.Subject(), 255)
}

// Declared tells what an agent declares, each time that it does; the first time it is new.
func (s *Service) Declared(e Session, declared []*linkv1.Account) {
	s.mu.Lock()
	m := s.members[e.ID]
	if m == nil {
		m = &member{Session: e, place: place(e.Agent, e.Identity), sent: map[string]sending{}}
		s.members[e.ID] = m
		s.arrived = true
	}
	m.declared = map[string]uint64{}
	for _, d := range declared {
		if d.GetDynamic() != 0 {
			m.declared[d.GetName()] = d.GetDynamic()
		}
	}
	s.mu.Unlock()
	s.poke()
}

// Left tells that a session is over.
func (s *Service) Left(session string) {
	s.mu.Lock()
	delete(s.members, session)
	s.mu.Unlock()
	s.poke()
}

// Unassigned takes what an agent says about an account that it does not serve.
func (s *Service) Unassigned(session string, said *linkv1.Assigned) {
	s.refused(session, said.GetAccount(), said.GetRevision(), said.GetProblem())
}

// Rejected takes why the registry did not let an agent have an account.
func (s *Service) Rejected(session, account, reason string) {
	s.mu.Lock()
	m := s.members[session]
	var revision uint64
	if m != nil {
		revision = m.declared[account]
	}
	s.mu.Unlock()
	if revision != 0 {
		s.refused(session, account, revision, reason)
	}
}

// longestProblem of an agent is kept, in characters.
const longestProblem = 500

func (s *Service) refused(session, name string, revision uint64, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, row := s.members[session], s.rows[name]
	if m == nil || row.Name == "" || row.Revision != revision || row.Place != m.place {
		return
	}
	if s.problems[name] == nil {
		s.problems[name] = map[string]string{}
	}
	if s.problems[name][session] == "" {
		s.o.Log.Warn("agent does not serve a dynamic account", "account", name, "revision", revision, "agent", m.Agent.GetName(), "reason", clip(problem, longestProblem))
	}
	s.problems[name][session] = clip(problem, longestProblem)
	s.poke()
}

// storeMembers keeps this bridge's rows of agents.
func (s *Service) storeMembers(ctx context.Context) error {
	s.mu.Lock()
	var come []store.Agent
	var left []string
	for id, m := range s.members {
		if !s.stored[id] {
			come = append(come, m.row(s.o.Bridge))
		}
	}
	for id := range s.stored {
		if s.members[id] == nil {
			left = append(left, id)
		}
	}
	s.mu.Unlock()
	for _, row := range come {
		if err := s.o.Store.PutAgent(ctx, row); err != nil {
			return err
		}
	}
	if err := s.o.Store.EndAgents(ctx, left); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range come {
		s.stored[row.Session] = true
	}
	for _, id := range left {
		delete(s.stored, id)
	}
	return nil
}

func (m *member) row(bridge string) store.Agent {
	return store.Agent{Session: m.ID, Bridge: bridge, Agent: clip(m.Agent.GetName(), 255), Instance: clip(m.Agent.GetInstance(), 255), Zone: clip(m.Agent.GetZone(), 255), Place: m.place,
		Version: clip(m.Agent.GetVersion(), 64), Dynamic: m.Takes, Patterns: m.Identity.Patterns}
}

// closeMembers ends sessions that a person wants ended, has rows written again that are not there (the database may have been set back), and
// those deleted that an earlier process of this bridge left. The lock is held.
func (s *Service) closeMembers(agents []store.Agent) {
	there := map[string]bool{}
	for _, g := range agents {
		if g.Bridge != s.o.Bridge {
			continue
		}
		there[g.Session] = true
		m := s.members[g.Session]
		if m == nil {
			s.stored[g.Session] = true // to be deleted
		} else if g.Closing {
			m.Close("a person asked for it")
		}
	}
	for id := range s.stored {
		if s.members[id] != nil && !there[id] {
			delete(s.stored, id)
		}
	}
	s.agents = slices.DeleteFunc(agents, func(g store.Agent) bool { return g.Bridge == s.o.Bridge && s.members[g.Session] == nil })
}

// provide gives each agent of this bridge the accounts that are its own, and takes back what is not.
func (s *Service) provide(ctx context.Context) error {
	s.mu.Lock()
	due := map[string][]*member{}
	for _, m := range s.members {
		for name, row := range s.rows {
			if m.due(row) {
				due[name] = append(due[name], m)
			}
		}
		for name := range m.declared {
			if !m.owns(s.rows[name]) {
				m.Withdraw(name)
			}
		}
		for name := range m.sent {
			if !m.owns(s.rows[name]) {
				delete(m.sent, name)
				m.Withdraw(name)
			}
		}
	}
	s.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	names := make([]string, 0, len(due))
	for name := range due {
		names = append(names, name)
	}
	sealed, revisions, err := s.o.Store.Kubeconfigs(ctx, names)
	if err != nil {
		return err
	}
	for name, members := range due {
		plain, err := s.o.Key.Open(store.SecretPrefix+name, sealed[name])
		if err != nil && len(sealed[name]) > 0 {
			s.o.Log.Error("kubeconfig cannot be opened", "account", name, "error", err)
		}
		s.give(name, revisions[name], plain, err, members)
	}
	return nil
}

// owns tells whether an account is given to the agent.
func (m *member) owns(row store.Dynamic) bool {
	return State(row.State).wanted() && m.Takes && row.Place == m.place && (row.Zone == "" || row.Zone == m.Agent.GetZone()) && m.Identity.Allows(row.Name)
}

// due tells whether an account is to be sent.
func (m *member) due(row store.Dynamic) bool {
	return m.owns(row) && m.declared[row.Name] != row.Revision && m.sent[row.Name] != sending{row.Revision, row.Attempt}
}

// give sends an account to agents, unless it has changed meanwhile.
func (s *Service) give(name string, revision uint64, kubeconfig []byte, problem error, members []*member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.rows[name]
	for _, m := range members {
		if row.Revision != revision || s.members[m.ID] != m || !m.due(row) {
			continue
		}
		m.sent[name] = sending{row.Revision, row.Attempt}
		if problem != nil {
			reason := "the kubeconfig cannot be opened"
			if errors.Is(problem, identity.ErrWrongKey) {
				reason = "the kubeconfig was sealed with another key than those of the bridge's keyFile"
			}
			if s.problems[name] == nil {
				s.problems[name] = map[string]string{}
			}
			s.problems[name][m.ID] = reason
			s.poke()
			continue
		}
		m.Assign(&linkv1.Assign{Account: name, Revision: revision, Definition: []byte(row.Definition), Kubeconfig: kubeconfig})
	}
}
