package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/config"
)

// minimal is the shortest configuration that is complete.
const minimal = `
keyFile: /secrets/key
database:
  dsn: clouddriver:geheim@tcp(mysql:3306)/clouddriver
plugin:
  secretFile: /shared/secret
admin:
  tokenFile: /secrets/admin
`

func parse(content string, environment map[string]string) (*config.Config, error) {
	return config.Parse("fairlead-bridge.yml", []byte(content), func(name string) (string, bool) {
		v, ok := environment[name]
		return v, ok
	})
}

func TestDefaultsAndGivenValues(t *testing.T) {
	c, err := parse(minimal, nil)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	if c.Name != host || c.Agents.Address != ":9091" || c.Plugin.Address != "127.0.0.1:9092" || c.Admin.Address != "127.0.0.1:8082" || c.Metrics.Address != ":8008" ||
		c.Operations.AbsentWait != 15*time.Second || c.Log.Level != "info" || c.Agents.Plaintext || c.Cache.MaximumBodyBytes != 1<<20 {
		t.Errorf("%+v", c)
	}
	c, err = parse(minimal+`
name: one
agents:
  plaintext: true
  tls: {names: [bridge.example.com, "10.0.0.1"]}
operations: {absentWait: 1m}
metrics: {address: ""}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "one" || !c.Agents.Plaintext || !slices.Equal(c.Agents.TLSNames, []string{"bridge.example.com", "10.0.0.1"}) || c.Operations.AbsentWait != time.Minute || c.Metrics.Address != "" {
		t.Errorf("%+v", c)
	}
}

func TestTheEnvironmentWinsAndIsEnoughAlone(t *testing.T) {
	c, err := parse("", map[string]string{
		"FAIRLEAD_KEY_FILE": "k", "FAIRLEAD_DATABASE_DSN": "u@tcp(h)/d", "FAIRLEAD_PLUGIN_SECRET_FILE": "s", "FAIRLEAD_ADMIN_TOKEN_FILE": "t",
		"FAIRLEAD_AGENTS_TLS_NAMES": "a, b", "FAIRLEAD_AGENTS_PLAINTEXT": "true", "FAIRLEAD_CACHE_WORKERS": "7",
	})
	if err != nil || c.KeyFile != "k" || !slices.Equal(c.Agents.TLSNames, []string{"a", "b"}) || !c.Agents.Plaintext || c.Cache.Workers != 7 {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = parse(minimal+"name: file\n", map[string]string{"FAIRLEAD_NAME": "environment"})
	if err != nil || c.Name != "environment" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestBadInputIsAnsweredWithPlaceValueAndFix(t *testing.T) {
	for _, c := range []struct {
		content     string
		environment map[string]string
		want        string
	}{
		{"keyfile: x", nil, "fairlead-bridge.yml:1: keyfile: no such key; did you mean keyFile?"},
		{"database:\n  dns: x", nil, "fairlead-bridge.yml:2: database.dns: no such key; did you mean database.dsn?"},
		{"agents:\n  names: [x]", nil, "fairlead-bridge.yml:2: agents.names: no such key; did you mean agents.tls.names?"},
		{"databse: {}", nil, "fairlead-bridge.yml:1: databse: no such key; did you mean database?"},
		{"tokenFile: x", nil, "did you mean admin.tokenFile?"},
		{"somethingElseEntirely: x", nil, "no such key; \"fairlead-bridge config keys\" lists them"},
		{"agents: 7", nil, "fairlead-bridge.yml:1: agents: want a section of keys"},
		{"- a", nil, "fairlead-bridge.yml:1: the file: want a section of keys"},
		{"name: a\nname: b", nil, "fairlead-bridge.yml:2: name: given twice; remove one"},
		{"name: [a]", nil, "fairlead-bridge.yml:1: name: want text"},
		{"agents: {tls: {names: x}}", nil, "agents.tls.names: want a list"},
		{"agents: {tls: {names: [[x]]}}", nil, "agents.tls.names: want a list of texts"},
		{"agents: {plaintext: maybe}", nil, `agents.plaintext: "maybe" is not true or false`},
		{"operations: {absentWait: 15}", nil, `operations.absentWait: "15" is not a duration such as 15s`},
		{"cache: {workers: many}", nil, `cache.workers: "many" is not a whole number`},
		{"a: b: c", nil, "not YAML"},
		{"name: a\n---\nname: b", nil, "a second YAML document"},
		{"", nil, "keyFile: is not set; make a key with \"fairlead-bridge key create FILE\""},
		{"", nil, "database.dsn: is not set; write clouddriver@tcp(HOST:3306)/clouddriver (or set FAIRLEAD_DATABASE_DSN)"},
		{"", nil, "plugin.secretFile: is not set"},
		{"", nil, "admin.tokenFile: is not set"},
		{"database: {dsn: 'postgres://u:geheim@db/clouddriver'}", nil, "database.dsn: begins with \"postgres://\": bridges write Clouddriver's tables in MySQL or MariaDB"},
		{"database: {dsn: 'u:geheim@nonsense'}", nil, "database.dsn: is not a data source name with a database in it"},
		{"database: {dsn: 'u:geheim@tcp(h)/'}", nil, "database.dsn: is not a data source name with a database in it"},
		{minimal + "agents: {address: 9091}", nil, `agents.address: "9091": is no address; write HOST:PORT or :PORT`},
		{minimal + "metrics: {address: ':99999'}", nil, "has no port between 0 and 65535"},
		{minimal + "agents: {tls: {names: ['https://x']}}", nil, `agents.tls.names: "https://x" is neither a DNS name nor an IP address`},
		{minimal + "log: {level: loud}", nil, `log.level: "loud" is none of debug, info, warn, error`},
		{minimal + "log: {format: xml}", nil, `log.format: "xml" is neither json nor text`},
		{minimal + "cache: {workers: 0}", nil, "cache.workers: 0 is not between"},
		{minimal + "cache: {workers: 14}", nil, "leaves fewer than 4 of database.maxConnections (16)"},
		{minimal + "cache: {maximumBodyBytes: 10}", nil, "cache.maximumBodyBytes: 10 is not between"},
		{minimal + "cache: {queueBytes: 1048576}", nil, "cache.queueBytes: 1048576 is less than four times"},
		{minimal + "cache: {tableNamespace: 'a;b'}", nil, "cache.tableNamespace"},
		{minimal + "operations: {absentWait: -1s}", nil, "operations.absentWait: -1s is negative"},
		{minimal + "operations: {retention: 0s}", nil, "operations.retention: 0s is not above zero"},
		{minimal + "agents: {tls: {clientCrlFile: /x}}", nil, "agents.tls.clientCrlFile: means nothing without agents.tls.clientCaFile"},
		{strings.Replace(minimal, "plugin:", "plugin:\n  mutualTLS: true", 1), nil, "plugin.secretFile: with plugin.mutualTLS the plugin is known by its certificate"},
		{strings.Replace(minimal, "plugin:", "plugin:\n  tls: {names: [x]}", 1), nil, "plugin.tls: means nothing without plugin.mutualTLS: true"},
		{strings.Replace(minimal, "  secretFile: /shared/secret", "  mutualTLS: true\n  tls: {certFile: /x}", 1), nil, "plugin.tls.certFile and plugin.tls.keyFile: give both"},
		{strings.Replace(minimal, "  secretFile: /shared/secret", "  mutualTLS: true\n  tls: {caFile: /x}", 1), nil, "plugin.tls.keyPasswordFile and plugin.tls.caFile: mean nothing without"},
		{strings.Replace(minimal, "  secretFile: /shared/secret", "  mutualTLS: true\n  tls: {clientCaFile: /x}", 1), nil, "plugin.tls.clientCaFile and plugin.tls.clientNames: give both"},
		{strings.Replace(minimal, "  secretFile: /shared/secret", "  mutualTLS: true\n  tls: {clientCrlFile: /x}", 1), nil, "plugin.tls.clientCrlFile: means nothing without"},
		{strings.Replace(minimal, "  secretFile: /shared/secret", "  mutualTLS: true\n  tls: {clientCaFile: /x, clientNames: ['*']}", 1), nil, `plugin.tls.clientNames: "*" fits every certificate`},
		{strings.Replace(minimal, "  secretFile: /shared/secret", "  mutualTLS: true\n  tls: {names: ['https://x']}", 1), nil, `plugin.tls.names: "https://x" is neither a DNS name nor an IP address`},
		{minimal, map[string]string{"FAIRLEAD_CACHE_WORKERS": "x"}, `FAIRLEAD_CACHE_WORKERS: "x" is not a whole number`},
	} {
		_, err := parse(c.content, c.environment)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v\nwant %q", c.content, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: the message shows the password: %v", c.content, err)
		}
	}
}

func TestEverythingThatIsWrongIsSaidAtOnce(t *testing.T) {
	_, err := parse("nme: a\nlog: {lvl: x}", nil)
	if n := len(strings.Split(err.Error(), "\n")); n != 2 {
		t.Errorf("%d lines: %v", n, err)
	}
}

func TestAFileThatIsNotThereIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "absent.yml")
	if _, err := config.Load(file, os.LookupEnv); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
}

// TestTheTableOfKeysIsComplete finds a field of Config that no key sets, and a key that sets what another one does.
func TestTheTableOfKeysIsComplete(t *testing.T) {
	fields := -1 // File is where all of it comes from
	var count func(reflect.Type)
	count = func(t reflect.Type) {
		for i := range t.NumField() {
			if f := t.Field(i).Type; f.Kind() == reflect.Struct {
				count(f)
			} else {
				fields++
			}
		}
	}
	count(reflect.TypeFor[config.Config]())
	keys := config.Keys()
	if fields != len(keys) {
		t.Errorf("%d fields, %d keys", fields, len(keys))
	}
	values := map[string]string{"text": "x", "true or false": "true", "a whole number": "123456", "a duration such as 15s": "77h", "a list": "x", "a list of policies": "[{accounts: [x]}]",
		"a list of rules for certificates":           "[{accounts: [x], dns: [x]}]",
		"a list of rules for service-account tokens": "[{issuer: 'https://x', audience: x, subjects: [x], accounts: [x]}]",
		"a list of rules for people's tokens":        "[{issuer: 'https://x', audience: x, values: [x], role: viewer}]"}
	seen, variables := map[string]string{}, map[string]bool{}
	base, err := parse(minimal, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: its documentation %q is not a sentence", k.Path, k.Doc)
		}
		if variables[k.Environment()] {
			t.Errorf("%s: variable %s is another key's too", k.Path, k.Environment())
		}
		variables[k.Environment()] = true
		value, known := values[k.Kind()]
		if !known {
			t.Errorf("%s: kind %q", k.Path, k.Kind())
		}
		changed := difference(base, k, value)
		if other := seen[changed]; changed == "" || other != "" {
			t.Errorf("%s sets field %q, as %q does", k.Path, changed, other)
		}
		seen[changed] = k.Path
	}
}

// difference names the field that a key sets.
func difference(base *config.Config, k config.Key, value string) string {
	c := *base
	config.SetForTest(&c, k, value)
	var find func(path string, a, b reflect.Value) string
	find = func(path string, a, b reflect.Value) string {
		for i := range a.NumField() {
			name := path + a.Type().Field(i).Name
			if a.Field(i).Kind() == reflect.Struct {
				if found := find(name+".", a.Field(i), b.Field(i)); found != "" {
					return found
				}
			} else if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
				return name
			}
		}
		return ""
	}
	return find("", reflect.ValueOf(*base), reflect.ValueOf(c))
}

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add("agents: {tls: {names: [a]}}\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(_ *testing.T, content string) { _, _ = parse(content, nil) })
}
