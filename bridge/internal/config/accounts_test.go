package config_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/identity"
)

func TestTheFirstAccountPolicyThatCoversAnAccountHolds(t *testing.T) {
	c, err := parse(minimal+`
accounts:
  policies:
  - {accounts: ["prod-*"], logLevel: debug, limits: {requestsPerSecond: 100, requestBurst: 7, requestsAtOnce: 20, operationsAtOnce: 8, inventoryRequestsPerSecond: 3, inventoryRequestBurst: 4}}
  - {accounts: ["*"], limits: {operationsAtOnce: 2}}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.AccountPolicy{Accounts: []string{"prod-*"}, LogLevel: "debug", Limits: config.AccountLimits{RequestsPerSecond: 100, RequestBurst: 7, RequestsAtOnce: 20,
		OperationsAtOnce: 8, InventoryRequestsPerSecond: 3, InventoryRequestBurst: 4}}
	if got := c.Accounts.Policies.Of("prod-eu", identity.Matches); got == nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("%+v", got)
	}
	if got := c.Accounts.Policies.Of("test", identity.Matches); got == nil || got.Limits.OperationsAtOnce != 2 || got.LogLevel != "" {
		t.Errorf("%+v", got)
	}
	c, err = parse(minimal, map[string]string{"FAIRLEAD_ACCOUNTS_POLICIES": `[{"accounts": ["a"], "logLevel": "warn"}]`})
	if err != nil || len(c.Accounts.Policies) != 1 || c.Accounts.Policies[0].LogLevel != "warn" {
		t.Error(c, err)
	}
}

func TestAccountPoliciesThatAreWrongNameLineKeyAndFix(t *testing.T) {
	for policy, wants := range map[string][]string{
		`{logLevel: info}`:                                        {"at least one pattern"},
		`{accounts: ["a b"]}`:                                     {`pattern "a b"`},
		`{accounts: ["*"], loglevel: info}`:                       {"fairlead-bridge.yml:12: accounts.policies[0].loglevel: no such key", "did you mean logLevel?"},
		`{accounts: ["*"], logLevel: trace}`:                      {`"trace" is none of debug, info, warn, error`},
		`{accounts: ["*"], limits: {operationsAtOnce: 0}}`:        {"operationsAtOnce: 0 is not between 1 and"},
		`{accounts: ["*"], limits: {requestsPerSecond: fast}}`:    {"want a whole number above zero"},
		`{accounts: ["*"], limits: {requestPerSecond: 5}}`:        {"did you mean requestsPerSecond?"},
		`{accounts: ["*"], limits: {requestBurst: 5000000}}`:      {"between 1 and 100000"},
		`{accounts: ["*"], limits: 5}`:                            {"limits: want a section"},
		`{accounts: ["*"], limits: {}}, {accounts: [], kinds: 1}`: {"policies[1].kinds: no such key", "policies[1].accounts: at least one"},
	} {
		_, err := parse(minimal+"accounts:\n  policies:\n    [\n     "+policy+"]\n", nil)
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", policy, err, want)
			}
		}
	}
}
