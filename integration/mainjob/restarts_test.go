package mainjob

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/integration/story"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

func restarts(t *testing.T, env *testenv.Env, s *story.Story) {
	for _, part := range []string{"agent", "bridge"} {
		for _, kill := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, kill=%v, writes no row", part, kill), func(t *testing.T) {
				ctx := within(t, 2*time.Minute)
				// A new agent process compares every kind, one that comes back to its bridge continues.
				kinds := map[string]int{"agent": allKinds, "bridge": 0}[part]
				epoch := attached(ctx, t, env, 0, 0)
				before, err := env.RowsChanged(ctx)
				must(t, err)
				must(t, env.Restart(ctx, part, 0, kill))
				attached(ctx, t, env, epoch+1, kinds)
				if changed := written(ctx, t, env, before); len(changed) > 0 {
					t.Errorf("a restart of the %s with nothing changed wrote %v", part, changed)
				}
				works(ctx, t, s)
			})
		}
	}
	t.Run("one connection for each agent", func(t *testing.T) { oneConnection(t, env) })
}

// allKinds are the ten kinds cached by default, applications and clusters.
const allKinds = 12

// attached waits until the account is connected with at least the epoch, and at least so many kinds were found to agree with the tables,
// and none not to. It returns the epoch.
func attached(ctx context.Context, t *testing.T, env *testenv.Env, epoch uint64, kinds int) uint64 {
	t.Helper()
	var found uint64
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		client, err := env.Bridges[0].AdminClient()
		if err != nil {
			return err
		}
		answer, err := client.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
		if err != nil {
			return err
		}
		for _, a := range answer.Msg.GetAccounts() {
			if a.GetName() != env.Clusters[0].Account {
				continue
			}
			if a.GetState() != "connected" || a.GetEpoch() < epoch || len(a.GetKindsPending()) > 0 || len(a.GetKindsLive()) < kinds {
				return fmt.Errorf("account is %s at epoch %d (want %d), live %v, pending %v", a.GetState(), a.GetEpoch(), epoch, a.GetKindsLive(), a.GetKindsPending())
			}
			found = a.GetEpoch()
			return nil
		}
		return fmt.Errorf("account %s is not there", env.Clusters[0].Account)
	}))
	return found
}

// works shows that operations and caching go on: a read through the agent, and a change that becomes visible.
func works(ctx context.Context, t *testing.T, s *story.Story) {
	t.Helper()
	var manifest struct{ Manifest map[string]any }
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		return s.REST.Get(ctx, "/manifests/"+s.Account+"/"+s.Namespace+"/deployment%20"+s.App+"-web", &manifest)
	}))
	if manifest.Manifest["kind"] != "Deployment" {
		t.Errorf("GET /manifests answered %v", manifest.Manifest)
	}
	value := fmt.Sprint(time.Now().UnixNano())
	must(t, s.Label(ctx, value))
	_, err := s.AwaitLabel(ctx, value)
	must(t, err)
}

// oneConnection counts the TCP connections of the agent's process to the bridge's agents port.
func oneConnection(t *testing.T, env *testenv.Env) {
	port := env.Bridges[0].Agents[strings.LastIndex(env.Bridges[0].Agents, ":")+1:]
	if n := connections(t, env.Agents[0].PID, port); n != 1 {
		t.Errorf("the agent has %d connections to the bridge, want 1", n)
	}
}

// connections counts established TCP connections of a process to a remote port, by the kernel's tables.
func connections(t *testing.T, pid int, port string) int {
	t.Helper()
	var number int
	_, err := fmt.Sscanf(port, "%d", &number)
	must(t, err)
	sockets := map[string]bool{}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	for _, d := range descriptors {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, d.Name()))
		if err == nil && strings.HasPrefix(target, "socket:[") {
			sockets[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	n := 0
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		must(t, err)
		for _, line := range strings.Split(string(content), "\n") {
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != "01" || !sockets[fields[9]] {
				continue
			}
			if strings.HasSuffix(fields[2], fmt.Sprintf(":%04X", number)) {
				n++
			}
		}
	}
	return n
}
