package testenv

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/build"
	"github.com/fairlead/fairlead/testenv/internal/process"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Ways in which parts tell that they are ready, before the colon of process.Spec.Health; anything else is a URL that
// answers 200.
const (
	mysqlHealth = "mysql:"      // a DSN that answers a query
	kubeHealth  = "kubeconfig:" // a kubeconfig whose server's /readyz is ok
)

// probeLimit is how long one question may take.
const probeLimit = 5 * time.Second

// probe asks a part whether it is ready.
func probe(ctx context.Context, health string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	if dsn, is := strings.CutPrefix(health, mysqlHealth); is {
		db, err := sql.Open("mysql", dsn)
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		var one int
		return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	}
	if kubeconfig, is := strings.CutPrefix(health, kubeHealth); is {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, health, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 2<<10))
		return fmt.Errorf("%s answers %s: %s", health, answer.Status, build.Tail(strings.TrimSpace(string(body)), 3))
	}
	return nil
}

// healthLimit is how long a part may take to become ready. Clouddriver needs a minute on a busy machine.
func healthLimit(part string) time.Duration {
	if strings.HasPrefix(part, "clouddriver") {
		return 5 * time.Minute
	}
	return 2 * time.Minute
}

// awaitHealth waits until a started part is ready.
func awaitHealth(ctx context.Context, p *process.Process) error {
	return awaitPart(ctx, p, healthLimit(p.Name), func(ctx context.Context) error { return probe(ctx, p.Health) })
}

// PartStatus is how one part is.
type PartStatus struct {
	Name string
	PID  int
	// Problem is empty when the part runs and is ready.
	Problem string
	Log     string
}

// Status asks every part.
func (e *Env) Status(ctx context.Context) ([]PartStatus, error) {
	all, err := e.table.List()
	if err != nil {
		return nil, err
	}
	var parts []PartStatus
	for _, p := range all {
		status := PartStatus{Name: p.Name, PID: p.PID, Log: p.Log}
		if !p.Alive() {
			status.Problem = "has ended"
		} else if err := probe(ctx, p.Health); err != nil {
			status.Problem = "is not ready: " + err.Error()
		}
		parts = append(parts, status)
	}
	return parts, nil
}
