package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/integration/story"
	"github.com/fairlead/fairlead/testenv"
)

// liveReads compares live reads through Clouddriver: their time, and the processor time that they cost outside of the JVM.
func liveReads(ctx context.Context, env *testenv.Env, stories []*story.Story, rounds int) error {
	samples, cost := make([][]time.Duration, 2), make([]time.Duration, 2)
	for n, s := range stories {
		path := "/manifests/" + s.Account + "/" + s.Namespace + "/deployment%20" + s.App + "-web"
		before, err := outside(env)
		if err != nil {
			return err
		}
		for range rounds {
			began := time.Now()
			if err := env.REST().Get(ctx, path, nil); err != nil {
				return err
			}
			samples[n] = append(samples[n], time.Since(began))
		}
		after, err := outside(env)
		if err != nil {
			return err
		}
		cost[n] = (after - before) / time.Duration(rounds)
	}
	report(fmt.Sprintf("live `GET /manifests/…`, %d times in a row", rounds), samples)
	fmt.Printf("| its processor time outside of the JVM | %s | %s | %.1f× |\n", cost[0], cost[1], float64(cost[1])/float64(max(cost[0], 1)))
	return nil
}

// outside is the processor time so far of what works for Clouddriver: bridge, agent, and its ended kubectl processes.
func outside(env *testenv.Env) (time.Duration, error) {
	total, err := usedByChildren(env.Clouddriver.PID)
	if err != nil {
		return 0, err
	}
	for _, pid := range []int{env.Bridges[0].PID, env.Agents[0].PID} {
		t, err := used(pid)
		if err != nil {
			return 0, err
		}
		total += t
	}
	return total, nil
}

// added compares a read through the plugin's endpoint, bridge and agent with the same read by client-go, and with a bare gRPC call.
func added(ctx context.Context, env *testenv.Env, s *story.Story, rounds int) error {
	secret, err := os.ReadFile(env.Bridges[0].PluginSecretFile)
	if err != nil {
		return err
	}
	echo, stop, err := echoServer()
	if err != nil {
		return err
	}
	defer stop()
	name := s.App + "-web"
	paths := map[string]func() error{
		"path": func() error { return execute(ctx, env, string(secret), s.Account, s.Namespace, name) },
		"direct": func() error {
			_, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, name, metav1.GetOptions{})
			return err
		},
		"echo": func() error {
			_, err := echo.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			return err
		},
	}
	samples := map[string][]time.Duration{}
	for i := range rounds + 20 { // the first twenty warm up
		for what, do := range paths {
			began := time.Now()
			if err := do(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			if i >= 20 {
				samples[what] = append(samples[what], time.Since(began))
			}
		}
	}
	at := func(what string, percent int) time.Duration {
		d := samples[what]
		slices.Sort(d)
		return d[len(d)*percent/100]
	}
	fmt.Printf("\nOne read of a deployment, %d times, taking turns\n\n| | p50 | p99 |\n|---|---|---|\n", rounds)
	for _, row := range [][2]string{{"plugin endpoint → bridge → agent → API server", "path"}, {"client-go → API server", "direct"}, {"bare gRPC call on loopback", "echo"}} {
		fmt.Printf("| %s | %s | %s |\n", row[0], at(row[1], 50), at(row[1], 99))
	}
	a50, a99 := at("path", 50)-at("direct", 50), at("path", 99)-at("direct", 99)
	fmt.Printf("| added by our path | %s | %s |\n| … as a ratio to the bare call | %.1f× | %.1f× |\n", a50, a99,
		float64(a50)/float64(at("echo", 50)), float64(a99)/float64(at("echo", 99)))
	return nil
}

// execute asks the bridge as the plugin does.
func execute(ctx context.Context, env *testenv.Env, secret, account, namespace, name string) error {
	message, err := json.Marshal(map[string]any{"account": account, "timeoutMs": 60000, "arguments": []string{"--namespace=" + namespace, "-o", "json", "get", "deployment", name}})
	if err != nil {
		return err
	}
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...) //nolint:gosec // a short message
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, env.Bridges[0].Plugin+"/fairlead.clouddriver.v1.ClouddriverService/Execute", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(secret))
	request.Header.Set("Content-Type", "application/connect+json")
	request.Header.Set("Connect-Protocol-Version", "1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"exit":{}`)) {
		return fmt.Errorf("HTTP %d: %.300s", response.StatusCode, answer)
	}
	return nil
}

// echoServer is a gRPC server of this process with the least that a call can be: its own health service.
func echoServer() (grpc_health_v1.HealthClient, func(), error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		server.Stop()
		return nil, nil, err
	}
	return grpc_health_v1.NewHealthClient(conn), func() {
		_ = conn.Close()
		server.Stop()
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "bench: the bare gRPC server:", err)
		}
	}, nil
}
