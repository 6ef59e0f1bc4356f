package config_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/identity"
)

const policies = `
cache:
  policies:
  - accounts: ["prod-*", other]
    kinds: [deployment, CronTab.stable.example.com]
    omitKinds: [job]
    onlySpinnakerManaged: true
    customResources: [{kubernetesKind: CronTab.stable.example.com, spinnakerKind: serverGroups, deployPriority: "7", versioned: true, namespaced: false}, {kubernetesKind: A.example.com}]
    cachingPolicies: [{kubernetesKind: pod, maxEntriesPerAgent: 5000}]
  - {accounts: ["*-eu"], all: true}
`

func TestTheFirstPolicyThatCoversAnAccountHolds(t *testing.T) {
	c, err := parse(minimal+policies, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.CachePolicy{Accounts: []string{"prod-*", "other"}, Kinds: []string{"deployment", "CronTab.stable.example.com"}, OmitKinds: []string{"job"}, OnlySpinnakerManaged: true,
		CustomResources: []config.CustomResource{{KubernetesKind: "CronTab.stable.example.com", SpinnakerKind: "serverGroups", DeployPriority: "7", Versioned: true},
			{KubernetesKind: "A.example.com", Namespaced: true}},
		CachingPolicies: []config.CachingPolicy{{KubernetesKind: "pod", MaxEntriesPerAgent: 5000}}}
	for _, account := range []string{"prod-eu", "prod-us", "other"} {
		if got := c.Cache.Policy(account, identity.Matches); got == nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v", account, got)
		}
	}
	if got := c.Cache.Policy("test-eu", identity.Matches); got == nil || !got.All || len(got.Kinds) > 0 {
		t.Errorf("%+v", got)
	}
	if got := c.Cache.Policy("test", identity.Matches); got != nil {
		t.Errorf("%+v", got)
	}
	c, err = parse(minimal+policies, map[string]string{"FAIRLEAD_CACHE_POLICIES": `[{"accounts": ["*"], "omitKinds": ["pod"]}]`})
	if err != nil || len(c.Cache.Policies) != 1 || c.Cache.Policies[0].OmitKinds[0] != "pod" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestPoliciesThatMakeNoSenseAreRefusedWithPlaceAndFix(t *testing.T) {
	for content, want := range map[string]string{
		"x":                              "fairlead-bridge.yml:2: cache.policies: want a list",
		"[x]":                            "fairlead-bridge.yml:2: cache.policies[0]: want a section of keys",
		"[{}]":                           `cache.policies[0].accounts: at least one pattern is needed; "*" stands for every account`,
		"[{accounts: [a b]}]":            `cache.policies[0].accounts: pattern "a b" may hold`,
		"[{accounts: [a], kind: [pod]}]": "cache.policies[0].kind: no such key; there are accounts, all, cachingPolicies, customResources, kinds, omitKinds, onlySpinnakerManaged",
		"[{accounts: [a], all: maybe}]":  "cache.policies[0].all: want true or false",
		"[{accounts: [a], all: true, kinds: [pod]}]":                                                      "all: true and kinds contradict each other; give one of them",
		"[{accounts: [a], kinds: ['a b']}]":                                                               `cache.policies[0].kinds: "a b" is not a kind`,
		"[{accounts: [a], customResources: [{kubernetesKind: CronTab}]}]":                                 `cache.policies[0].customResources[0].kubernetesKind: "CronTab": want a kind with its group`,
		"[{accounts: [a], cachingPolicies: [{kubernetesKind: pod}]}]":                                     "cache.policies[0].cachingPolicies[0].maxEntriesPerAgent: is not set",
		"[{accounts: [a], cachingPolicies: [{kubernetesKind: pod, maxEntriesPerAgent: -1}]}]":             "maxEntriesPerAgent: want a whole number above zero",
		"[{accounts: [a], accounts: [b]}]":                                                                "already defined",
		"[{accounts: [a], cachingPolicies: [{kubernetesKind: pod, maxEntriesPerAgent: 1, nonsense: 2}]}]": "cachingPolicies[0].nonsense: no such key",
	} {
		_, err := parse("cache:\n  policies: "+content+"\n"+minimal, nil)
		if err == nil || !strings.Contains(err.Error(), want) && want != "already defined" {
			t.Errorf("%s: %v\nwant %s", content, err, want)
		}
		if _, err := parse(minimal, map[string]string{"FAIRLEAD_CACHE_POLICIES": content}); err == nil || !strings.Contains(err.Error(), "FAIRLEAD_CACHE_POLICIES") {
			t.Errorf("environment %s: %v", content, err)
		}
	}
}
