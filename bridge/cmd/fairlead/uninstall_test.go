package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

func TestUninstallHandsAccountsBackAndLeavesTheDatabaseAsItWas(t *testing.T) {
	d := storetest.Start(t).Database(t)
	for _, statement := range []string{
		"CREATE TABLE cats_v1_pod LIKE cats_v1_resource_template", "CREATE TABLE cats_v1_pod_rel LIKE cats_v1_rel_template",
		"INSERT INTO cats_v1_pod SELECT CONCAT('kubernetes.v2:infrastructure:pod:', account, ':shop:web'), CONCAT(account, '/KubernetesCoreCachingAgent[1/1]'), NULL, '', '{}', 1 FROM (SELECT 'prod' AS account UNION SELECT 'late' UNION SELECT 'stock' UNION SELECT 'prod-2') a",
		"INSERT INTO cats_v1_pod_rel SELECT RPAD(account, 26, '-'), CONCAT('kubernetes.v2:infrastructure:pod:', account, ':shop:web'), CONCAT('kubernetes.v2:infrastructure:service:', account, ':shop:web'), CONCAT('service:', account, '/KubernetesCoreCachingAgent[1/1]'), 'service', 1 FROM (SELECT 'prod' AS account UNION SELECT 'late' UNION SELECT 'stock') a",
	} {
		d.Exec(t, statement)
	}
	b := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	b.UntilReady()
	t.Setenv("FAIRLEAD_BRIDGE", b.URL)
	t.Setenv("FAIRLEAD_ADMIN_TOKEN_FILE", b.Config.Admin.TokenFile)
	t.Setenv("FAIRLEAD_DATABASE_DSN", d.DSN)
	run := func(args string, code int, wants ...string) {
		t.Helper()
		out, stderr, err := fairlead(t, strings.Fields(args)...)
		got := 0
		if exit := exitCode(0); errors.As(err, &exit) {
			got = int(exit)
		} else if err != nil {
			got, out = 1, out+err.Error()
		}
		if got != code {
			t.Errorf("fairlead %s: exit code %d, want %d: %s%s", args, got, code, out, stderr)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("fairlead %s: no %q in\n%s", args, want, out)
			}
		}
	}
	const row = `INSERT INTO fairlead_account VALUES (?, ?, '{}', '{}', 'agent-1', 1000, FALSE, 1)`
	d.Exec(t, row, "prod", "prod")
	b.Until("the bridge knows the account", func() bool { out, _, _ := fairlead(t, "accounts", "list"); return strings.Contains(out, "prod") })

	run("uninstall", 1, "at least one of the flags")
	run("uninstall --accounts --check", 1, "none of the others can be")
	run("uninstall --accounts", 1, "say --yes")
	run("uninstall --tables --yes prod", 1, `"prod": accounts are named with --check alone`)
	run("uninstall --check", int(exitRemains), "bridge test-bridge runs", "account prod, in Clouddriver's cache: pod\n", "table fairlead_account", "table fairlead_schema")
	run("uninstall --tables --yes", 1, "bridges run on this database (test-bridge)")

	run("uninstall --accounts --yes", 0, "Account prod was released, with 2 rows", "1 accounts were handed back")
	run("uninstall --accounts --yes", 0, "0 accounts were handed back")
	b.Stop()
	// What an agent declared since, at a bridge that was killed.
	d.Exec(t, row, "late", "late")
	run("uninstall --check", int(exitRemains), "account late, in Clouddriver's cache: pod\n")
	run("uninstall --tables --yes", 0, "account late: 2 rows and links deleted", "Nothing of Fairlead is left")
	run("uninstall --tables --yes", 0, "Nothing of Fairlead is left")
	run("uninstall --check", 0)
	run("uninstall --check prod late", 0)
	run("uninstall --check stock", int(exitRemains), "account stock, in Clouddriver's cache: pod")
	if left := d.Strings(t, "SELECT id FROM cats_v1_pod ORDER BY id"); strings.Join(left, " ") != "kubernetes.v2:infrastructure:pod:prod-2:shop:web kubernetes.v2:infrastructure:pod:stock:shop:web" {
		t.Errorf("rows %v are left", left)
	}
	if left := d.Strings(t, "SELECT rel_agent FROM cats_v1_pod_rel"); strings.Join(left, " ") != "service:stock/KubernetesCoreCachingAgent[1/1]" {
		t.Errorf("links of %v are left", left)
	}
	if left := d.Strings(t, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name"); strings.Join(left, " ") != "cats_v1_pod cats_v1_pod_rel cats_v1_rel_template cats_v1_resource_template" {
		t.Errorf("tables %v are left", left)
	}

	t.Setenv("FAIRLEAD_DATABASE_DSN", "nobody:hunter2@tcp(127.0.0.1:1)/clouddriver")
	run("uninstall --check", 1, "127.0.0.1:1")
	t.Setenv("FAIRLEAD_DATABASE_DSN", "")
	run("uninstall --check", 1, "database.dsn: is not set", "FAIRLEAD_DATABASE_DSN")
}
