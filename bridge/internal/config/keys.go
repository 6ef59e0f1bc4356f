package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-sql-driver/mysql"
)

// Key is one key of the configuration.
type Key struct {
	// Path is where the key is: "database.passwordFile".
	Path string
	// Default is its value when it is not given; "" means none.
	Default string
	// Doc says what it is for, in Markdown.
	Doc string

	field func(*Config) any
}

// Setting is a key and its value.
type Setting struct {
	Path  string
	Value any
}

// Settings lists every key with its value, as people may see it: without the database's password. No other value is a secret; those stand in
// files.
func (c *Config) Settings() []Setting {
	list := make([]Setting, 0, len(keys))
	for i := range keys {
		value := reflect.ValueOf(keys[i].field(c)).Elem().Interface()
		if keys[i].Path == "database.dsn" {
			value = withoutPassword(c.Database.DSN)
		}
		if d, is := value.(time.Duration); is {
			value = d.String()
		}
		list = append(list, Setting{keys[i].Path, value})
	}
	return list
}

// Password is the one that a DSN holds, "" if it holds none.
func Password(dsn string) string {
	parsed, err := mysql.ParseDSN(dsn)
	if err != nil {
		return ""
	}
	return parsed.Passwd
}

// withoutPassword leaves nothing of a DSN's password, whatever characters it is made of.
func withoutPassword(dsn string) string {
	parsed, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "(cannot be read)"
	}
	if parsed.Passwd != "" {
		parsed.Passwd = "«hidden»"
	}
	return parsed.FormatDSN()
}

// Keys lists every key in the order in which they are documented.
func Keys() []Key { return append([]Key(nil), keys...) }

var keys = []Key{
	{"name", "", "Name of this bridge, unique among the bridges of an install. Default: the host's name, which in Kubernetes is the pod's.",
		func(c *Config) any { return &c.Name }},
	{"keyFile", "", "File with the key that seals what the bridges keep in the database. Mandatory, and the same for all bridges of an install; `fairlead-bridge key create FILE` makes one.",
		func(c *Config) any { return &c.KeyFile }},
	{"database.dsn", "", "Clouddriver's database, as go-sql-driver/mysql writes it: `clouddriver@tcp(mysql:3306)/clouddriver?tls=true`. Mandatory.",
		func(c *Config) any { return &c.Database.DSN }},
	{"database.passwordFile", "", "File with the database user's password, read at start. Keeps it out of the DSN.",
		func(c *Config) any { return &c.Database.PasswordFile }},
	{"database.maxConnections", "16", "Most connections to the database.",
		func(c *Config) any { return &c.Database.MaxConnections }},
	{"agents.address", ":9091", "Where agents dial, gRPC over TLS.",
		func(c *Config) any { return &c.Agents.Address }},
	{"agents.plaintext", "false", "Listen for agents without TLS: only behind a proxy that ends it. Said in the log at each start.",
		func(c *Config) any { return &c.Agents.Plaintext }},
	{"agents.tls.names", "", "Further DNS names and IP addresses for the certificate, beside the host's name and the loopback ones: how agents reach the bridge, for instance the name of its Service.",
		func(c *Config) any { return &c.Agents.TLSNames }},
	{"agents.advertise", "", "How agents reach the bridges, host and port: what `fairlead agent join` prints. Default: the first of `agents.tls.names` with the port of `agents.address`.",
		func(c *Config) any { return &c.Agents.Advertise }},
	{"agents.heartbeat", "15s", "How often an agent says that it lives, and is answered. Either side takes the other for gone after two of them without a word. Less than what a proxy or NAT between them allows an idle connection.",
		func(c *Config) any { return &c.Agents.Heartbeat }},
	{"agents.maximumAge", "30m", "Age at which a session is ended, ±20 %, and its agent connects anew, which spreads agents over bridges. Less than what a proxy between them allows a connection. 0: never.",
		func(c *Config) any { return &c.Agents.MaximumAge }},
	{"agents.proxied", "false", "Something between agents and bridge ends TLS (Envoy, a cloud load balancer, IAP): agents with `clouddriver.tls.proxied` prove their certificates inside the stream. See [identity](identity.md).",
		func(c *Config) any { return &c.Agents.Proxied }},
	{"agents.tls.certFile", "", "A given certificate in PEM, with what is between it and its CA, in the place of one of the bridges' own CA. Read again when it changes.",
		func(c *Config) any { return &c.Agents.TLS.CertFile }},
	{"agents.tls.keyFile", "", "Its key in PEM: PKCS #8, PKCS #1 or EC, encrypted or not.",
		func(c *Config) any { return &c.Agents.TLS.KeyFile }},
	{"agents.tls.keyPasswordFile", "", "File with the password of an encrypted key.",
		func(c *Config) any { return &c.Agents.TLS.KeyPasswordFile }},
	{"agents.tls.caFile", "", "The CA's certificate, shown after that of `certFile`, so that agents can pin it. cert-manager's `ca.crt`.",
		func(c *Config) any { return &c.Agents.TLS.CAFile }},
	{"agents.tls.clientCaFile", "", "CAs of agents' certificates that the bridges did not give; `agents.certificates` says which accounts they are for. Read again when it changes.",
		func(c *Config) any { return &c.Agents.TLS.ClientCAFile }},
	{"agents.tls.clientCrlFile", "", "Revocation lists (PEM or DER) of the CAs of `clientCaFile`: a certificate that is on one opens no session, and its sessions end within seconds. Read again when it changes.",
		func(c *Config) any { return &c.Agents.TLS.ClientCRLFile }},
	{"agents.certificates", "", "Rules for agents' certificates that the bridges did not give. See [identity](identity.md).",
		func(c *Config) any { return &c.Agents.Certificates }},
	{"agents.serviceAccounts", "", "Rules for Kubernetes service-account tokens. See [identity](identity.md).",
		func(c *Config) any { return &c.Agents.ServiceAccounts }},
	{"peers.address", ":9093", "Where other bridges dial, gRPC over mutual TLS, for operations of accounts whose agent is connected here. Empty: they cannot.",
		func(c *Config) any { return &c.Peers.Address }},
	{"peers.advertise", "", "Address that other bridges are told, host and port. Default: the port of `peers.address` on the interface towards the database.",
		func(c *Config) any { return &c.Peers.Advertise }},
	{"plugin.address", "127.0.0.1:9092", "Where the plugin in Clouddriver calls. Loopback addresses only, unless `plugin.mutualTLS` is set.",
		func(c *Config) any { return &c.Plugin.Address }},
	{"plugin.secretFile", "", "File with the secret that the plugin shows, on a volume that only Clouddriver and the bridge mount. Made if it is absent. Mandatory without `plugin.mutualTLS`.",
		func(c *Config) any { return &c.Plugin.SecretFile }},
	{"plugin.mutualTLS", "false", "The plugin calls over a network: both sides show certificates, and there is no secret. `fairlead plugin certificate` makes the plugin's. See [identity](identity.md#the-plugins-endpoint).",
		func(c *Config) any { return &c.Plugin.MutualTLS }},
	{"plugin.tls.names", "", "Further DNS names and IP addresses for the certificate that the plugin sees, beside the host's name, the loopback ones and `agents.tls.names`.",
		func(c *Config) any { return &c.Plugin.TLS.Names }},
	{"plugin.tls.certFile", "", "A given certificate in PEM for the plugin's endpoint, in the place of one of the bridges' own CA. Read again when it changes.",
		func(c *Config) any { return &c.Plugin.TLS.CertFile }},
	{"plugin.tls.keyFile", "", "Its key in PEM.",
		func(c *Config) any { return &c.Plugin.TLS.KeyFile }},
	{"plugin.tls.keyPasswordFile", "", "File with the password of an encrypted key.",
		func(c *Config) any { return &c.Plugin.TLS.KeyPasswordFile }},
	{"plugin.tls.caFile", "", "The CA's certificate, shown after that of `certFile`.",
		func(c *Config) any { return &c.Plugin.TLS.CAFile }},
	{"plugin.tls.clientCaFile", "", "CAs of plugins' certificates that the bridges did not give. Read again when it changes.",
		func(c *Config) any { return &c.Plugin.TLS.ClientCAFile }},
	{"plugin.tls.clientCrlFile", "", "Revocation lists of these CAs. Read again when it changes.",
		func(c *Config) any { return &c.Plugin.TLS.ClientCRLFile }},
	{"plugin.tls.clientNames", "", "Patterns of DNS names and URIs, `*` for any characters; a plugin's certificate of these CAs must have one that fits. Mandatory with `clientCaFile`: who gets in may run commands on every account.",
		func(c *Config) any { return &c.Plugin.TLS.ClientNames }},
	{"plugin.outlive", "0s", "How long the bridge goes on after it is told to stop, while Clouddriver still calls it: in a pod with Clouddriver, so that its running tasks can end. A little less than the pod's `terminationGracePeriodSeconds`: `11m` for Spinnaker's 720.",
		func(c *Config) any { return &c.Plugin.Outlive }},
	{"admin.address", "127.0.0.1:8082", "Where `fairlead` and probes call: the admin API and `/livez`, `/readyz`, `/healthz`.",
		func(c *Config) any { return &c.Admin.Address }},
	{"admin.tokenFile", "", "File with the token for the admin API. Made if it is absent. Mandatory.",
		func(c *Config) any { return &c.Admin.TokenFile }},
	{"admin.oidc", "", "Rules for people's tokens of an identity provider. See [identity](identity.md).",
		func(c *Config) any { return &c.Admin.OIDC }},
	{"admin.auditRetention", "9600h", "How long the audit trail is kept.",
		func(c *Config) any { return &c.Admin.AuditRetention }},
	{"metrics.address", ":8008", "Where Prometheus scrapes `/metrics`. Empty: nowhere.",
		func(c *Config) any { return &c.Metrics.Address }},
	{"metrics.agents", "1m", "How often agents send their metrics through their sessions, for those that nobody can scrape: `/metrics/agents` shows them, with a label `agent`. `0`: never.",
		func(c *Config) any { return &c.Metrics.Agents }},
	{"cache.tableNamespace", "", "Clouddriver's `sql.table-namespace`.",
		func(c *Config) any { return &c.Cache.TableNamespace }},
	{"cache.maximumBodyBytes", "1048576", "Largest object that is stored; larger ones are reported.",
		func(c *Config) any { return &c.Cache.MaximumBodyBytes }},
	{"cache.queueBytes", "67108864", "Inventory that may wait for the database. When it is full, agents wait.",
		func(c *Config) any { return &c.Cache.QueueBytes }},
	{"cache.maximumApplications", "10000", "Most applications of one account; what goes beyond is rejected and reported.",
		func(c *Config) any { return &c.Cache.MaximumApplications }},
	{"cache.maximumLinks", "5000000", "Most links between objects of one account; what goes beyond is rejected and reported.",
		func(c *Config) any { return &c.Cache.MaximumLinks }},
	{"cache.workers", "4", "Transactions that write the cache at once.",
		func(c *Config) any { return &c.Cache.Workers }},
	{"cache.checkInterval", "5m", "How often what is cached is compared with what agents know, each kind of each account by itself, ±50 %. `applications` are compared every 10 s at least.",
		func(c *Config) any { return &c.Cache.CheckInterval }},
	{"cache.verifyRowsPerSecond", "1000", "How many rows and links these checks may read whole, so that one that was edited by hand is found; beyond that they read indexes alone. `0`: always.",
		func(c *Config) any { return &c.Cache.VerifyRowsPerSecond }},
	{"cache.policies", "", "What is cached, by account; the first policy that covers an account holds. See below.",
		func(c *Config) any { return &c.Cache.Policies }},
	{"accounts.policies", "", "How agents serve accounts: log level and limits, by account; the first policy that covers an account holds. See below.",
		func(c *Config) any { return &c.Accounts.Policies }},
	{"accounts.removeAfter", "0s", "Take out an account, with all that is cached of it, when no agent has served it for so long. 0: never, an account that is absent stays until somebody takes it out.",
		func(c *Config) any { return &c.Accounts.RemoveAfter }},
	{"accounts.dynamic.disabled", "false", "No account may be added, changed or deleted at run time ([dynamic accounts](dynamic-accounts.md)): such calls are answered with 501. Those that are there stay.",
		func(c *Config) any { return &c.Accounts.Dynamic.Disabled }},
	{"accounts.dynamic.servers", "", "API servers that dynamic accounts may name, `*` for any characters: `https://*.eks.amazonaws.com`. Empty: every one by https.",
		func(c *Config) any { return &c.Accounts.Dynamic.Servers }},
	{"operations.mode", "failover", "Which agents of an account have its operations: `failover`, the one that also caches it; `distributed`, all of them in turns. `fairlead operations mode` changes it for accounts at run time.",
		func(c *Config) any { return &c.Operations.Mode }},
	{"fiat.url", "", "Spinnaker's Fiat, `http://spin-fiat:7003`: it is told when accounts come, leave or get other permissions, and need not find out by itself in ten minutes. Empty: it is not.",
		func(c *Config) any { return &c.Fiat.URL }},
	{"operations.absentWait", "15s", "How long an operation waits for an agent that is not connected.",
		func(c *Config) any { return &c.Operations.AbsentWait }},
	{"operations.retention", "720h", "How long the history of operations is kept.",
		func(c *Config) any { return &c.Operations.Retention }},
	{"log.level", "info", "`debug`, `info`, `warn` or `error`.",
		func(c *Config) any { return &c.Log.Level }},
	{"log.format", "json", "`json` or `text`.",
		func(c *Config) any { return &c.Log.Format }},
}

// Environment is the variable that the key can be given as.
func (k Key) Environment() string {
	var b strings.Builder
	b.WriteString("FAIRLEAD_")
	before := rune(0)
	for _, r := range k.Path {
		switch {
		case r == '.':
			b.WriteByte('_')
		case unicode.IsUpper(r) && unicode.IsLower(before):
			b.WriteByte('_')
			fallthrough
		default:
			b.WriteRune(unicode.ToUpper(r))
		}
		before = r
	}
	return b.String()
}

// Kind is what the key's values are, in words.
func (k Key) Kind() string { return kind(k.field(&Config{})) }

func kind(field any) string {
	switch f := field.(type) {
	case *string:
		return "text"
	case *bool:
		return "true or false"
	case *int:
		return "a whole number"
	case *time.Duration:
		return "a duration such as 15s"
	case *[]string:
		return "a list"
	case *[]CachePolicy:
		return "a list of policies"
	case rules:
		return f.kind()
	}
	return reflect.TypeOf(field).String()
}

// set gives a field a value that is written as text. Lists are separated by commas.
func set(field any, value string) (err error) {
	value = strings.TrimSpace(value)
	switch f := field.(type) {
	case *string:
		*f = value
	case *bool:
		switch strings.ToLower(value) {
		case "true", "yes", "on", "1":
			*f = true
		case "false", "no", "off", "0", "":
			*f = false
		default:
			err = errWant(field, value)
		}
	case *int:
		if *f, err = strconv.Atoi(value); err != nil {
			err = errWant(field, value)
		}
	case *time.Duration:
		if *f, err = time.ParseDuration(value); err != nil {
			err = errWant(field, value)
		}
	case *[]string:
		*f = nil
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*f = append(*f, part)
			}
		}
	case *[]CachePolicy:
		*f, err = parsePolicies(value)
	case rules:
		err = parseRules(f, value)
	}
	return err
}

func errWant(field any, value string) error {
	return fmt.Errorf("%q is not %s", value, kind(field))
}
