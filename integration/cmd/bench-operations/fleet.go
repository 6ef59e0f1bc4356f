package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"go.yaml.in/yaml/v3"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

// fleet starts more agents of the same cluster, with an account each, and waits until all serve. end stops them.
func (b *bench) fleet(ctx context.Context, dir string) (accounts []string, end func(), err error) {
	var stops []func()
	end = func() {
		for _, stop := range stops {
			stop()
		}
	}
	client, err := b.env.Bridges[0].AdminClient()
	if err != nil {
		return nil, end, err
	}
	token, err := client.CreateToken(ctx, connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: []string{"fleet-*"}, TtlSeconds: 3600, Description: "bench"}))
	if err != nil {
		return nil, end, err
	}
	content, err := os.ReadFile(b.env.Agents[0].Config)
	if err != nil {
		return nil, end, err
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", b.env.Agents[0].PID))
	if err != nil {
		return nil, end, err
	}
	ports, err := freePorts(b.agents)
	if err != nil {
		return nil, end, err
	}
	for i := range b.agents {
		account := fmt.Sprintf("fleet-%02d", i)
		stop, pid, err := startAgent(filepath.Join(dir, account), program, account, ports[i], content, token.Msg.GetToken())
		if err != nil {
			return nil, end, err
		}
		stops, accounts, b.pids = append(stops, stop), append(accounts, account), append(b.pids, pid)
	}
	c, err := b.newCaller()
	if err != nil {
		return nil, end, err
	}
	for _, account := range accounts {
		within, cancel := context.WithTimeout(ctx, 3*time.Minute)
		err := testenv.Wait(within, func(ctx context.Context) error { return c.warm(ctx, account) })
		cancel()
		if err != nil {
			return nil, end, err
		}
	}
	return accounts, end, nil
}

// freePorts finds ports that are free and all different.
func freePorts(n int) (ports []int, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// startAgent runs one more agent, configured as the given one but for its account and ports.
func startAgent(dir, program, account string, port int, like []byte, token string) (stop func(), pid int, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, 0, err
	}
	config := map[string]any{}
	if err := yaml.Unmarshal(like, &config); err != nil {
		return nil, 0, err
	}
	k := config["kubernetes"].(map[string]any)
	first := k["accounts"].([]any)[0].(map[string]any)
	first["name"] = account
	k["accounts"] = []any{first}
	config["clouddriver"].(map[string]any)["auth"] = map[string]any{"tokenFile": filepath.Join(dir, "token")}
	config["prometheus"] = map[string]any{"enabled": false}
	config["server"].(map[string]any)["port"] = port
	text, err := yaml.Marshal(config)
	if err != nil {
		return nil, 0, err
	}
	for name, content := range map[string][]byte{"armory-agent.yml": text, "token": []byte(token)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, 0, err
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(program, "--config", filepath.Join(dir, "armory-agent.yml")) //nolint:gosec,noctx // our own program; stop ends it
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}, cmd.Process.Pid, nil
}
