package config

// shape is what a value must look like.
type shape int

const (
	anything shape = iota
	text
	boolean
	whole
	number
	texts
	section
	sections
)

func (s shape) String() string {
	return [...]string{"anything", "a text", "true or false", "a whole number", "a number", "a list of texts", "a section of keys", "a list of sections"}[s]
}

// key is one key of the configuration and what becomes of it.
type key struct {
	shape shape
	// note: accepted, does nothing, and the log says this once.
	note string
	// secret: the value may be a reference to a secret.
	secret bool
	// refuse: what to do instead. The key is refused unless its value is false, empty or zero.
	refuse string
	// keys of a section, or of each section of a list.
	keys map[string]key
}

func used(s shape) key                    { return key{shape: s} }
func secret() key                         { return key{shape: text, secret: true} }
func group(keys map[string]key) key       { return key{shape: section, keys: keys} }
func obsolete(s shape, why string) key    { return key{shape: s, note: "obsolete: " + why} }
func refused(s shape, instead string) key { return key{shape: s, refuse: instead} }
func obsoleteGroup(why string) key        { return key{shape: anything, note: "obsolete: " + why} }
func list(keys map[string]key) key        { return key{shape: sections, keys: keys} }
func each(s shape, names ...string) map[string]key {
	keys := map[string]key{}
	for _, n := range names {
		keys[n] = used(s)
	}
	return keys
}

func merged(all ...map[string]key) map[string]key {
	keys := map[string]key{}
	for _, m := range all {
		for n, k := range m {
			keys[n] = k
		}
	}
	return keys
}

const (
	ownRecords  = "the agent goes on from its own records, and compares with the bridge when it has none"
	byBytes     = "lists are read page by page and memory is bounded in bytes, so that a start needs no budget"
	polling     = "nothing is polled, the agent watches"
	noKubectl   = "no kubectl runs, the agent speaks to the API server"
	oneRule     = "one heartbeat in both directions decides whether a session lives, and the bridge says how often it is due"
	noSSL       = "health is served as plain HTTP"
	ofTheAPI    = "of the API for dynamic accounts; in this file zoneId is the agent's, and kubeconfigFile the account's"
	toTheBridge = "this belongs to Clouddriver's side: set it in fairlead-bridge.yml"
)

// keys returns every key that is known. Keys are compared without regard to case, as the replaced product did; its
// documentation spells some of them in two ways.
func keys() map[string]key {
	return map[string]key{
		"clouddriver": group(clouddriverKeys()),
		"kubernetes":  group(kubernetesKeys()),
		"logging":     group(loggingKeys()),
		"pprof":       group(map[string]key{"enabled": used(boolean), "port": used(whole)}),
		"prometheus":  group(map[string]key{"enabled": used(boolean), "port": used(whole), "replacedNames": used(boolean)}),
		"server":      group(serverKeys()),
		"secrets": group(map[string]key{"refreshSeconds": used(whole), "vault": group(merged(
			each(boolean, "enabled", "noProxy"),
			each(text, "url", "authMethod", "role", "path", "username", "password", "passwordFile", "userAuthPath", "namespace", "token", "tokenFile",
				"roleId", "secretId", "secretIdFile", "serviceAccountTokenFile"),
			map[string]key{"tls": group(merged(each(boolean, "insecureSkipVerify"), each(text, "cacertFile", "serverName", "clientCertFile", "clientKeyFile")))}))}),
		"tasks":                  obsoleteGroup(byBytes),
		"timeoutSeconds":         used(whole),
		"zoneId":                 used(text),
		"dynamicAccountsEnabled": obsolete(boolean, "whoever may give accounts to this agent is decided by its identity"),
		"dynamicAccounts":        obsoleteGroup(toTheBridge),
		"balanceConnection":      obsolete(boolean, "bridges spread their agents by themselves"),
		"clouddriverNamespace":   obsolete(text, "bridges spread their agents by themselves"),
		"domainName":             obsolete(text, "bridges spread their agents by themselves"),
		"local":                  obsoleteGroup("a mode for the replaced product's developers"),
		"hub":                    obsoleteGroup("Armory Cloud is no more; clouddriver.grpc names the bridge"),
		"certFile":               refused(text, "name the CA in clouddriver.tls.cacertFile, or its hash in clouddriver.tls.pin"),
	}
}

func clouddriverKeys() map[string]key {
	return map[string]key{
		"grpc":     used(text),
		"insecure": used(boolean),
		"tls": group(map[string]key{
			"serverName": used(text),
			"cacertFile": used(text),
			"pin":        used(text),
			"insecureSkipVerify": refused(boolean, "an agent that does not know its bridge would give its token to anybody: "+
				"set clouddriver.tls.pin to the CA pin that `fairlead status` shows"),
			"proxied":               used(boolean),
			"clientCertFile":        used(text),
			"clientKeyFile":         used(text),
			"clientKeyFilePassword": used(text),
			"clientKeyPassword":     used(text),
			"clientKeyPasswordFile": used(text),
		}),
		"auth": group(map[string]key{
			"token":                   used(text),
			"tokenFile":               used(text),
			"serviceAccountTokenFile": used(text),
			"certificateFile":         used(text),
			"certificateSecret":       used(text),
			"tokenCommand": group(map[string]key{
				"command": used(text), "args": used(texts), "format": used(text), "refreshIntervalSeconds": used(whole),
			}),
		}),
		"noProxy":                   used(boolean),
		"keepAliveHeartbeatSeconds": obsolete(whole, oneRule),
		"keepAliveTimeOutSeconds":   obsolete(whole, oneRule),
		"keepAliveOperationSeconds": obsolete(whole, oneRule),
		"backoff": group(map[string]key{
			"baseDelay": used(whole), "multiplier": used(number), "jitter": used(number), "maxDelay": used(whole),
		}),
		"responseRetries":           obsoleteGroup("a result is kept until the bridge has acknowledged it"),
		"retries":                   obsoleteGroup("a result is kept until the bridge has acknowledged it"),
		"cacheRetryIntervalSeconds": obsolete(whole, "what is not acknowledged is sent again"),
		"dynamicAccountsEnabled":    obsolete(boolean, "whoever may give accounts to this agent is decided by its identity"),
	}
}

func kubernetesKeys() map[string]key {
	apply := map[string]key{
		"enabled":            used(text),
		"clearManagedFields": obsolete(text, "what another manager applied for Spinnaker is taken over, and nothing else has to be cleared"),
		"manifestDefaults":   obsolete(text, "API servers since Kubernetes 1.22 need no defaults in what is applied"),
	}
	return map[string]key{
		"accounts":            list(accountKeys()),
		"noProxy":             used(boolean),
		"reconnectTimeoutMs":  used(whole),
		"execPlugins":         used(texts),
		"cacheGroupSize":      obsolete(whole, byBytes),
		"cacheGroupDelayMs":   obsolete(whole, byBytes),
		"retries":             obsoleteGroup("conflicts are retried as kubectl does, reads are repeated by whoever asked"),
		"dynamicAccountsOnly": obsolete(boolean, "an agent without accounts in its file serves those that it is given"),
		"serverSideApply": group(merged(apply, map[string]key{
			"kinds": list(merged(apply, map[string]key{"kind": used(text)})),
		})),
	}
}

func loggingKeys() map[string]key {
	rotation := "the log goes to standard output; its collector rotates"
	return map[string]key{
		"level": used(text), "format": used(text),
		"fields": used(anything),
		"file":   obsolete(text, rotation), "multiWrite": obsolete(boolean, rotation),
		"maxSizeMb": obsolete(whole, rotation), "maxAgeDays": obsolete(whole, rotation), "maxBackups": obsolete(whole, rotation),
		"localTime": obsolete(boolean, rotation), "compress": obsolete(boolean, rotation),
		"remote": obsoleteGroup("logs went to the replaced product's vendor"),
	}
}

func serverKeys() map[string]key {
	return map[string]key{
		"host": used(text), "port": used(whole),
		"ssl": group(map[string]key{
			"enabled":  refused(boolean, "health is served as plain HTTP: set the probes' scheme to HTTP, and server.host to 127.0.0.1 where it shall not be reached from outside"),
			"certFile": obsolete(text, noSSL), "keyFile": obsolete(text, noSSL), "keyPassword": obsolete(text, noSSL),
			"keyFilePassword": obsolete(text, noSSL), "caCertFile": obsolete(text, noSSL), "clientAuth": obsolete(text, noSSL),
		}),
	}
}

// accountKeys are those of the replaced product's agent and those of Clouddriver's ManagedAccount, which people paste.
func accountKeys() map[string]key {
	return map[string]key{
		"name": used(text), "kubeconfigFile": secret(), "kubeconfigContents": secret(), "serviceAccount": used(boolean), "context": used(text),
		"insecure": used(boolean), "noProxy": used(boolean),
		"namespaces": used(texts), "omitNamespaces": used(texts), "kinds": used(texts), "omitKinds": used(texts),
		"onlyNamespacedResources": used(boolean), "onlySpinnakerManaged": used(boolean), "metrics": used(boolean),
		"customResourceDefinitions": list(map[string]key{"kind": used(text), "scope": used(text)}),
		"permissions":               used(anything),

		"environment": used(text), "accountType": used(text), "debug": used(boolean), "namingStrategy": used(text),
		"requiredGroupMembership": used(texts), "cacheAllApplicationRelationships": used(boolean),
		"customResources": list(map[string]key{
			"kubernetesKind": used(text), "spinnakerKind": used(text), "deployPriority": used(text),
			"versioned": used(boolean), "namespaced": used(boolean),
		}),
		"cachingPolicies": list(map[string]key{"kubernetesKind": used(text), "maxEntriesPerAgent": used(whole)}),

		"zoneId":                       obsolete(text, ofTheAPI),
		"kubeconfigAgent":              obsolete(text, ofTheAPI),
		"rawResourcesEndpointConfig":   obsolete(anything, "Clouddriver's endpoint for raw resources shows the kinds that are cached"),
		"kubectlRequestTimeoutSeconds": obsolete(whole, noKubectl+"; timeoutSeconds bounds each request of it"),
		"serviceAccountName":           obsolete(text, "serviceAccount: true uses the pod's own"),
		"maxResumableResourceAgeMs":    obsolete(whole, ownRecords),
		"skipServerSideApply":          obsolete(boolean, "applies are client-side unless kubernetes.serverSideApply or the deploy stage says otherwise"),
		"skipManifestDefaults":         obsolete(boolean, "no defaults are filled in"),
		"oAuthScopes":                  obsolete(texts, "Kubernetes clients have dropped the gcp provider; use a token or an exec plugin in the kubeconfig"),
		"oAuthServiceAccount":          obsolete(text, "Kubernetes clients have dropped the gcp provider; use a token or an exec plugin in the kubeconfig"),
		"kubectlExecutable":            obsolete(text, noKubectl),
		"cacheThreads":                 obsolete(whole, polling),
		"cacheIntervalSeconds":         obsolete(whole, polling),
		"checkPermissionsOnStartup":    obsolete(boolean, "each kind is tried, and dropped and reported when it is forbidden"),
		"liveManifestCalls":            obsolete(boolean, "Clouddriver always reads live manifests"),
		"providerVersion":              obsolete(text, "there is only one left"),
		"configureImagePullSecrets":    obsolete(boolean, "of Clouddriver's former provider"),
		"dockerRegistries":             obsolete(anything, "of Clouddriver's former provider"),
		"type":                         obsolete(text, "all accounts are Kubernetes accounts"),
	}
}
