package mainjob

import (
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

func faults(t *testing.T, env *testenv.Env, s *story.Story) {
	t.Run("deploy of an unknown kind says so", func(t *testing.T) {
		ctx := within(t, time.Minute)
		_, err := s.Deploy(ctx, map[string]any{"apiVersion": "example.com/v1", "kind": "Gizmo", "metadata": map[string]any{"name": "g", "namespace": s.Namespace}})
		wantTaskError(t, err, "no matches for kind", "Gizmo")
	})
	t.Run("deploy that the API server refuses says why", func(t *testing.T) {
		ctx := within(t, time.Minute)
		bad := s.Manifests(1, "one")[1]
		bad["metadata"].(map[string]any)["name"] = "Not_A_Name"
		_, err := s.Deploy(ctx, bad)
		wantTaskError(t, err, "Not_A_Name", "invalid")
	})
	t.Run("deploy to an account that nobody serves", func(t *testing.T) {
		ctx := within(t, time.Minute)
		other := *s
		other.Account = "nobody"
		_, err := other.Deploy(ctx, other.Manifests(1, "one")...)
		if err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("error %v, want one that names the account", err)
		}
	})
	t.Run("deploy while the agent is away fails clearly and does nothing", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		must(t, env.Stop(ctx, "agent", 0, true))
		away := map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "made-while-away", "namespace": s.Namespace}}
		_, err := s.Deploy(ctx, away)
		wantTaskError(t, err, `agent for account "`+s.Account+`" is not connected`, "nothing was changed")
		_, err = s.Views(ctx)
		must(t, err) // cached views stay while the agent is away
		must(t, env.Start(ctx, "agent", 0))
		attached(ctx, t, env, 0, allKinds)
		_, err = s.Kube.CoreV1().ServiceAccounts(s.Namespace).Get(ctx, "made-while-away", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("the object of the failed deploy is there or cannot be read: %v", err)
		}
		works(ctx, t, s)
	})
	t.Run("database away: operations go on, inventory catches up", func(t *testing.T) {
		ctx := within(t, 3*time.Minute)
		must(t, env.Stop(ctx, "mysql", 0, true))
		must(t, s.Label(ctx, "while-the-database-was-away"))
		must(t, env.Start(ctx, "mysql", 0))
		_, err := s.AwaitLabel(ctx, "while-the-database-was-away")
		must(t, err)
		attached(ctx, t, env, 0, 0)
	})
	t.Run("Clouddriver that starts without its bridge keeps its accounts and recovers", func(t *testing.T) {
		ctx := within(t, 4*time.Minute)
		must(t, env.Stop(ctx, "bridge", 0, true))
		must(t, env.Restart(ctx, "clouddriver", 0, true))
		names, err := env.REST().Accounts(ctx)
		must(t, err)
		if !strings.Contains(strings.Join(names, " "), s.Account) {
			t.Errorf("accounts are %v, want the last known one %q among them", names, s.Account)
		}
		must(t, env.Start(ctx, "bridge", 0))
		attached(ctx, t, env, 0, 0)
		works(ctx, t, s)
	})
}

func wantTaskError(t *testing.T, err error, parts ...string) {
	t.Helper()
	var failed *story.TaskError
	if !errors.As(err, &failed) {
		t.Fatalf("error %v, want a failed task", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("task says %q, want %q in it", err.Error(), part)
		}
	}
}
