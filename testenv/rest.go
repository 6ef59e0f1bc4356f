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
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// REST speaks Clouddriver's REST API as Orca and Deck do.
type REST struct {
	// URL is the base.
	URL string
	// Client is used if set.
	Client *http.Client
}

// REST returns a client of the environment's Clouddriver; it panics in an environment without one.
func (e *Env) REST() *REST { return &REST{URL: e.Clouddriver.URL} }

// StatusError is an answer other than 200.
type StatusError struct {
	Method, Path string
	Code         int
	Body         string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Code, strings.TrimSpace(e.Body))
}

// Do sends a request with body (nil for none) as JSON and decodes the answer into answer (nil to drop it).
func (r *REST) Do(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.URL+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	client := r.Client
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode != http.StatusOK {
		return &StatusError{Method: method, Path: path, Code: response.StatusCode, Body: string(text)}
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s %s: %w in %.200s", method, path, err, text)
	}
	return nil
}

// Get asks for path; elements of the path are the caller's to escape.
func (r *REST) Get(ctx context.Context, path string, answer any) error {
	return r.Do(ctx, http.MethodGet, path, nil, answer)
}

// Accounts returns the names of the accounts that Clouddriver has.
func (r *REST) Accounts(ctx context.Context) ([]string, error) {
	var accounts []struct {
		Name string `json:"name"`
	}
	if err := r.Get(ctx, "/credentials", &accounts); err != nil {
		return nil, err
	}
	names := make([]string, len(accounts))
	for i, account := range accounts {
		names[i] = account.Name
	}
	return names, nil
}

// Op is one operation of a request: its name ("deployManifest") to its description.
type Op map[string]any

// PostOps asks for operations on the Kubernetes provider and returns the id of the task that does them.
func (r *REST) PostOps(ctx context.Context, ops ...Op) (string, error) {
	var answer struct {
		ID string `json:"id"`
	}
	if err := r.Do(ctx, http.MethodPost, "/kubernetes/ops", ops, &answer); err != nil {
		return "", err
	}
	if answer.ID == "" {
		return "", errors.New("POST /kubernetes/ops: the answer names no task")
	}
	return answer.ID, nil
}

// Task is a task of Clouddriver.
type Task struct {
	ID            string           `json:"id"`
	ResultObjects []map[string]any `json:"resultObjects"`
	History       []TaskStatus     `json:"history"`
	Status        TaskStatus       `json:"status"`
}

// TaskStatus is one line of a task's history, or where it stands. A failed task says why in Status.
type TaskStatus struct {
	Phase     string `json:"phase"`
	Status    string `json:"status"`
	Completed bool   `json:"completed"`
	Failed    bool   `json:"failed"`
}

// Task returns a task.
func (r *REST) Task(ctx context.Context, id string) (*Task, error) {
	task := &Task{}
	return task, r.Get(ctx, "/task/"+id, task)
}

// WaitTask waits until a task has ended. A task that failed is no error here: see Status.
func (r *REST) WaitTask(ctx context.Context, id string) (*Task, error) {
	var task *Task
	err := Wait(ctx, func(ctx context.Context) error {
		var err error
		if task, err = r.Task(ctx, id); err != nil {
			return err
		}
		if !task.Status.Completed {
			return fmt.Errorf("task %s: %s", id, task.Status.Status)
		}
		return nil
	})
	return task, err
}

// Run does operations and waits for them; the time is from the request to the end of the task, give or take WaitInterval.
func (r *REST) Run(ctx context.Context, ops ...Op) (*Task, time.Duration, error) {
	started := time.Now()
	id, err := r.PostOps(ctx, ops...)
	if err != nil {
		return nil, 0, err
	}
	task, err := r.WaitTask(ctx, id)
	return task, time.Since(started), err
}

// Deploy is the operation by which Orca deploys manifests.
func Deploy(account, application string, manifests ...map[string]any) Op {
	return Op{"deployManifest": map[string]any{
		"account": account, "cloudProvider": "kubernetes", "source": "text",
		"moniker": map[string]any{"app": application}, "manifests": manifests,
		"optionalArtifacts": []any{}, "requiredArtifacts": []any{}, "enableTraffic": true,
		"trafficManagement":        map[string]any{"enabled": false, "options": map[string]any{"enableTraffic": false}},
		"skipExpressionEvaluation": false,
	}}
}

// Kube returns a client of cluster n, as administrator.
func (e *Env) Kube(n int) (kubernetes.Interface, error) {
	return newKubeClient(e.Clusters[n].Kubeconfig)
}

func newKubeClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// A test asks as often as it likes.
	config.QPS, config.Burst = 200, 400
	return kubernetes.NewForConfig(config)
}

// RowsChanged returns how many rows were written in each table of Clouddriver's database since the server started.
func (e *Env) RowsChanged(ctx context.Context) (map[string]int64, error) {
	return rowsChanged(ctx, e.MySQL.DSN)
}
