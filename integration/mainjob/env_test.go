// Package mainjob asserts the main job on real parts: a deploy through a real Clouddriver reaches a real API server through an agent and
// shows in the cached views; and what may go wrong on the way is answered well.
package mainjob

import (
	"context"
	"database/sql"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

// on is a story on the account of the environment's first cluster.
func on(t *testing.T, env *testenv.Env, app string) *story.Story {
	t.Helper()
	s := &story.Story{Kube: kube(t, env), Account: env.Clusters[0].Account, App: app, Namespace: "shop-" + app}
	if env.Clouddriver != nil {
		s.REST = env.REST()
	}
	if err := s.MakeNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func kube(t *testing.T, env *testenv.Env) kubernetes.Interface {
	t.Helper()
	k, err := env.Kube(0)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func database(t *testing.T, env *testenv.Env) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", env.MySQL.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// within bounds a step.
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
