package accounts

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bridge/internal/store"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// maximumName is the longest name of an account: with it every name that Clouddriver's tables make of an account still fits.
const maximumName = 63

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Scope is which accounts an agent may serve (identity.Identity).
type Scope interface{ Allows(account string) bool }

// Declare takes what an agent says about its accounts and returns a verdict for each, in the same order. An error means that the
// database cannot be asked; nothing was decided then, and the agent has to try again. What the registry knows to be the same already
// is accepted without the database.
func (r *Registry) Declare(ctx context.Context, agent *linkv1.Agent, scope Scope, declared []*linkv1.Account) ([]*linkv1.AccountVerdict, error) {
	verdicts := make([]*linkv1.AccountVerdict, 0, len(declared))
	seen := map[string]string{}
	for _, d := range declared {
		reason := refuse(d.GetName(), scope)
		policy := r.policy(d.GetName())
		if other, twice := seen[store.Folded(d.GetName())]; twice && reason == "" {
			reason = fmt.Sprintf("name: the agent declares %q and %q; names must differ in more than case", other, d.GetName())
		}
		if reason == "" {
			reason = r.refuseReleased(d.GetName())
		}
		if reason == "" && d.GetDynamic() != 0 && r.o.Dynamic != nil {
			reason = r.o.Dynamic(d.GetName())
		}
		if reason == "" {
			reason = r.contest(agent, d)
		}
		if reason == "" {
			seen[store.Folded(d.GetName())] = d.GetName()
			var err error
			if reason, err = r.declare(ctx, agent, policy.completes(d)); err != nil {
				return nil, err
			}
		}
		verdict := &linkv1.AccountVerdict{Account: d.GetName(), Accepted: reason == "", Reason: reason}
		if verdict.GetAccepted() {
			verdict.Cache, verdict.Settings = policy.Cache, policy.Settings
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts, nil
}

// CheckName says why no account may have such a name; "" if one may.
func CheckName(name string) string {
	switch {
	case !nameForm.MatchString(name):
		return fmt.Sprintf("name: %q must begin with a letter or digit and hold letters, digits, '.', '_' and '-' only", name)
	case len(name) > maximumName:
		return fmt.Sprintf("name: has %d characters, %d are the limit", len(name), maximumName)
	}
	return ""
}

// refuse says why nobody may declare such an account with that identity; "" if one may.
func refuse(name string, scope Scope) string {
	switch problem := CheckName(name); {
	case problem != "":
		return problem
	case !scope.Allows(name):
		return fmt.Sprintf("the agent's enrolment token does not cover account %q: make one with \"fairlead token create --accounts %s\"", name, name)
	}
	return ""
}

// declare stores a declaration; the reason is "" when it did.
func (r *Registry) declare(ctx context.Context, agent *linkv1.Agent, d *linkv1.Account) (reason string, err error) {
	name, who := d.GetName(), describe(agent)
	r.mu.Lock()
	known, removing := r.accounts[name], r.removing[name]
	r.mu.Unlock()
	if known != nil && !removing && known.agent == who && proto.Equal(known.declared, d) {
		return "", nil
	}
	if known == nil {
		others, err := r.o.Store.StockNames(ctx, r.o.ApplicationsTable, name)
		if err != nil {
			return "", err
		}
		if len(others) > 0 {
			return differsInCase(name, others[0]), nil
		}
	}
	// Multi-line or unsorted JSON would make equal declarations look different to people only; the registry compares messages.
	text, err := protojson.Marshal(d)
	if err != nil {
		return fmt.Sprintf("the declaration of account %q cannot be stored: %v", name, err), nil
	}
	revision, err := r.o.Store.PutAccount(ctx, name, string(text), who)
	if errors.Is(err, store.ErrTaken) {
		return differsInCase(name, r.holder(name)), nil
	}
	if store.IsData(err) {
		return fmt.Sprintf("the declaration of account %q cannot be stored: %v", name, err), nil
	}
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored++
	next := &account{declared: proto.CloneOf(d), agent: who, revision: revision, stored: r.stored}
	if known != nil {
		next.facts, next.lastSeen = known.facts, known.lastSeen
	}
	r.put(name, next)
	return "", nil
}

func differsInCase(name, other string) string {
	return fmt.Sprintf("name: %q differs only in case from account %q, and Clouddriver's tables cannot keep the two apart: choose another name", name, other)
}

// holder is the known account whose name is the same but for case.
func (r *Registry) holder(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for other := range r.accounts {
		if store.Folded(other) == store.Folded(name) {
			return other
		}
	}
	return store.Folded(name)
}

func describe(agent *linkv1.Agent) string {
	if agent.GetName() != "" {
		return agent.GetName()
	}
	return agent.GetInstance()
}

// SetFacts stores what an agent knows of an accepted account. Facts of accounts that are not there are dropped.
func (r *Registry) SetFacts(ctx context.Context, facts *linkv1.Facts) error {
	name := facts.GetAccount()
	r.mu.Lock()
	known := r.accounts[name]
	r.mu.Unlock()
	if known == nil {
		return nil
	}
	if facts.GetProblem() != "" && len(facts.GetNamespaces()) == 0 {
		// The agent could not look yet, and every cluster has namespaces: what was known before still is.
		merged := proto.CloneOf(facts)
		merged.Namespaces, merged.CustomResources = known.facts.GetNamespaces(), known.facts.GetCustomResources()
		if merged.GetServerVersion() == "" {
			merged.ServerVersion = known.facts.GetServerVersion()
		}
		facts = merged
	}
	if proto.Equal(known.facts, facts) {
		return nil
	}
	text, err := protojson.Marshal(facts)
	if err != nil {
		return fmt.Errorf("facts of account %q: %w", name, err)
	}
	revision, err := r.o.Store.PutFacts(ctx, name, string(text))
	if err != nil {
		return err
	}
	if revision == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.accounts[name]; now != nil {
		next := *now
		next.facts, next.revision = proto.CloneOf(facts), revision
		r.put(name, &next)
	}
	return nil
}

// Remove takes an account out: from the list at once, then everything that Clouddriver's tables hold of it. An agent that still
// declares it brings it back at its next session. It returns how many rows were deleted, and whether the account was there.
func (r *Registry) Remove(ctx context.Context, name string) (deleted int, found bool, err error) {
	if found, err = r.o.Store.MarkRemoving(ctx, name); err != nil || !found {
		return 0, found, err
	}
	if r.o.Leaving != nil {
		r.o.Leaving(name)
	}
	r.mu.Lock()
	r.drop(name)
	r.removing[name] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.removing, name)
		r.mu.Unlock()
	}()
	if deleted, err = r.o.Remover.Remove(ctx, name); err != nil {
		return deleted, true, err
	}
	r.o.Log.Info("account removed", "account", name, "rows", deleted)
	return deleted, true, r.o.Store.DeleteAccount(ctx, name)
}
