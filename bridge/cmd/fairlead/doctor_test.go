package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/doctor"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

// sick is a fault: how it is made, and what the doctor has to say.
type sick struct {
	name string
	// make breaks something and returns the arguments for the doctor.
	make func(t *testing.T, d *storetest.DB) string
	// check finds it, with a sentence and a fix.
	check, sentence, fix string
}

// bridgeFile writes a bridge's file; more are further lines.
func bridgeFile(t *testing.T, dsn string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := identity.CreateKey(key); err != nil {
		t.Fatal(err)
	}
	return "--config " + write(t, "bridge.yml", fmt.Sprintf("keyFile: %s\ndatabase: {dsn: %q}\nplugin: {secretFile: %s/secret}\nadmin: {tokenFile: %[3]s/token}\n%s\n", key, dsn, dir, strings.Join(more, "\n")))
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// as changes a DSN.
func as(t *testing.T, dsn string, change func(*mysql.Config)) string {
	t.Helper()
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	change(c)
	return c.FormatDSN()
}

// limited is a user who may do only some things.
func limited(t *testing.T, d *storetest.DB, rights string) string {
	t.Helper()
	name := strings.ToLower("u" + rand.Text()[:10])
	d.Exec(t, fmt.Sprintf("CREATE USER %s@'127.0.0.1' IDENTIFIED BY 'limited-password'", name))
	d.Exec(t, fmt.Sprintf("GRANT %s ON %s.* TO %s@'127.0.0.1'", rights, d.Name, name))
	t.Cleanup(func() { d.Exec(t, fmt.Sprintf("DROP USER %s@'127.0.0.1'", name)) })
	return as(t, d.DSN, func(c *mysql.Config) { c.User, c.Passwd = name, "limited-password" })
}

// certificate writes one that ends at a time, with its key.
func certificate(t *testing.T, ends time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bridge"}, DNSNames: []string{"bridge"}, NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(t, "tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
}

const goodProfile = `
sql: {enabled: true, cache: {enabled: true}}
redis: {enabled: true, cache: {enabled: false}}
spinnaker: {extensibility: {plugins: {Fairlead.Bridge: {enabled: true}}}}
`

// profile is a good one with further lines.
func profile(t *testing.T, more string) string {
	return "--profile " + write(t, "clouddriver.yml", goodProfile) + " --profile " + write(t, "clouddriver-local.yml", more)
}

func TestTheDoctorFindsFaultsOfABridgeThatDoesNotStart(t *testing.T) {
	server := storetest.Start(t)
	if !server.MariaDB {
		t.Skip("faults of a server are made on one of our own")
	}
	for _, c := range []sick{
		{"unknown key", func(t *testing.T, d *storetest.DB) string { return bridgeFile(t, d.DSN, "cash: {}") }, "configuration", "cash: no such key; did you mean cache?", "fairlead-bridge config keys"},
		{"database is down", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, as(t, d.DSN, func(c *mysql.Config) { c.Addr = "127.0.0.1:1" }))
		}, "database-reachable", "the database 127.0.0.1:1/", "network policy"},
		{"wrong password", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, as(t, limited(t, d, "ALL"), func(c *mysql.Config) { c.Passwd = "wrong" }))
		}, "database-reachable", "does not let the bridge in", "compare the user in database.dsn and the password"},
		{"no password file", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, d.DSN) + replaceIn(t, "database: {", "database: {passwordFile: /absent, ")
		}, "database-password", "database.passwordFile: open /absent", "mount the Secret"},
		{"reader's address", func(t *testing.T, d *storetest.DB) string {
			d.Exec(t, "SET GLOBAL read_only = ON")
			t.Cleanup(func() { d.Exec(t, "SET GLOBAL read_only = OFF") })
			return bridgeFile(t, d.Restricted(t))
		}, "database-writable", "takes no writes: it is a replica, or the cluster's reader address", "write the writer's address into database.dsn"},
		{"rights", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, limited(t, d, "SELECT, INSERT, UPDATE, CREATE, DROP"))
		}, "database-rights", "lacks rights on", "GRANT ALTER, INDEX, DELETE ON"},
		{"no templates", func(t *testing.T, d *storetest.DB) string {
			d.Exec(t, "DROP TABLE cats_v1_rel_template")
			return bridgeFile(t, d.DSN)
		}, "database-templates", "template tables are not in", "start Clouddriver once with sql.enabled and sql.cache.enabled"},
		{"small packets", func(t *testing.T, d *storetest.DB) string {
			d.Exec(t, "SET GLOBAL max_allowed_packet = 1048576")
			t.Cleanup(func() { d.Exec(t, "SET GLOBAL max_allowed_packet = 16777216") })
			return bridgeFile(t, d.DSN)
		}, "database-packet", "max_allowed_packet of the database is 1048576", "set max_allowed_packet to 2097152 or more"},
		{"another namespace", func(t *testing.T, d *storetest.DB) string {
			d.Exec(t, "CREATE TABLE cats_v1_blue_applications LIKE cats_v1_resource_template")
			return bridgeFile(t, d.DSN, "cache: {tableNamespace: green}")
		}, "database-namespace", `cache.tableNamespace is "green", and Clouddriver's tables in`, "what sql.table-namespace of Clouddriver is"},
		{"newer tables", func(t *testing.T, d *storetest.DB) string {
			_ = d.Open(t)
			d.Exec(t, "INSERT INTO fairlead_schema (version_id, is_applied) VALUES (99999, TRUE)")
			return bridgeFile(t, d.DSN)
		}, "database-newer", "to version 99999, which this one does not know", "upgrade this bridge"},
		{"old plugin writes", func(t *testing.T, d *storetest.DB) string {
			d.Exec(t, "CREATE TABLE kubesvc_accounts (name varchar(90))")
			d.Exec(t, "INSERT INTO kubesvc_accounts VALUES ('prod')")
			return bridgeFile(t, d.DSN)
		}, "old-plugin-tables", "the replaced plugin still writes into", "take Armory.Kubesvc out"},
		{"clock", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, as(t, d.DSN, func(c *mysql.Config) {
				c.Params = map[string]string{"timestamp": fmt.Sprint(time.Now().Add(-time.Hour).Unix())}
			}))
		}, "clock", "behind this host's", "run a time service"},
		{"expired certificate", func(t *testing.T, d *storetest.DB) string {
			cert, key := certificate(t, time.Now().Add(-time.Hour))
			return bridgeFile(t, d.DSN, fmt.Sprintf("agents: {tls: {certFile: %s, keyFile: %s}}", cert, key))
		}, "certificate", "expired at", "put a new certificate and its key into the files"},
		{"key of another certificate", func(t *testing.T, d *storetest.DB) string {
			cert, _ := certificate(t, time.Now().Add(time.Hour))
			_, key := certificate(t, time.Now().Add(time.Hour))
			return bridgeFile(t, d.DSN, fmt.Sprintf("agents: {tls: {certFile: %s, keyFile: %s}}", cert, key))
		}, "certificate", "cannot be used", "readable by the bridge's user"},
		{"another key file", func(t *testing.T, d *storetest.DB) string {
			file := filepath.Join(t.TempDir(), "key")
			if err := identity.CreateKey(file); err != nil {
				t.Fatal(err)
			}
			key, err := identity.ReadKey(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := identity.LoadAuthority(t.Context(), d.Open(t), key); err != nil {
				t.Fatal(err)
			}
			return bridgeFile(t, d.DSN)
		}, "key-file", "does not open what bridges keep in", "docs/runbooks/lost-key.md"},

		{"no SQL cache", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, d.DSN) + " " + profile(t, "sql.cache.enabled: false")
		}, "clouddriver-cache", "Clouddriver does not cache in SQL", "set sql.enabled and sql.cache.enabled to true"},
		{"Redis cache", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, d.DSN) + " " + profile(t, "redis: {cache: {enabled: true}}")
		}, "clouddriver-cache", "the Redis cache is in use beside SQL", "set redis.cache.enabled: false"},
		{"old plugin is on", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, d.DSN) + " " + profile(t, "spinnaker.extensibility.plugins: {Armory.Kubesvc: {enabled: true}}")
		}, "clouddriver-old-plugin", "the replaced plugin is on beside this one", "set it to false"},
		{"plugin is off", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, d.DSN) + " " + profile(t, "spinnaker.extensibility.plugins.Fairlead.Bridge.enabled: false")
		}, "clouddriver-plugin", "Clouddriver does not load the plugin", "add the snippet"},
		{"no account storage", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, d.DSN) + " " + profile(t, "kubesvc: {dynamicAccounts: {scan: CLOUDDRIVER}}")
		}, "clouddriver-account-storage", "there is nothing to look through", "account.storage.kubernetes.enabled to true"},
		{"retries", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, d.DSN) + " " + profile(t, "kubernetes: {job-executor: {retries: {enabled: true, retryable-error-messages: [TLS handshake timeout, no result from account]}}}")
		}, "clouddriver-retries", `repeats commands whose error holds "no result from account"`, "docs/at-most-once.md"},
		{"two namespaces", func(t *testing.T, d *storetest.DB) string {
			return bridgeFile(t, d.DSN) + " " + profile(t, "sql: {tableNamespace: blue}")
		}, "clouddriver-table-namespace", `sql.table-namespace of`, "make them the same"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := server.Database(t)
			d.Exec(t, "CREATE TABLE cats_v1_applications LIKE cats_v1_resource_template")
			if c.name == "another namespace" {
				d.Exec(t, "DROP TABLE cats_v1_applications")
			}
			args := c.make(t, d)
			if strings.Contains(args, replaced) {
				args = apply(t, args)
			}
			out, code := typed(t, "doctor "+args)
			want := exitFault
			if strings.Contains(out, "0 faults") {
				want = 0 // a warning alone
			}
			if code != want || !strings.Contains(out, c.check) || !strings.Contains(out, c.sentence) || !strings.Contains(out, c.fix) {
				t.Errorf("exit code %d\n%s\nwant %q of %s, and %q", code, out, c.sentence, c.check, c.fix)
			}
			if n := strings.Count(out, "\nwhy "); n != 1 {
				t.Errorf("%d findings for one fault:\n%s", n, out)
			}
			if c.check != "database-packet" && c.check != "database-newer" && code != exitFault {
				t.Errorf("exit code %d\n%s", code, out)
			}
			t.Logf("$ fairlead doctor …\n%s(exit code %d)", out, code)
		})
	}
	t.Run("nothing is wrong", func(t *testing.T) {
		d := server.Database(t)
		d.Exec(t, "CREATE TABLE cats_v1_applications LIKE cats_v1_resource_template")
		out, code := typed(t, "doctor --all "+bridgeFile(t, d.Restricted(t))+" "+profile(t, ""))
		if code != 0 || strings.Contains(out, "warning ") || !strings.Contains(out, "the database's user may do what bridges do") {
			t.Errorf("%d\n%s", code, out)
		}
		if n := d.Count(t, "information_schema.tables", "table_schema = DATABASE() AND table_name LIKE 'fairlead%'"); n != 0 {
			t.Errorf("it left %d tables", n)
		}
	})
}

// replaced marks an edit of the file that was just written; apply makes it.
const replaced = " replace="

func replaceIn(_ *testing.T, from, to string) string {
	return replaced + strings.ReplaceAll(from, " ", "_") + "=" + strings.ReplaceAll(to, " ", "_")
}

func apply(t *testing.T, args string) string {
	t.Helper()
	args, edit, _ := strings.Cut(args, replaced)
	from, to, _ := strings.Cut(edit, "=")
	file := strings.TrimPrefix(args, "--config ")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(content), strings.ReplaceAll(from, "_", " "), strings.ReplaceAll(to, "_", " "))
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return args
}

func TestTheDoctorAsksABridgeThatRuns(t *testing.T) {
	d := storetest.Start(t).Database(t)
	c := bridgetest.Configure(t, d.DSN)
	c.Agents.Advertise = c.Agents.Address
	b := bridgetest.RunVersion(t, c, "v0.9.0")
	b.UntilReady()
	t.Setenv("FAIRLEAD_BRIDGE", b.URL)
	t.Setenv("FAIRLEAD_ADMIN_TOKEN_FILE", c.Admin.TokenFile)
	finds := func(args string, code int, wants ...string) {
		t.Helper()
		out, got := typed(t, "doctor "+args)
		if got != code {
			t.Errorf("exit code %d, want %d\n%s", got, code, out)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("doctor %s: no %q in\n%s", args, want, out)
			}
		}
		t.Logf("$ fairlead doctor %s\n%s(exit code %d)", args, out, got)
	}
	b.Until("the bridge listens for agents", func() bool { out, _ := typed(t, "doctor"); return !strings.Contains(out, "agents-reach") })
	finds("", 0, "plugin-loaded", "has not called yet", "Fairlead.Bridge.enabled")
	finds("--agents-address 127.0.0.1:1", exitFault, "agents-reach", "port 127.0.0.1:1, where agents dial, cannot be reached from here", "publishNotReadyAddresses")
	finds("--agents-address "+c.Admin.Address, exitFault, "does not speak TLS as a bridge does", "not its admin or metrics port")
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	other.EnableHTTP2 = true
	other.StartTLS()
	defer other.Close()
	finds("--agents-address "+other.Listener.Addr().String(), exitFault, "of another authority than this bridge's", "another install's bridge")

	// A plugin of another version, as it calls.
	secret, err := os.ReadFile(c.Plugin.SecretFile)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	call := func(version string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.Plugin.Address+"/fairlead.clouddriver.v1.ClouddriverService/GetStatus", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("User-Agent", "fairlead-plugin/"+version)
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	call("0.8.3")
	finds("", exitFault, "plugin-version", "Clouddriver has plugin 0.8.3, and this bridge is v0.9.0", "install the plugin of the bridge's version")
	call("0.9.1")
	finds("--all", 0, "plugin and bridge are of one version")
	b.Agent(bridgetest.Hello("agent-1", "prod"))
	b.Until("the agent is there", func() bool { out, _ := typed(t, "agent list"); return strings.Contains(out, "agent-1") })
	finds("-o json", 0, `"findings"`)
}

func TestAPluginThatDoesNotCallIsAFaultAfterAWhile(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		seen doctor.Plugin
		want string
	}{
		"never":   {doctor.Plugin{Since: now.Add(-time.Hour)}, "has never called, in 1h0m0s"},
		"gone":    {doctor.Plugin{Since: now.Add(-2 * time.Hour), Last: now.Add(-time.Hour)}, "has not called for 1h0m0s"},
		"calling": {doctor.Plugin{Since: now.Add(-time.Hour), Last: now.Add(-time.Hour), Calling: true}, ""},
		"restart": {doctor.Plugin{Since: now.Add(-time.Hour), Last: now.Add(-time.Minute)}, ""},
	} {
		found := ""
		for _, f := range doctor.Examine(t.Context(), &doctor.Patient{Plugin: &c.seen, Now: now}) {
			if f.Check == "plugin-loaded" && f.Level == doctor.Fault {
				found = f.Text
			}
		}
		if (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
			t.Errorf("%s: %q", name, found)
		}
	}
}

func TestEveryCheckIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	names := append(doctor.Names(), "configuration", "database-password", "database-dsn", "key-file")
	for _, name := range names {
		if !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("docs/operate.md does not list the check %s", name)
		}
	}
}
