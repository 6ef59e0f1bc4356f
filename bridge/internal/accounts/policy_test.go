package accounts

import (
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

type everything struct{}

func (everything) Allows(string) bool { return true }

// The declaration is one that the registry knows already, so that the verdict needs no database.
func TestAnAcceptedAccountIsToldItsPolicyAndARefusedOneIsNot(t *testing.T) {
	policy := Policy{Cache: &linkv1.CachePolicy{Kinds: []string{"configMap"}}}
	r := New(Options{Log: slog.New(slog.DiscardHandler), Policy: func(account string) Policy {
		if account == "prod" {
			return policy
		}
		return Policy{}
	}})
	agent := &linkv1.Agent{Name: "agent"}
	for _, name := range []string{"prod", "test"} {
		r.accounts[name] = &account{declared: &linkv1.Account{Name: name}, agent: "agent"}
	}
	verdicts, err := r.Declare(context.Background(), agent, everything{}, []*linkv1.Account{{Name: "prod"}, {Name: "test"}, {Name: "-"}})
	if err != nil || len(verdicts) != 3 {
		t.Fatal(verdicts, err)
	}
	if v := verdicts[0]; !v.GetAccepted() || !proto.Equal(v.GetCache(), policy.Cache) {
		t.Error(v)
	}
	if v := verdicts[1]; !v.GetAccepted() || v.GetCache() != nil {
		t.Error(v)
	}
	if v := verdicts[2]; v.GetAccepted() || v.GetCache() != nil {
		t.Error(v)
	}
}

func TestAPolicyCompletesADeclarationAndContradictsNothingInIt(t *testing.T) {
	declared := &linkv1.Account{Name: "a", CustomResources: []*linkv1.CustomResource{{KubernetesKind: "A.example.com", DeployPriority: "1"}},
		CachingPolicies: []*linkv1.CachingPolicy{{KubernetesKind: "pod", MaxEntriesPerAgent: 1}}}
	before := proto.CloneOf(declared)
	got := Policy{
		Cache:           &linkv1.CachePolicy{OnlySpinnakerManaged: true, CachingPolicies: []*linkv1.CachingPolicy{{KubernetesKind: "pod", MaxEntriesPerAgent: 2}, {KubernetesKind: "job", MaxEntriesPerAgent: 3}}},
		CustomResources: []*linkv1.CustomResource{{KubernetesKind: "A.example.com", DeployPriority: "2"}, {KubernetesKind: "B.example.com", SpinnakerKind: "serverGroups"}},
	}.completes(declared)
	want := &linkv1.Account{Name: "a", OnlySpinnakerManaged: true,
		CustomResources: []*linkv1.CustomResource{{KubernetesKind: "A.example.com", DeployPriority: "1"}, {KubernetesKind: "B.example.com", SpinnakerKind: "serverGroups"}},
		CachingPolicies: []*linkv1.CachingPolicy{{KubernetesKind: "pod", MaxEntriesPerAgent: 1}, {KubernetesKind: "job", MaxEntriesPerAgent: 3}}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if !proto.Equal(declared, before) {
		t.Error("the agent's declaration was changed")
	}
	if (Policy{Cache: &linkv1.CachePolicy{All: true}}).completes(declared) != declared {
		t.Error("a policy that completes nothing makes a copy")
	}
}
