package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// scripted is a cluster and an executor that do what a test says: fault fakes.
type scripted struct {
	sink  chan cluster.Sink
	cache chan *linkv1.CachePolicy
	fetch func(ctx context.Context, t cats.Type, keys []cats.Key, each func(cats.Key, map[string]any, error) error) error
	run   func(ctx context.Context, op *linkv1.Operation, output io.Writer) *linkv1.Outcome
}

type scriptedCluster struct{ *scripted }

func (s scriptedCluster) Run(ctx context.Context, sink cluster.Sink) error {
	s.sink <- sink
	<-ctx.Done()
	return nil
}

func (s scriptedCluster) Fetch(ctx context.Context, t cats.Type, keys []cats.Key, each func(cats.Key, map[string]any, error) error) error {
	return s.fetch(ctx, t, keys, each)
}

func (s scriptedCluster) CacheBy(policy *linkv1.CachePolicy) {
	if s.cache != nil {
		s.cache <- policy
	}
}

func (scriptedCluster) Status() cluster.Status { return cluster.Status{} }

type scriptedExecutor struct{ *scripted }

func (s scriptedExecutor) Run(ctx context.Context, op *linkv1.Operation, output io.Writer) *linkv1.Outcome {
	return s.run(ctx, op, output)
}

// agent is a session that runs, with one account "a".
type agent struct {
	*Session
	*scripted

	t     *testing.T
	log   *journal
	stop  context.CancelFunc
	ended chan error
}

// journal keeps what was logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func start(t *testing.T, address string, edit func(*Config, *scripted)) *agent {
	t.Helper()
	a := &agent{t: t, log: &journal{}, ended: make(chan error, 1), scripted: &scripted{sink: make(chan cluster.Sink, 1)}}
	cfg := Config{Address: address, Plaintext: true, NoProxy: true, Token: func() (string, error) { return "flt_of_the_test", nil },
		Pauses: Pauses{Reconnect: time.Millisecond, Base: time.Millisecond, Max: 5 * time.Millisecond, Multiplier: 2},
		Agent:  &linkv1.Agent{Instance: "instance", Name: "agent"}, Log: slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if edit != nil {
		edit(&cfg, a.scripted)
	}
	var err error
	a.Session, err = New(cfg, []Account{{Declared: &linkv1.Account{Name: "a"}, Records: cats.NewInventory("a", cats.Options{}), Cluster: scriptedCluster{a.scripted}, Executor: scriptedExecutor{a.scripted}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	a.stop = stop
	go func() { a.ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		a.leave()
		if strings.Contains(a.log.String(), "flt_of_the_test") || strings.Contains(a.log.String(), "secret-") {
			t.Error("a secret is in the log")
		}
		if t.Failed() {
			t.Log(a.log.String())
		}
	})
	return a
}

func (a *agent) leave() {
	a.t.Helper()
	a.stop()
	err := next(a.t, "the agent's end", a.ended)
	if err != nil {
		a.t.Error(err)
	}
	a.ended <- err
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func pod(name, note string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "n", "uid": name, "annotations": map[string]any{"note": note}}}
}

var errBroken = errors.New("broken on purpose")
