// Package bridges asserts the main job where the agent is connected to another bridge than Clouddriver's own.
package bridges

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/integration/story"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

func TestClouddriverReachesAnAgentOfAnotherBridge(t *testing.T) {
	env := testenv.UpForTest(t, testenv.Options{Clusters: 2, Bridges: 2})
	kube, err := env.Kube(1)
	must(t, err)
	// The second cluster's agent dials the second bridge; Clouddriver has the first.
	s := &story.Story{REST: env.REST(), Kube: kube, Account: env.Clusters[1].Account, App: "afar", Namespace: "shop-afar"}
	must(t, s.MakeNamespace(t.Context()))

	t.Run("a deploy is done and shows in the cached views", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		must(t, onlyAt(ctx, env, s.Account, 1))
		took, err := s.Deploy(ctx, s.Manifests(2, "one")...)
		must(t, err)
		_, shown, err := s.AwaitViews(ctx, story.Running(2))
		must(t, err)
		t.Logf("deploy %s, shown %s later", took, shown)
		// A second one finds the relay open.
		took, err = s.Deploy(ctx, s.Manifests(3, "two")...)
		must(t, err)
		_, _, err = s.AwaitViews(ctx, story.Running(3))
		must(t, err)
		t.Logf("second deploy %s", took)
	})
	t.Run("a deploy waits for an agent whose bridge was killed, and is done when both are back", func(t *testing.T) {
		ctx := within(t, 3*time.Minute)
		must(t, env.Stop(ctx, "bridge", 1, true))
		started := make(chan error, 1)
		go func() { started <- env.Start(ctx, "bridge", 1) }()
		_, err := s.Deploy(ctx, s.Manifests(1, "three")...)
		must(t, <-started)
		must(t, err)
		_, _, err = s.AwaitViews(ctx, story.Running(1))
		must(t, err)
	})
}

// onlyAt waits until the account is connected at one bridge, and makes sure that it is at no other.
func onlyAt(ctx context.Context, env *testenv.Env, account string, bridge int) error {
	return testenv.Wait(ctx, func(ctx context.Context) error {
		for n := range env.Bridges {
			client, err := env.Bridges[n].AdminClient()
			if err != nil {
				return err
			}
			status, err := client.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
			if err != nil {
				return err
			}
			has := slices.ContainsFunc(status.Msg.GetSessions(), func(s *adminv1.Session) bool { return slices.Contains(s.GetAccounts(), account) })
			if has != (n == bridge) {
				return fmt.Errorf("account %s at bridge %d: %v", account, n, has)
			}
		}
		return nil
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
