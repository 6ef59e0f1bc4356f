package cache

import (
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// maximumKinds is how many custom kinds one account may have tables for where its policy wants all, so that none uses up those that there are for
// all accounts.
const maximumKinds = 1500

// entitlement is which kinds an account may have rows of: those that its policy has the agent cache, whatever the agent says.
type entitlement struct {
	all bool
	// named and omitted are types in lower case.
	named, omitted map[string]bool
	// others is how many types there may be besides: kinds of the policy that only the API server can resolve (plurals, short names, kinds without
	// their group).
	others int
	// admitted are the types among those others that were met.
	admitted map[cats.Type]bool
}

// newEntitlement makes what a policy says; nil: every kind.
func newEntitlement(p *linkv1.CachePolicy) *entitlement {
	e := &entitlement{all: p == nil || p.GetAll(), named: map[string]bool{}, omitted: map[string]bool{}, admitted: map[cats.Type]bool{}}
	for _, kind := range p.GetOmitKinds() {
		e.omitted[strings.ToLower(string(cats.ParseType(kind)))] = true
	}
	switch {
	case e.all:
		e.others = maximumKinds
	case len(p.GetKinds()) == 0:
		for _, t := range cats.DefaultTypes() {
			e.named[strings.ToLower(string(t))] = true
		}
	}
	for _, kind := range p.GetKinds() {
		t := cats.ParseType(kind)
		e.named[strings.ToLower(string(t))] = true
		if !t.Native() {
			e.others++
		}
	}
	return e
}

// check says why an account may have no row of a type.
func (e *entitlement) check(t cats.Type) error {
	name := strings.ToLower(string(t))
	switch {
	case t == cats.Applications, t == cats.Clusters, e.admitted[t]:
		return nil
	case e.omitted[name]:
		return fmt.Errorf("type %s is not cached for this account: cache.policies leaves it out", t)
	case e.named[name], e.all && t.Native():
		return nil
	case len(e.admitted) < e.others:
		e.admitted[t] = true
		return nil
	case e.all:
		return fmt.Errorf("type %s cannot be stored: the account has %d custom kinds already, as many as one may have", t, maximumKinds)
	}
	return fmt.Errorf("type %s is not cached for this account: cache.policies does not name it", t)
}
