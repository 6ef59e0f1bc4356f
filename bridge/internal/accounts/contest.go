package accounts

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// contestant is an agent that wants an account.
type contestant struct{ account, instance string }

// mostContested bounds what is remembered of refusals. Beyond, all is forgotten: those agents are refused until they declare again.
const mostContested = 10_000

// contest says why an agent may not declare the account: another one serves a cluster of the same name that is not the same cluster. Once that
// agent has gone, the account is whoever's comes: a cluster that was built anew keeps its name.
func (r *Registry) contest(agent *linkv1.Agent, d *linkv1.Account) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	me := contestant{d.GetName(), agent.GetInstance()}
	known := r.accounts[me.account]
	if known == nil || sameCluster(known.declared.GetCluster(), d.GetCluster()) || !r.served(me, known) {
		delete(r.contested, me)
		return ""
	}
	if len(r.contested) >= mostContested {
		clear(r.contested)
	}
	r.contested[me] = d.GetCluster()
	return fmt.Sprintf("name: account %q is another cluster already, which agent %s serves (%s there, %s here): choose another name, or stop that agent first",
		me.account, known.agent, brief(known.declared.GetCluster()), brief(d.GetCluster()))
}

// served tells whether another agent serves the account, here or elsewhere. The lock is held.
func (r *Registry) served(me contestant, a *account) bool {
	for session := range r.serving[me.account] {
		if r.instances[sessionKey{me.account, session}] != me.instance {
			return true
		}
	}
	for _, s := range a.elsewhere {
		if s.Age < store.BridgeSilence.Milliseconds() && s.Instance != me.instance {
			return true
		}
	}
	return false
}

// Vacated tells that an account was refused to an agent because another one served it, and that nothing speaks against it any more.
func (r *Registry) Vacated(name, instance string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	me := contestant{name, instance}
	cluster, contested := r.contested[me]
	if !contested {
		return false
	}
	a := r.accounts[name]
	return a == nil || sameCluster(a.declared.GetCluster(), cluster) || !r.served(me, a)
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
