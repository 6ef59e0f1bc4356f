package mainjob

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/testenv"
)

// secrets asserts that no credential of the cluster is in Clouddriver's or the bridge's configuration, environment, arguments, files or tables, and
// that no secret of ours is in a log or an argument.
func secrets(t *testing.T, env *testenv.Env) {
	ctx := within(t, time.Minute)
	credentials := credentials(t, env)
	if len(credentials) == 0 {
		t.Fatal("found no credential in the agent's kubeconfig to look for")
	}
	for name, pid := range map[string]int{"clouddriver": env.Clouddriver.PID, "bridge": env.Bridges[0].PID} {
		for _, file := range []string{"environ", "cmdline"} {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			must(t, err)
			holdsNone(t, name+"'s "+file, content, credentials)
		}
	}
	for _, part := range []string{"clouddriver", "bridge-0", "logs", filepath.Join("mysql", "data")} {
		holdsNoneBelow(t, filepath.Join(env.Dir(), part), credentials)
	}
	tables(ctx, t, env, credentials)

	ours := map[string]string{}
	for name, file := range map[string]string{"plugin secret": env.Bridges[0].PluginSecretFile, "admin token": env.Bridges[0].AdminTokenFile} {
		content, err := os.ReadFile(file)
		must(t, err)
		ours[name] = strings.TrimSpace(string(content))
	}
	holdsNoneBelow(t, filepath.Join(env.Dir(), "logs"), ours)
}

// credentials are what the agent's and the administrator's kubeconfig of the cluster hold.
func credentials(t *testing.T, env *testenv.Env) map[string]string {
	t.Helper()
	found := map[string]string{}
	files := []string{env.Clusters[0].Kubeconfig}
	must(t, filepath.WalkDir(filepath.Dir(env.Agents[0].Config), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	}))
	for _, file := range files {
		config, err := clientcmd.LoadFromFile(file)
		if err != nil {
			continue // not a kubeconfig
		}
		for user, a := range config.AuthInfos {
			for kind, secret := range map[string]string{"token": a.Token, "key": string(a.ClientKeyData), "password": a.Password} {
				if secret != "" {
					found[filepath.Base(file)+" "+user+" "+kind] = secret
				}
			}
		}
	}
	return found
}

func holdsNone(t *testing.T, where string, content []byte, secrets map[string]string) {
	t.Helper()
	for name, secret := range secrets {
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s holds %s", where, name)
		}
	}
}

func holdsNoneBelow(t *testing.T, dir string, secrets map[string]string) {
	t.Helper()
	files := 0
	dir, err := filepath.EvalSymlinks(dir)
	must(t, err)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // a database removes files while we look
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		files++
		holdsNone(t, path, content, secrets)
		return nil
	})
	must(t, err)
	if files == 0 {
		t.Errorf("no file below %s to look into", dir)
	}
}

// tables looks into every text column of the database.
func tables(ctx context.Context, t *testing.T, env *testenv.Env, secrets map[string]string) {
	t.Helper()
	db := database(t, env)
	columns, err := db.QueryContext(ctx, `SELECT table_name, column_name FROM information_schema.columns
 WHERE table_schema = DATABASE() AND data_type IN ('varchar','char','text','longtext','mediumtext','json','blob','longblob','mediumblob','varbinary')`)
	must(t, err)
	defer func() { _ = columns.Close() }()
	var all [][2]string
	for columns.Next() {
		var c [2]string
		must(t, columns.Scan(&c[0], &c[1]))
		all = append(all, c)
	}
	must(t, columns.Err())
	if len(all) < 20 {
		t.Fatalf("only %d columns to look into", len(all))
	}
	for _, c := range all {
		for name, secret := range secrets {
			var n int
			err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM `%s` WHERE INSTR(`%s`, ?) > 0", c[0], c[1]), secret).Scan(&n)
			if err != nil && err != sql.ErrNoRows {
				t.Errorf("%s.%s: %v", c[0], c[1], err)
			}
			if n > 0 {
				t.Errorf("%s.%s holds %s", c[0], c[1], name)
			}
		}
	}
}
