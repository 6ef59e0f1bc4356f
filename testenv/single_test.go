package testenv

import (
	"database/sql"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func TestMySQLHasTheTemplatesAndCountsRowsPerTable(t *testing.T) {
	database := MySQL(t)
	db, err := sql.Open("mysql", database.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range []string{
		"CREATE TABLE cats_v1_pod LIKE cats_v1_resource_template",
		"CREATE TABLE cats_v1_pod_rel LIKE cats_v1_rel_template",
		"INSERT INTO cats_v1_pod (id, agent, body_hash, body, last_updated) VALUES ('a', 'x', 'h', '{}', 1), ('b', 'x', 'h', '{}', 1)",
		"UPDATE cats_v1_pod SET last_updated = 1",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	changed, err := database.RowsChanged(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if changed["cats_v1_pod"] != 2 || changed["cats_v1_pod_rel"] != 0 {
		t.Errorf("rows changed: %v, want 2 in cats_v1_pod: the update changed none", changed)
	}
}

func TestKubeServesTheDefaultNamespace(t *testing.T) {
	cluster := Kube(t)
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if again := Kube(t); again != cluster {
		t.Error("a second call started a second control plane")
	}
}

func TestVaultServesBothWaysAndTakesMethods(t *testing.T) {
	server := Vault(t)
	if _, err := server.Call(t.Context(), "POST", "secret/data/a/b", map[string]any{"data": map[string]any{"k": "v"}}); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"userpass", "approle", "kubernetes"} {
		if _, err := server.Call(t.Context(), "POST", "sys/auth/"+method, map[string]any{"type": method}); err != nil {
			t.Error(err)
		}
	}
	server.URL = server.TLSURL
	if _, err := server.Call(t.Context(), "GET", "secret/data/a/b", nil); err == nil {
		t.Error("its certificate is trusted without its CA")
	}
}
