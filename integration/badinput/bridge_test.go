package badinput

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
