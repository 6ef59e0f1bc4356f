package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// environment is a place for files and variables.
type environment struct {
	t         *testing.T
	root      string
	variables map[string]string
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	return &environment{t: t, root: t.TempDir(), variables: map[string]string{"FAIRLEAD_TOKEN": "token"}}
}

func (e *environment) write(name, content string) string {
	e.t.Helper()
	file := filepath.Join(e.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(content, "ROOT", e.root)), 0o600); err != nil {
		e.t.Fatal(err)
	}
	return file
}

func (e *environment) getenv(name string) string { return e.variables[name] }

// load reads content as the explicit file.
func (e *environment) load(content string) (*Config, error) {
	e.t.Helper()
	e.write("kubeconfig", "")
	return Load(Options{File: e.write("armory-agent.yml", content), Getenv: e.getenv})
}

func (e *environment) mustLoad(content string) *Config {
	e.t.Helper()
	c, err := e.load(content)
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

func TestAnEmptyFileMeansDefaultsAndNoAccount(t *testing.T) {
	for _, content := range []string{"", "# nothing\n", "---\n", "{}"} {
		c := newEnvironment(t).mustLoad(content)
		if c.Clouddriver.Address != "spin-clouddriver-grpc:9091" || c.Clouddriver.Insecure || c.Server.Port != 8082 || len(c.Accounts) != 0 {
			t.Errorf("%q: %+v", content, c)
		}
		if want := (Backoff{Base: time.Second, Max: 2 * time.Minute, Multiplier: 1.6, Jitter: 0.2}); c.Clouddriver.Backoff != want {
			t.Errorf("%q: backoff %+v", content, c.Clouddriver.Backoff)
		}
	}
}

func TestEveryUsedKeyArrives(t *testing.T) {
	e := newEnvironment(t)
	e.write("token", "secret-token\n")
	e.variables = map[string]string{}
	c := e.mustLoad(`
clouddriver:
  grpc: bridge.example.com:443
  noProxy: true
  auth: {tokenFile: ROOT/token}
  tls: {pin: "sha256:` + strings.Repeat("aB", 32) + `", serverName: bridge}
  backoff: {baseDelay: 2000000000, maxDelay: 60000000000, multiplier: 2, jitter: 0.5}
kubernetes:
  noProxy: true
  reconnectTimeoutMs: 1000
  serverSideApply: {enabled: Never, kinds: [{kind: ConfigMap, enabled: always}]}
  execPlugins: [get-token]
  accounts:
  - name: prod
    kubeConfigFile: ROOT/kubeconfig
    context: main
    insecure: true
    noProxy: true
    namespaces: [a, b]
    omitKinds: [pod]
    onlySpinnakerManaged: true
    metrics: true
    permissions: {READ: [ops], WRITE: [ops, " dev "]}
    environment: live
    accountType: k8s
    namingStrategy: kubernetesAnnotations
    debug: true
    requiredGroupMembership: [g]
    cacheAllApplicationRelationships: true
    customResources:
    - {kubernetesKind: CronTab.stable.example.com, spinnakerKind: serverGroups, deployPriority: 50, versioned: true, namespaced: false}
    cachingPolicies: [{kubernetesKind: pod, maxEntriesPerAgent: 7}]
    customResourceDefinitions: [{kind: Foo.example.com}, {kind: Bar.example.com, scope: Cluster}]
  - {name: here, serviceAccount: true, onlyNamespacedResources: true, namespaces: [x], kinds: [deployment]}
server: {host: 127.0.0.1, port: 1}
prometheus: {enabled: true, port: 2}
pprof: {enabled: true, port: 3}
logging: {level: WARN, format: json, fields: {team: ops}}
timeoutSeconds: 9
zoneId: zone
`)
	if token, err := c.Clouddriver.Token.Token(); err != nil || token.Reveal() != "secret-token" {
		t.Errorf("token %q %v", token.Reveal(), err)
	}
	c.Clouddriver.Token = TokenSource{}
	want := Clouddriver{
		Address: "bridge.example.com:443", NoProxy: true, TLS: TLS{Pin: "sha256:" + strings.Repeat("ab", 32), ServerName: "bridge"},
		Backoff: Backoff{Base: 2 * time.Second, Max: time.Minute, Multiplier: 2, Jitter: 0.5},
	}
	if c.Clouddriver != want {
		t.Errorf("clouddriver\n%+v, want\n%+v", c.Clouddriver, want)
	}
	if c.Server != (Server{"127.0.0.1", 1}) || c.Prometheus != (Prometheus{Enabled: true, Port: 2}) || c.Pprof != (Pprof{true, 3}) || c.Timeout != 9*time.Second ||
		c.Zone != "zone" || c.Logging.Level != slog.LevelWarn || c.Logging.Format != "json" || c.Logging.Fields["team"] != "ops" {
		t.Errorf("%+v", c)
	}
	if diff := cmp.Diff(Kubernetes{NoProxy: true, Reconnect: time.Second, ServerSideApply: ServerSideApply{"never", map[string]string{"configmap": "always"}}, ExecPlugins: []string{"get-token"}}, c.Kubernetes); diff != "" {
		t.Error(diff)
	}
	if len(c.Refused) > 0 {
		t.Fatal(c.Refused)
	}
	declared, err := json.Marshal(c.Accounts[0].Link())
	if err != nil {
		t.Fatal(err)
	}
	const account = `{"name":"prod","environment":"live","account_type":"k8s","namespaces":["a","b"],"omit_kinds":["pod"],"custom_resources":[` +
		`{"kubernetes_kind":"CronTab.stable.example.com","spinnaker_kind":"serverGroups","deploy_priority":"50","versioned":true},` +
		`{"kubernetes_kind":"Foo.example.com","namespaced":true},{"kubernetes_kind":"Bar.example.com"}],"only_spinnaker_managed":true,"metrics":true,"debug":true,` +
		`"naming_strategy":"kubernetesAnnotations","permissions":{"READ":{"roles":["ops"]},"WRITE":{"roles":["ops","dev"]}},"required_group_membership":["g"],` +
		`"caching_policies":[{"kubernetes_kind":"pod","max_entries_per_agent":7}],"cache_all_application_relationships":true}`
	if diff := cmp.Diff(account, string(declared)); diff != "" {
		t.Error(diff)
	}
	if a := c.Accounts[0]; a.KubeconfigFile != filepath.Join(e.root, "kubeconfig") || a.Context != "main" || !a.Insecure || !a.NoProxy {
		t.Errorf("%+v", a)
	}
	if a := c.Accounts[1]; !a.ServiceAccount || !a.OnlyNamespaced || !slices.Equal(a.Kinds, []string{"deployment"}) {
		t.Errorf("%+v", a)
	}
}

// everyKey is each key that the replaced product's documentation and Clouddriver's accounts have, with a value that asks for
// nothing special.
func everyKey(known map[string]key, inAccount bool) map[string]any {
	content := map[string]any{}
	for name, k := range known {
		if k.refuse != "" {
			continue
		}
		switch k.shape {
		case section:
			content[name] = everyKey(k.keys, inAccount)
		case sections:
			content[name] = []any{everyKey(k.keys, true)}
		case text:
			content[name] = "1"
		case boolean:
			content[name] = false
		case whole, number:
			content[name] = 1
		case texts:
			content[name] = []any{}
		case anything:
			content[name] = map[string]any{"READ": []any{"x"}}
		}
	}
	return content
}

func TestKeysWithoutEffectAreNotedOnceHoweverManyAccountsHaveThem(t *testing.T) {
	e := newEnvironment(t)
	var accounts strings.Builder
	for i := range 9 {
		fmt.Fprintf(&accounts, "  - {name: a%d, kubeconfigFile: ROOT/kubeconfig, cacheThreads: 4, zoneId: z}\n", i)
	}
	c := e.mustLoad("tasks: {totalBudget: 1}\nhub: {anything: {at: all}}\nkubernetes:\n  serverSideApply: {enabled: allowed, clearManagedFields: always, kinds: [{kind: x, enabled: never}]}\n  accounts:\n" + accounts.String())
	var lines []string
	for _, n := range c.Notes {
		lines = append(lines, n.String())
	}
	want := []string{
		"tasks: obsolete: " + byBytes,
		"hub: obsolete: Armory Cloud is no more; clouddriver.grpc names the bridge",
		"kubernetes.serverSideApply.clearManagedFields: obsolete: what another manager applied for Spinnaker is taken over, and nothing else has to be cleared",
		"kubernetes.accounts[].cacheThreads (a0, a1, a2, a3, a4, …): obsolete: " + polling,
		"kubernetes.accounts[].zoneId (a0, a1, a2, a3, a4, …): obsolete: " + ofTheAPI,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestEveryKeyIsKnown(t *testing.T) {
	content, err := json.Marshal(everyKey(keys(), false))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := parseTree("f", content)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range tree.problems {
		t.Error(problem)
	}
	for _, problems := range tree.accountProblems {
		t.Error(problems)
	}
}

// documented are the keys of the replaced product's tables and of Clouddriver's ManagedAccount.
const documented = `clouddriver.grpc clouddriver.insecure clouddriver.tls.serverName clouddriver.tls.insecureSkipVerify clouddriver.tls.clientCertFile
clouddriver.tls.clientKeyFile clouddriver.tls.clientKeyFilePassword clouddriver.tls.clientKeyPassword clouddriver.tls.cacertFile clouddriver.auth.token
clouddriver.auth.tokenCommand.command clouddriver.auth.tokenCommand.args clouddriver.auth.tokenCommand.format clouddriver.auth.tokenCommand.refreshIntervalSeconds
clouddriver.noProxy clouddriver.keepAliveHeartbeatSeconds clouddriver.keepAliveTimeOutSeconds clouddriver.keepAliveOperationSeconds clouddriver.backoff.baseDelay
clouddriver.backoff.multiplier clouddriver.backoff.jitter clouddriver.backoff.maxDelay clouddriver.responseRetries clouddriver.cacheRetryIntervalSeconds
dynamicAccountsEnabled clouddriver.dynamicAccountsEnabled kubernetes.accounts kubernetes.noProxy kubernetes.reconnectTimeoutMs kubernetes.cacheGroupSize
kubernetes.cacheGroupDelayMs kubernetes.retries kubernetes.dynamicAccountsOnly kubernetes.serverSideApply.enabled kubernetes.serverSideApply.clearManagedFields
kubernetes.serverSideApply.manifestDefaults kubernetes.serverSideApply.kinds logging.file logging.format logging.level logging.multiWrite logging.maxSizeMb logging.maxAgeDays
logging.maxBackups logging.localTime logging.compress logging.fields logging.remote pprof.enabled pprof.port prometheus.enabled prometheus.port server.host server.port
server.ssl.enabled server.ssl.certFile server.ssl.keyFile server.ssl.keyPassword server.ssl.caCertFile server.ssl.keyFilePassword server.ssl.clientAuth secrets.vault.enabled
secrets.vault.url secrets.vault.authMethod secrets.vault.role secrets.vault.path secrets.vault.username secrets.vault.password secrets.vault.userAuthPath secrets.vault.namespace
secrets.vault.token tasks timeoutSeconds zoneId balanceConnection clouddriverNamespace domainName local hub certFile dynamicAccounts
kubernetes.accounts.name kubernetes.accounts.kubeconfigFile kubernetes.accounts.kubeConfigFile kubernetes.accounts.kubeconfigContents kubernetes.accounts.serviceAccount
kubernetes.accounts.serviceAccountName kubernetes.accounts.context kubernetes.accounts.oAuthScopes kubernetes.accounts.insecure kubernetes.accounts.namespaces
kubernetes.accounts.omitNamespaces kubernetes.accounts.onlyNamespacedResources kubernetes.accounts.customResourceDefinitions.kind kubernetes.accounts.customResourceDefinitions.scope
kubernetes.accounts.kinds kubernetes.accounts.omitKinds kubernetes.accounts.metrics kubernetes.accounts.permissions kubernetes.accounts.maxResumableResourceAgeMs
kubernetes.accounts.onlySpinnakerManaged kubernetes.accounts.noProxy kubernetes.accounts.zoneId kubernetes.accounts.kubeconfigAgent kubernetes.accounts.skipServerSideApply
kubernetes.accounts.skipManifestDefaults kubernetes.accounts.environment kubernetes.accounts.accountType kubernetes.accounts.oAuthServiceAccount
kubernetes.accounts.kubectlExecutable kubernetes.accounts.kubectlRequestTimeoutSeconds kubernetes.accounts.cacheThreads kubernetes.accounts.requiredGroupMembership
kubernetes.accounts.namingStrategy kubernetes.accounts.debug kubernetes.accounts.checkPermissionsOnStartup kubernetes.accounts.customResources.kubernetesKind
kubernetes.accounts.customResources.spinnakerKind kubernetes.accounts.customResources.deployPriority kubernetes.accounts.customResources.versioned
kubernetes.accounts.customResources.namespaced kubernetes.accounts.cachingPolicies.kubernetesKind kubernetes.accounts.cachingPolicies.maxEntriesPerAgent
kubernetes.accounts.cacheIntervalSeconds kubernetes.accounts.cacheAllApplicationRelationships kubernetes.accounts.rawResourcesEndpointConfig`

func TestDocumentedKeysAreKnown(t *testing.T) {
	for _, path := range strings.Fields(documented) {
		known := keys()
		for _, name := range strings.Split(path, ".") {
			_, k, ok := lookup(known, name)
			if !ok {
				t.Errorf("%s is not known", path)
			}
			known = k.keys
		}
	}
}

func TestBadFilesAreRefusedWithPlaceValueAndCure(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"clouddriver:\n  insecuer: true", `:2: unknown key clouddriver.insecuer; did you mean clouddriver.insecure?`},
		{"\nclouddrivr: {}", `:2: unknown key clouddrivr; did you mean clouddriver?`},
		{"server:\n  namespaces: [x]", `:2: unknown key server.namespaces; it belongs at kubernetes.accounts[].namespaces`},
		{"pprof:\n  x: 1", `unknown key pprof.x; known here are enabled, port`},
		{"server: {port: abc}", `server.port: want a whole number, got "abc"`},
		{"server: {port: 1.5}", `server.port: want a whole number, got "1.5"`},
		{"server: {port: 70000}", `server.port: 70000: want 1 to 65535`},
		{"server: 8082", `server: want a section of keys, got "8082"`},
		{"server: {host: 'a:1'}", `server.host: "a:1": want a host without a port`},
		{"clouddriver: {insecure: yes}", `clouddriver.insecure: want true or false, got "yes"`},
		{"clouddriver: {grpc: 'http://a:1'}", `clouddriver.grpc: "http://a:1": want host:port`},
		{"kubernetes: {serverSideApply: {enabled: sometimes}}", `kubernetes.serverSideApply.enabled: "sometimes": want allowed (where a manifest's annotation`},
		{"kubernetes: {serverSideApply: {kinds: [{kind: Pod, enabled: yes please}]}}", `kubernetes.serverSideApply.kinds[0].enabled: "yes please": want allowed`},
		{"kubernetes: {serverSideApply: {kinds: [{enabled: always}]}}", `kubernetes.serverSideApply.kinds[0].kind: missing; name a kind`},
		{"clouddriver: {grpc: host}", `clouddriver.grpc: "host": want host:port`},
		{"clouddriver: {grpc: a:1, grpc: b:2}", `clouddriver.grpc: given twice; remove one`},
		{"clouddriver: {tls: {pin: abc}}", `clouddriver.tls.pin: "abc": want sha256: and 64 hexadecimal digits`},
		{"clouddriver: {tls: {insecureSkipVerify: true}}", `clouddriver.tls.insecureSkipVerify: not supported: an agent that does not know its bridge`},
		{"clouddriver: {insecure: true, tls: {cacertFile: f}}", `clouddriver.insecure: true means plaintext, which contradicts clouddriver.tls`},
		{"clouddriver: {auth: {tokenFile: /nonexistent/token}}\n", ""}, // the environment's token wins
		{"clouddriver: {backoff: {baseDelay: 1}}", `clouddriver.backoff.baseDelay: 1: is in nanoseconds`},
		{"clouddriver: {backoff: {jitter: 2}}", `clouddriver.backoff.jitter: 2: from 0 to 1`},
		{"clouddriver: {backoff: {multiplier: .nan}}", `clouddriver.backoff.multiplier: want a number, got ".nan"`},
		{"clouddriver: {auth: {token: 'encrypted:vault!e:x'}}", `clouddriver.auth.token: takes no secret reference (encrypted:, encryptedFile:)`},
		{"certFile: x", `certFile: not supported: name the CA in clouddriver.tls.cacertFile`},
		{"logging: {level: loud}", `logging.level: "loud": want error, warn, info or debug`},
		{"logging: {format: xml}", `logging.format: "xml": want text or json`},
		{"timeoutSeconds: -1", `timeoutSeconds: -1: want 0 (none) or more`},
		{"kubernetes: {accounts: {}}", `kubernetes.accounts: want a list of sections, got a section`},
		{"kubernetes: {accounts: [1]}", `kubernetes.accounts: entry 1: want a section of keys, got "1"`},
		{"a: b: c", "not YAML"},
		{"- a", "want a section of keys at the top, got a list"},
		{"{}\n---\n{}", "a second YAML document"},
		{"clouddriver: &a {tls: *a}", "line 1: an alias that holds itself"},
	} {
		_, err := newEnvironment(t).load(c.content)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.content, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s\n gives %v,\n want  %s", c.content, err, c.want)
		}
	}
}

func TestBadAccountsAreRefusedAndTheOthersServed(t *testing.T) {
	for _, c := range []struct{ account, want string }{
		{"{kubeconfigFile: ROOT/kubeconfig}", "name: missing"},
		{"{name: 'a b', kubeconfigFile: ROOT/kubeconfig}", `name: "a b": only letters, digits`},
		{"{name: " + strings.Repeat("a", 64) + ", kubeconfigFile: ROOT/kubeconfig}", `has 64 characters, at most 63`},
		{"{name: a}", "kubeconfigFile: missing; name a kubeconfig file, or set serviceAccount: true"},
		{"{name: a, kubeconfigFile: ROOT/none}", "none: no such file or directory; mount the kubeconfig there"},
		{"{name: a, kubeconfigFile: ROOT}", "is a directory; name the file in it"},
		{"{name: a, kubeconfigFile: 'encryptedFile:vault!e:x'}", `kubeconfigFile: secret reference to vault: parameter "p" (the secret's path) is missing`},
		{"{name: a, kubeconfigContents: abc}", "kubeconfigContents: a configuration is no place for credentials"},
		{"{name: a, serviceAccount: true, kubeconfigFile: ROOT/kubeconfig}", "serviceAccount and kubeconfigFile"},
		{"{name: a, serviceAccount: true, context: c}", `context: "c" means nothing with serviceAccount`},
		{"{name: GOOD, serviceAccount: true}", `name: "GOOD" is also the account at`},
		{"{name: a, serviceAccount: true, namespaces: [x], omitNamespaces: [y]}", `namespaces [x] and omitNamespaces [y]: give one of them`},
		{"{name: a, serviceAccount: true, kinds: [x], omitKinds: [y]}", `kinds [x] and omitKinds [y]: give one of them`},
		{"{name: a, serviceAccount: true, namespaces: [x, x]}", `namespaces: "x" is given twice`},
		{"{name: a, serviceAccount: true, namespaces: ['UP']}", `namespaces: "UP" is not a namespace's name`},
		{"{name: a, serviceAccount: true, namespaces: x}", `namespaces: want a list of texts, got "x"`},
		{"{name: a, serviceAccount: true, kinds: ['a/b']}", `kinds: "a/b" is not a kind`},
		{"{name: a, serviceAccount: true, onlyNamespacedResources: true}", `onlyNamespacedResources: the namespaces cannot be asked for`},
		{"{name: a, serviceAccount: true, namespace: [x]}", `unknown key kubernetes.accounts[].namespace; did you mean kubernetes.accounts[].namespaces?`},
		{"{name: a, serviceAccount: true, customResourceDefinitions: [{kind: Foo}]}", `customResourceDefinitions[0].kind: "Foo": want a kind with its group`},
		{"{name: a, serviceAccount: true, customResourceDefinitions: [{kind: Foo.x.y, scope: all}]}", `customResourceDefinitions[0].scope: "all": want Namespaced or Cluster`},
		{"{name: a, serviceAccount: true, customResources: [{kubernetesKind: 'a b'}]}", `customResources[0].kubernetesKind: "a b"`},
		{"{name: a, serviceAccount: true, permissions: ops}", `permissions: want READ, WRITE or EXECUTE with lists of roles, got "ops"`},
		{"{name: a, serviceAccount: true, permissions: [ops]}", "permissions: want entries like `READ: [role]`, got \"ops\""},
		{"{name: a, serviceAccount: true, permissions: {REED: [ops]}}", `permissions: "REED" is none of READ, WRITE, EXECUTE, CREATE`},
		{"{name: a, serviceAccount: true, permissions: {READ: ops}}", `permissions.READ: want a list of roles, got "ops"`},
		{"{name: a, serviceAccount: true, permissions: {READ: []}}", `permissions.READ: empty`},
		{"{name: a, serviceAccount: true, permissions: {READ: [' ']}}", `permissions.READ: " " is no role's name`},
		{"{name: a, serviceAccount: true, permissions: {READ: [[x]]}}", `permissions.READ: want a role's name, got a list`},
		{"{name: a, serviceAccount: true, permissions: {READ: [\"a\\tb\"]}}", `holds a line break or another character`},
		{"{name: a, serviceAccount: true, permissions: [{READ: [x]}, {READ: [y]}]}", `permissions.READ: given twice`},
		{"{name: a, serviceAccount: true, permissions: [{}]}", `permissions: empty`},
	} {
		e := newEnvironment(t)
		got, err := e.load("kubernetes:\n  accounts:\n  - {name: fine, serviceAccount: true}\n  - {name: good, serviceAccount: true}\n  - " + c.account)
		if err != nil {
			t.Errorf("%s: %v", c.account, err)
			continue
		}
		var texts []string
		for _, r := range got.Refused {
			texts = append(texts, r.Err.Error())
		}
		if all := strings.Join(texts, "\n"); !strings.Contains(all, c.want) || !strings.Contains(all, "armory-agent.yml:") {
			t.Errorf("%s\n gives %s\n want  %s", c.account, all, c.want)
		}
		if len(got.Accounts) == 0 || got.Accounts[0].Name != "fine" {
			t.Errorf("%s: the good account is not served: %+v", c.account, got.Accounts)
		}
	}
}

func TestPermissionsAreUnderstoodInEveryFormThatWasEverAccepted(t *testing.T) {
	for _, c := range []struct {
		permissions string
		want        map[string][]string
	}{
		{"[]", map[string][]string{}},
		{"{}", map[string][]string{}},
		{"", nil},
		{"[{READ: [a]}, {WRITE: [b, c]}]", map[string][]string{"READ": {"a"}, "WRITE": {"b", "c"}}},
		{"{read: [' a ', 'two words'], EXECUTE: [1234]}", map[string][]string{"READ": {"a", "two words"}, "EXECUTE": {"1234"}}},
	} {
		got := newEnvironment(t).mustLoad("kubernetes: {accounts: [{name: a, serviceAccount: true, permissions: " + c.permissions + "}]}")
		if len(got.Refused) > 0 {
			t.Errorf("%s: %v", c.permissions, got.Refused)
			continue
		}
		if diff := cmp.Diff(c.want, got.Accounts[0].Permissions); diff != "" {
			t.Errorf("%s: %s", c.permissions, diff)
		}
	}
}

func TestTheLocalFileIsLaidOverTheBaseFile(t *testing.T) {
	for _, base := range []string{"opt/fairlead/config/fairlead-agent", "opt/armory/config/fairlead-agent", "opt/armory/config/armory-agent", "opt/spinnaker/config/kubesvc"} {
		e := newEnvironment(t)
		e.write(base+".yaml", "clouddriver: {grpc: a:1, tls: {serverName: s}}\nkubernetes: {accounts: [{name: old, serviceAccount: true, cacheThreads: 1}, {name: older, bad: key}]}")
		e.write(base+"-local.yml", "clouddriver: {grpc: b:2}\nkubernetes: {accounts: [{name: new, serviceAccount: true}]}")
		c, err := Load(Options{Root: e.root, Getenv: e.getenv})
		if err != nil {
			t.Fatal(err)
		}
		if c.Clouddriver.Address != "b:2" || c.Clouddriver.TLS.ServerName != "s" || len(c.Accounts) != 1 || c.Accounts[0].Name != "new" || len(c.Refused) > 0 {
			t.Errorf("%s: %+v", base, c)
		}
		if len(c.Notes) > 0 {
			t.Errorf("%s: notes of accounts that were replaced: %v", base, c.Notes)
		}
	}
}

func TestTheFirstPlaceWinsAndTheOthersAreNamed(t *testing.T) {
	e := newEnvironment(t)
	e.write("opt/armory/config/armory-agent.yml", "clouddriver: {grpc: new:1}")
	e.write("opt/spinnaker/config/kubesvc.yml", "clouddriver: {grpc: old:1}")
	c, err := Load(Options{Root: e.root, Getenv: e.getenv})
	if err != nil || c.Clouddriver.Address != "new:1" || len(c.Notes) != 1 || !strings.Contains(c.Notes[0].String(), "kubesvc.yml: not read") {
		t.Error(c, err)
	}
	e.write("opt/armory/config/armory-agent.yaml", "")
	if _, err := Load(Options{Root: e.root, Getenv: e.getenv}); err == nil || !strings.Contains(err.Error(), "are both there; remove one") {
		t.Error(err)
	}
	if _, err := Load(Options{File: e.root + "/none.yml", Getenv: e.getenv}); err == nil || !strings.Contains(err.Error(), "name the agent's configuration with --config") {
		t.Error(err)
	}
	if c, err := Load(Options{Root: t.TempDir(), Getenv: e.getenv}); err != nil || len(c.Files) != 0 || !strings.Contains(c.Notes[0].Text, "running on defaults") {
		t.Error(c, err)
	}
}

func TestAMissingTokenIsRefusedAndATokenNeverShows(t *testing.T) {
	e := newEnvironment(t)
	e.variables = map[string]string{}
	e.write("empty", "\n")
	e.write("two", "one two")
	for content, want := range map[string]string{
		"": "clouddriver.auth.tokenFile: missing",
		"clouddriver: {auth: {tokenFile: ROOT/none}}":                "none: no such file or directory; mount the agent's token there",
		"clouddriver: {auth: {tokenFile: ROOT/empty}}":               "is empty",
		"clouddriver: {auth: {tokenFile: ROOT/two}}":                 "holds more than one word",
		"clouddriver: {auth: {tokenFile: ROOT/two, token: 'flt_x'}}": "give one of them",
	} {
		if _, err := e.load(content); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
	c := e.mustLoad("clouddriver: {auth: {token: hunter2}}")
	var log bytes.Buffer
	token, _ := c.Clouddriver.Token.Token()
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "token", token, "source", c.Clouddriver.Token)
	encoded, _ := json.Marshal(map[string]any{"config": c.Clouddriver, "token": token})
	for _, text := range []string{log.String(), string(encoded), fmt.Sprintf("%v %+v %#v %s %q", c, c.Clouddriver, c.Clouddriver, token, token)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the token shows: %s", text)
		}
	}
	if token.Reveal() != "hunter2" {
		t.Error(token.Reveal())
	}
}

func TestPlaintextIsAnExplicitChoiceAndWarnedOf(t *testing.T) {
	c := newEnvironment(t).mustLoad("clouddriver: {insecure: 'true'}")
	if !c.Clouddriver.Insecure || len(c.Notes) != 1 || !c.Notes[0].Warning || !strings.Contains(c.Notes[0].String(), "plaintext") {
		t.Error(c.Clouddriver.Insecure, c.Notes)
	}
}

func TestAnchorsAndMergeKeysWork(t *testing.T) {
	c := newEnvironment(t).mustLoad(`
kubernetes:
  accounts:
  - &base {name: a, serviceAccount: true, omitKinds: [pod], onlySpinnakerManaged: true}
  - {<<: *base, name: b, onlySpinnakerManaged: false}
`)
	if len(c.Accounts) != 2 || c.Accounts[1].Name != "b" || !c.Accounts[1].ServiceAccount || c.Accounts[1].OnlySpinnakerManaged || !slices.Equal(c.Accounts[1].OmitKinds, []string{"pod"}) {
		t.Errorf("%+v %v", c.Accounts, c.Refused)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("clouddriver: {grpc: a:1}\nkubernetes: {accounts: [{name: a, serviceAccount: true, permissions: {READ: [x]}}]}")
	f.Add("a: &a [*a]\n<<: *a")
	f.Fuzz(func(t *testing.T, content string) {
		t2, err := parseTree("f", []byte(content))
		if err != nil {
			return
		}
		c, err := build([]*tree{t2}, func(string) string { return "x" })
		if err != nil {
			return
		}
		for _, a := range c.Accounts {
			if !accountName.MatchString(a.Name) {
				t.Errorf("account %q is served", a.Name)
			}
		}
	})
}
