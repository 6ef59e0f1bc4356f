// Package atmostonce breaks everything that can break around an operation, at each of the moments when it matters, and asserts that a change
// has at most one effect and that what Clouddriver is told of it is true.
//
// Bridge, agent, API server, database and Clouddriver are real. Between them stand a wire that can be cut (agent to bridge) and a gate that can keep
// requests and answers (agent to API server).
package atmostonce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	clouddriverv1 "github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1/clouddriverv1connect"
	"github.com/fairlead/fairlead/testenv"
)

const (
	namespace = "once"
	// other is a second account of the same agent, by a gate of its own.
	other = "other"
)

// world is an environment with its faults.
type world struct {
	env         *testenv.Env
	wire        *wire
	gate, aside *gate
	kube        kubernetes.Interface
	account     string
}

func newWorld(t *testing.T, clouddriver string) *world {
	t.Helper()
	w := &world{wire: newWire(t), gate: newGate(t), aside: newGate(t)}
	dir := t.TempDir()
	w.env = testenv.UpForTest(t, testenv.Options{
		Clouddriver: clouddriver,
		Configure: func(config map[string]any) {
			config["kubernetes"] = merged(config["kubernetes"], map[string]any{"jobExecutor": map[string]any{"retries": map[string]any{"enabled": true, "maxAttempts": 3, "backOffInMs": 200}}})
		},
		ConfigureBridge: func(config map[string]any) {
			config["operations"] = merged(config["operations"], map[string]any{"absentWait": "10s"})
		},
		ConfigureAgent: func(config map[string]any) {
			c := config["clouddriver"].(map[string]any)
			c["grpc"] = w.wire.through(c["grpc"].(string))
			k := config["kubernetes"].(map[string]any)
			accounts := k["accounts"].([]any)
			accounts[0].(map[string]any)["kubeconfigFile"] = w.gate.kubeconfig(t, dir)
			k["accounts"] = append(accounts[:1], map[string]any{"name": other, "kubeconfigFile": w.aside.kubeconfig(t, dir)})
			k["reconnectTimeoutMs"] = 300
		},
		Populate: func(_ context.Context, kubeconfig string) error {
			return errors.Join(w.gate.open(kubeconfig), w.aside.open(kubeconfig))
		},
	})
	var err error
	w.kube, err = w.env.Kube(0)
	must(t, err)
	w.account = w.env.Clusters[0].Account
	r := w.run(t, w.account, 30*time.Second, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+"}\n", "create", "-o", "json", "-f", "-")
	if r.err != nil || r.code != 0 {
		t.Fatal(r)
	}
	return w
}

func merged(there any, more map[string]any) map[string]any {
	m, _ := there.(map[string]any)
	if m == nil {
		return more
	}
	for k, v := range more {
		m[k] = v
	}
	return m
}

// result is what Clouddriver would get of a command.
type result struct {
	stdout, stderr string
	code           int32
	killed         bool
	err            error
}

// begin runs a command as Clouddriver's plugin does.
func (w *world) begin(ctx context.Context, account string, timeout time.Duration, stdin string, argv ...string) <-chan result {
	ended := make(chan result, 1)
	go func() { ended <- w.command(ctx, account, timeout, stdin, argv) }()
	return ended
}

func (w *world) command(ctx context.Context, account string, timeout time.Duration, stdin string, argv []string) (r result) {
	b := w.env.Bridges[0]
	secret, err := os.ReadFile(b.PluginSecretFile)
	if err != nil {
		return result{err: err}
	}
	client := clouddriverv1connect.NewClouddriverServiceClient(http.DefaultClient, b.Plugin, connect.WithProtoJSON())
	request := connect.NewRequest(&clouddriverv1.ExecuteRequest{Account: account, Arguments: argv, Stdin: []byte(stdin), TimeoutMs: uint64(timeout.Milliseconds()), User: "ada", Execution: "01TEST"})
	request.Header().Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	stream, err := client.Execute(ctx, request)
	if err != nil {
		return result{err: err}
	}
	defer func() { _ = stream.Close() }()
	var stdout, stderr bytes.Buffer
	r.err = io.ErrUnexpectedEOF
	for stream.Receive() {
		m := stream.Msg()
		stdout.Write(m.GetStdout())
		stderr.Write(m.GetStderr())
		if e := m.GetExit(); e != nil {
			r.code, r.killed, r.err = e.GetCode(), e.GetKilled(), nil
		}
	}
	if err := stream.Err(); err != nil {
		r.err = err
	}
	r.stdout, r.stderr = stdout.String(), stderr.String()
	return r
}

func (w *world) run(t *testing.T, account string, timeout time.Duration, stdin string, argv ...string) result {
	t.Helper()
	return ended(t, w.begin(t.Context(), account, timeout, stdin, argv...))
}

const patience = 90 * time.Second

func ended(t *testing.T, r <-chan result) result {
	t.Helper()
	select {
	case r := <-r:
		return r
	case <-time.After(patience):
		t.Fatal("the command does not end")
		return result{}
	}
}

func arrived(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
	}
}

// generated is a ConfigMap whose name the API server makes: each create makes one more.
func generated(prefix string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: " + prefix + "-, namespace: " + namespace + "}\n"
}

// count counts the ConfigMaps that a create made.
func (w *world) count(t *testing.T, prefix string) (n int) {
	t.Helper()
	list, err := w.kube.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for _, c := range list.Items {
		if strings.HasPrefix(c.Name, prefix+"-") {
			n++
		}
	}
	return n
}

// connected waits until the bridge has the agent.
func (w *world) connected(t *testing.T, want bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		client, err := w.env.Bridges[0].AdminClient()
		if err != nil {
			return err
		}
		status, err := client.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
		if err != nil {
			return err
		}
		accounts := 0
		for _, s := range status.Msg.GetSessions() {
			accounts += len(s.GetAccounts())
		}
		if (accounts == 2) != want {
			return fmt.Errorf("%d accounts are connected", accounts)
		}
		return nil
	}))
}

// history waits until the latest operation with a verb has an outcome.
func (w *world) history(t *testing.T, filter *adminv1.ListOperationsRequest, outcome string) *adminv1.Operation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var found *adminv1.Operation
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		client, err := w.env.Bridges[0].AdminClient()
		if err != nil {
			return err
		}
		list, err := client.ListOperations(ctx, connect.NewRequest(filter))
		if err != nil {
			return err
		}
		if len(list.Msg.GetOperations()) == 0 || list.Msg.GetOperations()[0].GetOutcome() != outcome {
			return fmt.Errorf("history says %v, not %s", list.Msg.GetOperations(), outcome)
		}
		found = list.Msg.GetOperations()[0]
		return nil
	}))
	return found
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tries counts the creations on record with an outcome. Reads are left out: those of a case before that the agent had no time to end are "unknown" too.
func (w *world) tries(t *testing.T, outcome string) int {
	t.Helper()
	client, err := w.env.Bridges[0].AdminClient()
	must(t, err)
	response, err := client.ListOperations(t.Context(), connect.NewRequest(&adminv1.ListOperationsRequest{Account: w.account, Verb: "create", Outcome: outcome, Limit: 1000}))
	must(t, err)
	return len(response.Msg.GetOperations())
}

// String shows the error's text too.
func (r result) String() string {
	return fmt.Sprintf("stdout %q, stderr %q, exit %d, killed %v, error %v", r.stdout, r.stderr, r.code, r.killed, r.err)
}
