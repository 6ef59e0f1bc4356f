package kubesvc

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/kubesvc-settings.md anew")

// documented are all settings of the replaced product's documentation and release notes.
const documented = `cluster cluster-kubernetes.kubeconfigFile cluster-kubernetes.verifySsl cluster-kubernetes.namespace cluster-kubernetes.httpPortName
cluster-kubernetes.clouddriverServiceNamePrefix cluster-kubernetes.useDNS cluster-kubernetes.domainName cluster-kubernetes.failFast loadBalancer disableV2Provider
credentials.poller.reloadFrequencyMs cache.accountCleanupFrequencySeconds cache.agentCleanupFrequencySeconds cache.cleanDataWithUnusedAccounts
cache.eventsCleanupFrequencySeconds cache.namespaceExpiryMinutes cache.onDemandQuickWaitMs cache.operationWaitMs cache.cacheDefaults cache.cacheKinds cache.cacheOmitKinds
cache.cacheAll cache.cacheStreamingPoolCoreSize cache.cacheStreamingPoolMaxSize grpc.server.address grpc.server.port grpc.server.healthServiceEnabled
grpc.server.maxInboundMessageSize grpc.server.security.enabled grpc.server.security.certificateChain grpc.server.security.privateKey grpc.server.security.privateKeyPassword
grpc.server.security.trustCertCollection grpc.server.security.clientAuth grpc.server.security.ciphers grpc.server.security.protocols
grpc.server.security.keepAliveHeartbeatSeconds grpc.server.security.KeepAliveTimeOutSeconds grpc.auth.x509.enabled grpc.auth.x509.filters heartbeat.initialDelay heartbeat.period
heartbeat.periodUnit heartbeat.enabled locks.waitToGetMilliseconds locks.cleanupFrequencyMilliseconds operations.retry.maxRetries operations.retry.backoffMs
operations.database.scan.batchSize operations.database.scan.initialDelay operations.database.scan.maxDelay jobs.operation-history.purge.weeks jobs.operation-history.purge.cron
runtime.defaults.onlySpinnakerManaged runtime.defaults.customResources runtime.accounts.prod.onlySpinnakerManaged runtime.accounts.prod.customResources v2-cache-eviction.disable
v2-cache-eviction.batch-size v2-cache-eviction.millis ops.processTime.metric.result.maxLength dynamicAccounts.enabled dynamicAccounts.maxRetries
dynamicAccounts.retryFrequencySeconds dynamicAccounts.interceptor.enabled dynamicAccounts.scan dynamicAccounts.scanBatchSize dynamicAccounts.scanFrequencySeconds
dynamicAccounts.namePatterns dynamicAccounts.credentialScanNamePatterns localShortCircuit enabled`

func TestEveryDocumentedSettingHasAFate(t *testing.T) {
	for path := range strings.FieldsSeq(documented) {
		for _, root := range []string{"kubesvc", "armory.kubesvc"} {
			found, err := Check([]byte(root + "." + path + ": x"))
			if err != nil || len(found) != 1 || found[0].Fate == Unknown || found[0].Text == "" || found[0].Path != path {
				t.Errorf("%s.%s: %+v %v", root, path, found, err)
			}
		}
	}
}

func TestAProfileIsReadAsSpringWould(t *testing.T) {
	found, err := Check([]byte(`
kubernetes: {enabled: true}
kubesvc:
  cluster: kubernetes
  clusterKubernetes: {httpPortName: http}
  cache:
    cacheKinds: [Deployment.apps]
    opertionWaitMs: 60000
  grpc.server.security:
    clientAuth: NONE
  dynamicAccounts: {enabled: false, namePatterns: ["^prod-"]}
  runtime:
    defaults:
      customResources:
      - {kubernetesKind: x.y}
    accounts: {"prod-1": {onlySpinnakerManaged: true}}
  disableV2Provider: false
`))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range found {
		lines = append(lines, fmt.Sprintf("%d %s %s", s.Line, s.Path, s.Fate))
	}
	want := []string{"4 cluster obsolete", "5 clusterKubernetes.httpPortName obsolete", "7 cache.cacheKinds moved", "8 cache.opertionWaitMs unknown",
		"10 grpc.server.security.clientAuth obsolete", "11 dynamicAccounts.enabled obsolete", "11 dynamicAccounts.namePatterns refused", "14 runtime.defaults.customResources moved",
		"16 runtime.accounts.prod-1.onlySpinnakerManaged moved", "17 disableV2Provider obsolete"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if text := found[3].Text; !strings.Contains(text, "did you mean cache.operationWaitMs?") {
		t.Error(text)
	}
}

func TestHostileProfilesEnd(t *testing.T) {
	for _, profile := range []string{"", "a: &a {kubesvc: *a}", "[]", "kubesvc: 7", "kubesvc:\n", "? [x]\n: y", strings.Repeat("{kubesvc: ", 500) + "x" + strings.Repeat("}", 500)} {
		found, err := Check([]byte(profile))
		t.Logf("%.40q: %v %v", profile, found, err)
		for _, s := range found {
			if s.Fate != Unknown {
				t.Errorf("%+v", s)
			}
		}
	}
}

func TestDocumentationListsEverySetting(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# Settings of the replaced plugin

What the replaced product's plugin read in Clouddriver's profile (` + "`kubesvc.*`, later `armory.kubesvc.*`" + `), and what becomes of it. Nothing reads these settings any more: they may stay while you
move, and can go afterwards. ` + "`fairlead config check clouddriver-local.yml`" + ` goes through a profile and says the same of the settings that are in it. *Moved* names the key in
[` + "`fairlead-bridge.yml`" + `](bridge-configuration.md); *refused* asks for something that there is not.

| setting | | |
|---|---|---|
`)
	for _, name := range slices.Sorted(maps.Keys(settings())) {
		e := settings()[name]
		if e.below {
			name += ".*"
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", name, e.fate, strings.ReplaceAll(e.text, "|", "\\|"))
	}
	file := filepath.Join("..", "..", "..", "docs", "kubesvc-settings.md")
	if *update {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || string(have) != page.String() {
		t.Errorf("docs/kubesvc-settings.md is not what the table says; go test ./bridge/internal/kubesvc -update: %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("kubesvc: {cache: {cacheKinds: [a]}}"))
	f.Fuzz(func(_ *testing.T, profile []byte) { _, _ = Check(profile) })
}
