package session

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// watched is a cluster that says when it is watched and when no longer.
type watched struct {
	scriptedCluster

	ended chan struct{}
}

func (w watched) Run(ctx context.Context, sink cluster.Sink) error {
	defer close(w.ended)
	return w.scriptedCluster.Run(ctx, sink)
}

// another makes an account that a test adds while the agent runs.
func another(name, environment string) (Account, watched) {
	s := &scripted{sink: make(chan cluster.Sink, 1), run: func(context.Context, *linkv1.Operation, io.Writer) *linkv1.Outcome {
		return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}
	}}
	w := watched{scriptedCluster{s}, make(chan struct{})}
	return Account{Declared: &linkv1.Account{Name: name, Environment: environment}, Records: cats.NewInventory(name, cats.Options{}),
		Cluster: w, Executor: scriptedExecutor{s}}, w
}

func names(accounts []*linkv1.Account) []string {
	var list []string
	for _, a := range accounts {
		list = append(list, a.GetName()+" "+a.GetEnvironment())
	}
	return list
}

func (p *peer) accounts() *linkv1.Accounts {
	p.t.Helper()
	return until(p.t, "the accounts anew", p.up, func(f *linkv1.SessionUp) bool { return f.GetAccounts() != nil }).GetAccounts()
}

func TestAccountsComeChangeAndLeaveWithinASession(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	p := b.session()
	p.welcome(1 << 20)
	first, cluster := another("b", "one")
	if err := a.SetAccounts([]Account{first}, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	said := p.accounts()
	if diff := cmp.Diff([]string{"b one"}, names(said.GetAccounts())); diff != "" || !cmp.Equal(said.GetRemoved(), []string{"a"}) {
		t.Error(diff, said.GetRemoved())
	}
	next(t, "the new account's sink", cluster.sink)

	changed := first
	changed.Declared = &linkv1.Account{Name: "b", Environment: "two"}
	if err := a.SetAccounts([]Account{changed}, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b two"}, names(p.accounts().GetAccounts())); diff != "" {
		t.Error(diff)
	}
	select {
	case <-cluster.ended:
		t.Error("the cluster of an account that declares something else is not watched any more")
	case <-cluster.sink:
		t.Error("the cluster of an account that declares something else is watched twice")
	default:
	}

	if err := a.SetAccounts(nil, []string{"b"}); err != nil {
		t.Fatal(err)
	}
	<-cluster.ended
	if said := p.accounts(); len(said.GetAccounts()) != 0 {
		t.Error(said)
	}
}

func TestWhatAnAccountThatLeftStillListsReachesNobody(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	old := watch(t, a)
	fresh, _ := another("a", "")
	if err := a.SetAccounts([]Account{fresh}, nil); err != nil {
		t.Fatal(err)
	}
	old.Begin("pod")
	if err := old.Put(t.Context(), pod("left", "")); !errors.Is(err, errGone) {
		t.Errorf("an object of an account that left: %v", err)
	}
	old.Live("pod")
	if err := old.Delete(t.Context(), cats.Key{Type: "pod", Scope: "n", Name: "x"}); !errors.Is(err, errGone) {
		t.Error(err)
	}
	if live := a.served("a").live; len(live) != 0 {
		t.Errorf("the account that took over the name has kinds of the former: %v", live)
	}
}

func TestTheSameNameTwiceChangesNothing(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	one, _ := another("b", "")
	if err := a.SetAccounts([]Account{one, one}, nil); err == nil {
		t.Error("accepted")
	}
	if a.served("a") == nil || a.served("b") != nil {
		t.Error("the accounts have changed")
	}
}
