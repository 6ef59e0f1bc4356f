// Package failover makes each part of an install go away at a bad moment (killed, stopped in the middle of what it does, cut off, set back) while
// objects change and operations come in, and compares afterwards what the cluster has, what Clouddriver's tables and views say, and what
// callers were told.
//
// API server, MariaDB, Clouddriver, three bridges and two replicas of an agent are real; the network between agents and bridges is faultnet's.
package failover

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the database
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/testenv"
)

const (
	namespace = "failover"
	// watched services change all the time, steady ones never do.
	watched, steady = 20, 20
	// patience bounds waits that end by a condition.
	patience = 90 * time.Second
)

// accounts are all served by both agents, in one cluster.
var accounts = []string{"demo", "demo-b", "demo-c", "demo-d"}

// install is an environment under faults.
type install struct {
	*testenv.Env

	kube kubernetes.Interface
	db   *sql.DB
}

func newInstall(t *testing.T, clouddriver string) *install {
	t.Helper()
	env := testenv.UpForTest(t, testenv.Options{
		Clouddriver: clouddriver, Bridges: 3, AgentsPerCluster: 2, Network: true,
		ConfigureBridge: func(config map[string]any) {
			// Silence is four seconds: what takes half a minute in the field takes a tenth of it here.
			config["agents"].(map[string]any)["heartbeat"] = "2s"
			config["operations"] = map[string]any{"absentWait": "10s"}
			// Rows that are set back while their fence is not are found by the checks alone, which come every five minutes otherwise.
			config["cache"] = map[string]any{"checkInterval": "10s"}
		},
		ConfigureAgent: func(config map[string]any) {
			k := config["kubernetes"].(map[string]any)
			file := k["accounts"].([]any)[0].(map[string]any)["kubeconfigFile"]
			list := []any{}
			for _, name := range accounts {
				list = append(list, map[string]any{"name": name, "kubeconfigFile": file, "namespaces": []any{namespace}})
			}
			k["accounts"] = list
			k["reconnectTimeoutMs"] = 1000
		},
		Populate: populate,
	})
	i := &install{Env: env}
	var err error
	i.kube, err = env.Kube(0)
	must(t, err)
	i.db, err = sql.Open("mysql", env.MySQL.DSN)
	must(t, err)
	t.Cleanup(func() { _ = i.db.Close() })
	return i
}

func populate(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if _, err := kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for kind, n := range map[string]int{"watched": watched, "steady": steady} {
		for i := range n {
			if _, err := kube.CoreV1().Services(namespace).Create(ctx, service(fmt.Sprintf("%s-s%02d", kind, i)), metav1.CreateOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}

func service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 80}}}}
}

// bridgeOf is the bridge that has the session of an account's holder, -1 if none does.
func (i *install) bridgeOf(ctx context.Context, account string) int {
	var instance string
	_ = i.db.QueryRowContext(ctx, "SELECT holder FROM fairlead_fence WHERE account = ?", account).Scan(&instance)
	var name string
	if err := i.db.QueryRowContext(ctx, "SELECT bridge FROM fairlead_session WHERE account = ? AND instance = ?", account, instance).Scan(&name); err != nil {
		return -1
	}
	for n, b := range i.Bridges {
		if filepath.Base(filepath.Dir(b.AdminTokenFile)) == name {
			return n
		}
	}
	return -1
}

// shared waits until both agents hold two accounts each.
func (i *install) shared(ctx context.Context) error {
	return testenv.Wait(ctx, func(ctx context.Context) error {
		rows, err := i.db.QueryContext(ctx, "SELECT f.holder, COUNT(*) FROM fairlead_fence f JOIN fairlead_session s ON s.account = f.account AND s.instance = f.holder GROUP BY f.holder")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var held []int
		for rows.Next() {
			var holder string
			var n int
			if err := rows.Scan(&holder, &n); err != nil {
				return err
			}
			held = append(held, n)
		}
		if !slices.Equal(held, []int{2, 2}) {
			return fmt.Errorf("accounts are shared %v", held)
		}
		return rows.Err()
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
