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
are cached if ` + "`kinds`" + ` names them or ` + "`all`" + ` is true, and leave after two hours. An agent learns its policy when it connects: after a change restart the bridges.
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
