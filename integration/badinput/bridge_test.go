package badinput

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

func TestBridgeRefusesAConfigurationThatItCannotUse(t *testing.T) {
	bridge := program(t, "github.com/fairlead/fairlead/bridge/cmd/fairlead-bridge")
	dir := t.TempDir()
	base := fmt.Sprintf("keyFile: %s/key\ndatabase: {dsn: \"u:p@tcp(127.0.0.1:1)/clouddriver\"}\nagents: {address: \"127.0.0.1:0\"}\nplugin: {address: \"127.0.0.1:0\", secretFile: %s/secret}\nadmin: {address: \"127.0.0.1:0\", tokenFile: %s/token}\nmetrics: {address: \"127.0.0.1:0\"}\n", dir, dir, dir)
	t.Run("missing key file", func(t *testing.T) {
		want(t, ends(t, bridge, "--config", write(t, base)), "keyFile", dir+"/key", "fairlead-bridge key create")
	})
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("too short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("bad key file", func(t *testing.T) {
		want(t, ends(t, bridge, "--config", write(t, base)), key, "32")
	})
	if err := os.WriteFile(key, []byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("key file that every user may read", func(t *testing.T) {
		if err := os.Chmod(key, 0o644); err != nil { //nolint:gosec // that is the point
			t.Fatal(err)
		}
		want(t, ends(t, bridge, "--config", write(t, base)), "keyFile", key, "every user may read it (mode 0644)", "chmod 0600", "defaultMode: 0440")
		if err := os.Chmod(key, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("key file that the bridge may not read", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("needs to run a program as another user, as root")
		}
		// Everything but the key is the other user's.
		theirs, err := os.MkdirTemp("", "unreadable-") // a test's own directory lies in one that is its user's alone
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(theirs) }()
		if err := os.Chmod(theirs, 0o755); err != nil { //nolint:gosec // the other user's
			t.Fatal(err)
		}
		program, config, owned := filepath.Join(theirs, "fairlead-bridge"), filepath.Join(theirs, "config.yml"), filepath.Join(theirs, "key")
		if out, err := exec.CommandContext(t.Context(), "cp", bridge, program).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for file, content := range map[string]string{config: strings.ReplaceAll(base, dir+"/key", owned), owned: "AAAA\n"} {
			mode := os.FileMode(0o644)
			if file == owned {
				mode = 0o600
			}
			if err := os.WriteFile(file, []byte(content), mode); err != nil {
				t.Fatal(err)
			}
		}
		const nobody = 65534
		command := exec.CommandContext(t.Context(), program, "--config", config)
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := command.CombinedOutput()
		if err == nil {
			t.Error("it started")
		}
		want(t, string(out), "keyFile", owned, "this process may not read it (it runs as user 65534)", "securityContext.fsGroup")
	})
	t.Run("a rule for identities that makes no sense", func(t *testing.T) {
		text := ends(t, bridge, "--config", write(t, strings.Replace(base, "agents: {", "agents: {serviceAccounts: [{issuer: \"https://i\", subjects: [x], accounts: [a]}], certificates: [{accounts: [a], subject: [\"(\"]}], ", 1)))
		want(t, text, "agents.serviceAccounts[0]: audience: is not set", "agents.certificates[0]: subject: \"(\" is not a regular expression")
	})
	t.Run("given certificates that are half there", func(t *testing.T) {
		text := ends(t, bridge, "--config", write(t, strings.Replace(base, "agents: {", "agents: {tls: {certFile: /nowhere/tls.crt}, ", 1)))
		want(t, text, "agents.tls.certFile and agents.tls.keyFile: give both", "/nowhere/tls.crt: no such file")
	})
	t.Run("unknown key", func(t *testing.T) {
		want(t, ends(t, bridge, "--config", write(t, base+"databse: {}\n")), "config.yml:7", "databse", "database")
	})
	t.Run("plugin endpoint that is not loopback", func(t *testing.T) {
		text := ends(t, bridge, "--config", write(t, base+"operations: {absentWait: -3s}\n"))
		want(t, text, "operations.absentWait", "-3s")
	})
	t.Run("database that is down", func(t *testing.T) {
		says(t, []string{"127.0.0.1:1/clouddriver", "connection refused"}, bridge, "--config", write(t, base))
	})
}

func TestBridgeWithoutTemplatesServesAccountsAndSaysWhatItWaitsFor(t *testing.T) {
	env := testenv.UpForTest(t, testenv.Options{Clouddriver: testenv.NoClouddriver})
	db := open(t, env)
	// As before Clouddriver's first start.
	for _, table := range []string{"cats_v1_resource_template", "cats_v1_rel_template"} {
		if _, err := db.ExecContext(t.Context(), "RENAME TABLE "+table+" TO hidden_"+table); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := env.Restart(ctx, "bridge", 0, false); err != nil {
		t.Fatal(err)
	}
	client, err := env.Bridges[0].AdminClient()
	if err != nil {
		t.Fatal(err)
	}
	if err := testenv.Wait(ctx, func(ctx context.Context) error {
		accounts, err := client.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
		if err != nil {
			return err
		}
		if len(accounts.Msg.GetAccounts()) != 1 || accounts.Msg.GetAccounts()[0].GetState() != "connected" {
			return fmt.Errorf("accounts are %v", accounts.Msg.GetAccounts())
		}
		status, err := client.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
		if err != nil {
			return err
		}
		return missing(fmt.Sprint(status.Msg.GetProblems()), []string{"cats_v1"})
	}); err != nil {
		t.Fatal(err)
	}
}
