package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/fairlead/fairlead/testenv/faultnet"
	"github.com/fairlead/fairlead/testenv/internal/build"
	"github.com/fairlead/fairlead/testenv/internal/process"
)

// Network stands between the agents and all bridges: an L4 balancer that can go wrong (package faultnet).
type Network struct {
	// Address is what agents dial, Control the base URL of what tells it what goes wrong.
	Address string `json:"address"`
	Control string `json:"control"`
	PID     int    `json:"pid"`
	Log     string `json:"log"`
}

// NetworkState is what passes through a network.
type NetworkState struct {
	// Open connections by bridge (HOST:PORT).
	Open map[string]int `json:"open"`
	// Accepted is how many there ever were; Up and Down are bytes to and from the bridges.
	Accepted int   `json:"accepted"`
	Up       int64 `json:"up"`
	Down     int64 `json:"down"`
}

func newNetwork(log string) (*Network, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	return &Network{Address: loopback(ports[0]), Control: "http://" + loopback(ports[1]), Log: log}, nil
}

// startNetwork starts it before the bridges: it passes connections on to those that answer.
func (u *up) startNetwork(ctx context.Context) error {
	const name = "network"
	u.progress.begin(name, "is looked for, or built")
	program, err := u.cache.Go(ctx, build.Faultnet())
	if err != nil {
		return err
	}
	n := u.env.Network
	var targets []string
	for _, b := range u.env.Bridges {
		targets = append(targets, b.Agents)
	}
	p, err := u.start(ctx, process.Spec{Name: name, Dir: u.options.Dir, Log: n.Log, Health: n.Control + "/state",
		Args: []string{program, "--listen", n.Address, "--control", strings.TrimPrefix(n.Control, "http://"), "--targets", strings.Join(targets, ",")}})
	if err != nil {
		return err
	}
	n.PID = p.PID
	if err := awaitHealth(ctx, p); err != nil {
		return err
	}
	u.progress.ready(name, "agents dial %s", n.Address)
	return nil
}

// SetNetwork makes the network between agents and bridges go wrong as f says.
func (e *Env) SetNetwork(ctx context.Context, f faultnet.Faults) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return e.network(ctx, http.MethodPut, "/faults", body, nil)
}

// ResetNetwork resets all connections between agents and bridges.
func (e *Env) ResetNetwork(ctx context.Context) error {
	return e.network(ctx, http.MethodPost, "/reset", nil, nil)
}

// NetworkState tells what passes between agents and bridges.
func (e *Env) NetworkState(ctx context.Context) (state NetworkState, err error) {
	return state, e.network(ctx, http.MethodGet, "/state", nil, &state)
}

func (e *Env) network(ctx context.Context, method, path string, body []byte, into any) error {
	if e.Network == nil {
		return errors.New("this environment has no network that could go wrong: bring it up with one (--network)")
	}
	request, err := http.NewRequestWithContext(ctx, method, e.Network.Control+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("network: %s: %s", answer.Status, strings.TrimSpace(string(content)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(content, into)
}
