package kubesvc

// entry is a known setting. below: whatever is below of it shares its fate.
type entry struct {
	fate  Fate
	text  string
	below bool
}

func moved(text string) entry         { return entry{fate: Moved, text: text} }
func obsolete(text string) entry      { return entry{fate: Obsolete, text: text} }
func obsoleteBelow(text string) entry { return entry{fate: Obsolete, text: text, below: true} }
func refused(text string) entry       { return entry{fate: Refused, text: text} }

const (
	directory = "bridges find each other by the database"
	oneBeat   = "one heartbeat in both directions decides whether a session lives"
	ownTables = "Clouddriver's own cache tables hold what agents see, and nothing has to be cleaned up behind them"
	withAgent = "what an agent removes leaves at once; an account whose agent is away stays until somebody takes it out (`fairlead accounts remove`)"
	bounded   = "queues are bounded in bytes (cache.queueBytes), not in threads (cache.workers)"
	policies  = "in fairlead-bridge.yml, for the accounts that its patterns name"
)

// settings returns every documented one.
func settings() map[string]entry {
	return map[string]entry{
		"enabled":                              obsolete("spinnaker.extensibility.plugins.Fairlead.Bridge.enabled enables the plugin"),
		"cluster":                              obsolete(directory),
		"cluster-kubernetes":                   obsoleteBelow(directory),
		"loadBalancer":                         obsolete("agents choose a bridge by themselves, and operations reach an agent at any bridge"),
		"disableV2Provider":                    refused("Clouddriver's own Kubernetes provider is what deploys; remove its accounts instead"),
		"localShortCircuit":                    obsolete("a bridge always serves the agents that it has"),
		"credentials.poller.reloadFrequencyMs": obsolete("a change is told to Clouddriver at once"),

		"cache.accountCleanupFrequencySeconds": obsolete(withAgent),
		"cache.agentCleanupFrequencySeconds":   obsolete(oneBeat),
		"cache.cleanDataWithUnusedAccounts":    obsolete(withAgent),
		"cache.eventsCleanupFrequencySeconds":  obsolete(ownTables),
		"cache.namespaceExpiryMinutes":         obsolete("namespaces are watched"),
		"cache.onDemandQuickWaitMs":            obsolete("what a watch tells is in the tables already"),
		"cache.operationWaitMs":                moved("operations.absentWait is how long an operation waits for an agent that is away; one that has begun takes as long as Clouddriver waits"),
		"cache.cacheDefaults":                  obsolete("it was not to be set"),
		"cache.cacheKinds":                     moved("cache.policies[].kinds " + policies),
		"cache.cacheOmitKinds":                 moved("cache.policies[].omitKinds " + policies),
		"cache.cacheAll":                       moved("cache.policies[].all " + policies),
		"cache.cacheStreamingPoolCoreSize":     obsolete(bounded),
		"cache.cacheStreamingPoolMaxSize":      obsolete(bounded),

		"grpc.server.address":                            moved("agents.address"),
		"grpc.server.port":                               moved("agents.address"),
		"grpc.server.healthServiceEnabled":               obsolete("/readyz at admin.address tells health"),
		"grpc.server.maxInboundMessageSize":              obsolete("objects may have cache.maximumBodyBytes, and manifests and results have no limit of their own: they are streamed"),
		"grpc.server.security.enabled":                   obsolete("TLS is on; agents.plaintext turns it off"),
		"grpc.server.security.certificateChain":          moved("agents.tls.certFile; without one the bridges make their own"),
		"grpc.server.security.privateKey":                moved("agents.tls.keyFile"),
		"grpc.server.security.privateKeyPassword":        moved("agents.tls.keyPasswordFile"),
		"grpc.server.security.trustCertCollection":       moved("agents.tls.clientCaFile"),
		"grpc.server.security.clientAuth":                obsolete("every agent proves itself: by an enrolment token, a certificate or a service-account token"),
		"grpc.server.security.ciphers":                   obsolete("TLS 1.3, or 1.2 with Go's choice of ciphers"),
		"grpc.server.security.protocols":                 obsolete("TLS 1.3, or 1.2 with Go's choice of ciphers"),
		"grpc.server.security.keepAliveHeartbeatSeconds": obsolete(oneBeat),
		"grpc.server.security.KeepAliveTimeOutSeconds":   obsolete(oneBeat),
		"grpc.auth.x509.enabled":                         moved("agents.certificates"),
		"grpc.auth.x509.filters":                         moved("agents.certificates, whose rules say as well which accounts a certificate is for"),

		"heartbeat":                               obsoleteBelow(oneBeat),
		"locks":                                   obsoleteBelow("accounts are fenced by an epoch, and nobody waits for a lock"),
		"operations.retry":                        obsoleteBelow("operations.absentWait is how long an operation waits for an agent"),
		"operations.database":                     obsoleteBelow("operations do not travel by the database"),
		"jobs.operation-history.purge.weeks":      moved("operations.retention"),
		"jobs.operation-history.purge.cron":       obsolete("the history is purged as it grows old"),
		"v2-cache-eviction":                       obsoleteBelow("rows that polling left are swept when an account is attached, and later when they are found"),
		"ops.processTime.metric.result.maxLength": obsolete("metrics hold no texts"),

		"runtime.defaults.onlySpinnakerManaged": moved("cache.policies[].onlySpinnakerManaged with accounts: [\"*\"]"),
		"runtime.defaults.customResources":      moved("cache.policies[].customResources with accounts: [\"*\"]"),
		"runtime.accounts":                      {fate: Moved, below: true, text: "cache.policies[].onlySpinnakerManaged and customResources with the account's name; the first policy that covers an account holds"},

		"dynamicAccounts.enabled":                    obsolete("dynamic accounts are on; accounts.dynamic.disabled of fairlead-bridge.yml switches them off"),
		"dynamicAccounts.scan":                       refused("Clouddriver's accounts are not taken by themselves yet; POST /armory/accounts of the bridge, or fairlead account add, takes them"),
		"dynamicAccounts.interceptor.enabled":        refused("Clouddriver's accounts are not taken by themselves yet; POST /armory/accounts of the bridge, or fairlead account add, takes them"),
		"dynamicAccounts.namePatterns":               refused("Clouddriver's accounts are not taken by themselves yet; POST /armory/accounts of the bridge, or fairlead account add, takes them"),
		"dynamicAccounts.credentialScanNamePatterns": refused("Clouddriver's accounts are not taken by themselves yet; POST /armory/accounts of the bridge, or fairlead account add, takes them"),
		"dynamicAccounts.maxRetries":                 obsolete("of dynamic accounts"),
		"dynamicAccounts.retryFrequencySeconds":      obsolete("of dynamic accounts"),
		"dynamicAccounts.scanBatchSize":              obsolete("of dynamic accounts"),
		"dynamicAccounts.scanFrequencySeconds":       obsolete("of dynamic accounts"),
	}
}
