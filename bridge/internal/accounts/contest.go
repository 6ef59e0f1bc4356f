package accounts

import (
	"fmt"
	"slices"
	"strings"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// freshSession is how long, in milliseconds since its bridge's last heartbeat, a session at another bridge counts as there.
const freshSession = 30_000

// contest says why an agent may not declare the account: another one serves a cluster of the same name that is not the same cluster. Once that
// agent has gone, the account is whoever's comes: a cluster that was built anew keeps its name.
func (r *Registry) contest(agent *linkv1.Agent, d *linkv1.Account) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := d.GetName()
	delete(r.contested, name)
	known := r.accounts[name]
	if known == nil || known.agent == describe(agent) || sameCluster(known.declared.GetCluster(), d.GetCluster()) || !r.served(name, known) {
		return ""
	}
	r.contested[name] = true
	return fmt.Sprintf("name: account %q is another cluster already, which agent %s serves (%s there, %s here): choose another name, or stop that agent first",
		name, known.agent, brief(known.declared.GetCluster()), brief(d.GetCluster()))
}

// served tells whether an agent serves the account, here or elsewhere. The lock is held.
func (r *Registry) served(name string, a *account) bool {
	if len(r.serving[name]) > 0 {
		return true
	}
	for _, s := range a.elsewhere {
		if s.Age < freshSession {
			return true
		}
	}
	return false
}

// Vacated tells that an account was refused to an agent because another one served it, and that none does any more.
func (r *Registry) Vacated(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.contested[name] {
		return false
	}
	a := r.accounts[name]
	return a == nil || !r.served(name, a)
}

// sameCluster compares what two agents say of their cluster. They may see it in different ways: one authority in common is enough, and
// an address says nothing against authorities.
func sameCluster(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return true // an agent that does not tell
	}
	if hosts(a) != hosts(b) {
		return true
	}
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func hosts(cluster []string) bool { return strings.HasPrefix(cluster[0], "host:") }

func brief(cluster []string) string {
	first := cluster[0]
	if authority, is := strings.CutPrefix(first, "ca:"); is && len(authority) > 12 {
		first = "ca:" + authority[:12] + "…"
	}
	if len(cluster) > 1 {
		first += fmt.Sprintf(" and %d more", len(cluster)-1)
	}
	return first
}
