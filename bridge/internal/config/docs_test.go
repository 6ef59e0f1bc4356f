package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/bridge-configuration.md anew")

// policies describes cache.policies, whose members are not in the table of keys.
const policies = `
## What is cached

Without policies the kinds of Clouddriver's own screens are: deployments, replica sets, stateful sets, daemon sets, jobs, cron jobs, pods, services, ingresses, network policies.
` + "`cache.policies`" + ` says otherwise, by patterns of account names. The first policy that covers an account holds.

    cache:
      policies:
      - accounts: ["prod-*"]
        kinds: [deployment, replicaSet, pod, service, configMap, CronTab.stable.example.com]
        omitKinds: [job]
        onlySpinnakerManaged: true
        customResources:
        - {kubernetesKind: CronTab.stable.example.com, spinnakerKind: serverGroups, deployPriority: "100", versioned: false, namespaced: true}
        cachingPolicies:
        - {kubernetesKind: pod, maxEntriesPerAgent: 5000}
      - accounts: ["*"]
        all: true

| key | in Clouddriver and the replaced product | |
|---|---|---|
| ` + "`accounts`" + ` | | Patterns, ` + "`*`" + ` for any characters. Mandatory. |
| ` + "`kinds`" + ` | ` + "`cacheKinds`" + ` | These kinds in the place of the default ones. |
| ` + "`all`" + ` | ` + "`cacheAll`" + ` | Every kind that Clouddriver knows, and all custom resources, those that are defined later included. |
| ` + "`omitKinds`" + ` | ` + "`cacheOmitKinds`" + ` | Left out of either. |
| ` + "`onlySpinnakerManaged`" + ` | the same | Only objects that Spinnaker deployed; the others do not leave their cluster. |
| ` + "`customResources`" + ` | the same | How Clouddriver treats custom resources, for kinds that the account's own configuration does not name. Custom resources that nobody names are known all the same. |
| ` + "`cachingPolicies`" + ` | the same | At most so many objects of a kind are cached, the first ones by namespace and name. |

An account's own ` + "`kinds`, `omitKinds`" + ` and filters, in its agent's file, narrow that further, as they do in Clouddriver: a kind is cached if the policy and the account both have it. Events
are cached if ` + "`kinds`" + ` names them or ` + "`all`" + ` is true, and leave after two hours.

## How accounts are served

` + "`accounts.policies`" + ` gives log level and limits in the same way. What a policy leaves out is as the agent has it.

    accounts:
      policies:
      - accounts: ["prod-*"]
        logLevel: debug
        limits: {requestsPerSecond: 100, requestsAtOnce: 20, operationsAtOnce: 8}

| key | default | |
|---|---|---|
| ` + "`accounts`" + ` | | Patterns, as above. Mandatory. |
| ` + "`logLevel`" + ` | the agent's | ` + "`debug`, `info`, `warn` or `error`" + `: what the agent logs about the account. |
| ` + "`limits.requestsPerSecond`, `.requestBurst`" + ` | 400, 800 | Requests of operations to the API server, and how many at once after a pause; a burst that is not given is two seconds' worth. |
| ` + "`limits.requestsAtOnce`" + ` | 100 | Requests of operations that wait for an answer of one API server; of accounts that share one, the strictest limit holds. |
| ` + "`limits.operationsAtOnce`" + ` | 32 | Operations under way; others wait their turn in the agent. One is always allowed. |
| ` + "`limits.inventoryRequestsPerSecond`, `.inventoryRequestBurst`" + ` | 20, 40 | Requests of lists and watches. |

## Changing policies

A bridge looks at its file every few seconds. Other ` + "`cache.policies` and `accounts.policies`" + ` are in force at once, and connected agents are told: log level and limits change without interrupting anything, other kinds
and filters have the account's objects listed anew. A file that is wrong changes nothing, and the log says why. Other keys wait for a restart of the bridge.
`

func TestDocumentationListsEveryKeyAsItIs(t *testing.T) {
	var page strings.Builder
	page.WriteString("# Configuration of the bridge\n\n`fairlead-bridge --config fairlead-bridge.yml`; `fairlead-bridge config check` reads it and says what is wrong. " +
		"Every key may also be given as an environment variable, which wins over the file. Unknown keys are refused.\n\n| key | variable | default | |\n|---|---|---|---|\n")
	for _, k := range Keys() {
		value := k.Default
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&page, "| `%s` | `%s` | %s | %s |\n", k.Path, k.Environment(), value, strings.ReplaceAll(k.Doc, "|", "\\|"))
	}
	page.WriteString(policies)
	page.WriteString("\nFiles that hold secrets are readable by their owner alone; the key file must never be stored beside a dump of the database.\n")
	file := filepath.Join("..", "..", "..", "docs", "bridge-configuration.md")
	if *update {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page.String() {
		t.Error("docs/bridge-configuration.md is not what the table of keys says; go test ./bridge/internal/config -update")
	}
}
