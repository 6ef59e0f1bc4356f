// Package story is the main job, step by step: something is deployed through Clouddriver's REST API, shows in its cached views, is
// changed behind Spinnaker's back, shows again. `make demo` tells it; the suites assert it.
package story

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead/fairlead/testenv"
)

// Story is one application on one account.
type Story struct {
	REST      *testenv.REST
	Kube      kubernetes.Interface
	Account   string
	App       string
	Namespace string
}

// Manifests are a Deployment, a Service that selects it, and a ConfigMap that it mounts, as a pipeline would deploy them.
func (s *Story) Manifests(replicas int, setting string) []map[string]any {
	labels := map[string]any{"app": s.App}
	meta := func(name string) map[string]any {
		return map[string]any{"name": name, "namespace": s.Namespace}
	}
	return []map[string]any{
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(s.App + "-settings"), "data": map[string]any{"setting": setting}},
		{"apiVersion": "v1", "kind": "Service", "metadata": meta(s.App + "-front"),
			"spec": map[string]any{"selector": labels, "ports": []any{map[string]any{"port": 80, "targetPort": 8080}}}},
		{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(s.App + "-web"), "spec": map[string]any{
			"replicas": replicas,
			"selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				"spec": map[string]any{
					"containers": []any{map[string]any{"name": "web", "image": "example.com/web:1", "volumeMounts": []any{map[string]any{"name": "settings", "mountPath": "/settings"}}}},
					"volumes":    []any{map[string]any{"name": "settings", "configMap": map[string]any{"name": s.App + "-settings"}}},
				},
			},
		}},
	}
}

// MakeNamespace makes the story's namespace where it is not there yet.
func (s *Story) MakeNamespace(ctx context.Context) error {
	_, err := s.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Deploy deploys through POST /kubernetes/ops and returns how long the task took.
func (s *Story) Deploy(ctx context.Context, manifests ...map[string]any) (time.Duration, error) {
	task, took, err := s.REST.Run(ctx, testenv.Deploy(s.Account, s.App, manifests...))
	if err != nil {
		return took, err
	}
	if task.Status.Failed {
		return took, &TaskError{Task: task}
	}
	return took, nil
}

// TaskError says that a task of Clouddriver failed.
type TaskError struct{ Task *testenv.Task }

func (e *TaskError) Error() string {
	lines := []string{e.Task.Status.Status}
	for _, h := range e.Task.History {
		lines = append(lines, h.Status)
	}
	return "task failed: " + strings.Join(lines, "; ")
}

// Views is what Clouddriver's cached views say of the application.
type Views struct {
	// Managers, ServerGroups and LoadBalancers are names ("deployment NAME").
	Managers, ServerGroups, LoadBalancers []string
	// Instances of all server groups, and those that are up.
	Instances, Up int
	// Balanced counts server groups behind the load balancers.
	Balanced int
}

// Views asks the cached views for this account's part of the application.
func (s *Story) Views(ctx context.Context) (Views, error) {
	var v Views
	app := url.PathEscape(s.App)
	var managers, groups, balancers []struct {
		Name           string
		Account        string
		InstanceCounts struct{ Total, Up int }
		ServerGroups   []struct{ Name, Account string }
	}
	for path, into := range map[string]any{"serverGroupManagers": &managers, "serverGroups": &groups, "loadBalancers": &balancers} {
		if err := s.REST.Get(ctx, "/applications/"+app+"/"+path, into); err != nil {
			var status *testenv.StatusError
			if errors.As(err, &status) && status.Code == 404 {
				continue // Clouddriver does not know the application (yet)
			}
			return v, err
		}
	}
	for _, m := range managers {
		if m.Account == s.Account {
			v.Managers = append(v.Managers, m.Name)
		}
	}
	for _, g := range groups {
		if g.Account == s.Account {
			v.ServerGroups = append(v.ServerGroups, g.Name)
			v.Instances += g.InstanceCounts.Total
			v.Up += g.InstanceCounts.Up
		}
	}
	for _, b := range balancers {
		if b.Account == s.Account {
			v.LoadBalancers = append(v.LoadBalancers, b.Name)
			v.Balanced += len(b.ServerGroups)
		}
	}
	return v, nil
}

// AwaitViews waits until the views satisfy want and returns how long that took.
func (s *Story) AwaitViews(ctx context.Context, want func(Views) error) (Views, time.Duration, error) {
	began := time.Now()
	var last Views
	err := testenv.Wait(ctx, func(ctx context.Context) error {
		v, err := s.Views(ctx)
		if err != nil {
			return err
		}
		last = v
		return want(v)
	})
	return last, time.Since(began), err
}

// Running is satisfied by one manager, one balanced server group with n instances, all up, and one load balancer.
func Running(n int) func(Views) error {
	return func(v Views) error {
		if len(v.Managers) != 1 || len(v.LoadBalancers) != 1 || v.Balanced < 1 || v.Instances != n || v.Up != n {
			return fmt.Errorf("views show %+v, want %d instances up behind one load balancer", v, n)
		}
		return nil
	}
}

// Gone is satisfied by empty views.
func Gone(v Views) error {
	if len(v.Managers)+len(v.ServerGroups)+len(v.LoadBalancers) > 0 {
		return fmt.Errorf("views still show %+v", v)
	}
	return nil
}

// ScaleBehind changes the replicas of the deployment directly at the API server, behind Spinnaker's back.
func (s *Story) ScaleBehind(ctx context.Context, replicas int) error {
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	_, err := s.Kube.AppsV1().Deployments(s.Namespace).Patch(ctx, s.App+"-web", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// Label sets a label of the service behind Spinnaker's back, and AwaitLabel waits until the cached load balancer has it: the freshness
// of one object, without what controllers and the scheduler add.
func (s *Story) Label(ctx context.Context, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"labels":{"freshness":%q}}}`, value)
	_, err := s.Kube.CoreV1().Services(s.Namespace).Patch(ctx, s.App+"-front", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// AwaitLabel waits until the cached view has the label, and returns how long that took.
func (s *Story) AwaitLabel(ctx context.Context, value string) (time.Duration, error) {
	began := time.Now()
	err := testenv.Wait(ctx, func(ctx context.Context) error {
		var balancers []struct {
			Account string
			Labels  map[string]string
		}
		if err := s.REST.Get(ctx, "/applications/"+url.PathEscape(s.App)+"/loadBalancers", &balancers); err != nil {
			return err
		}
		for _, b := range balancers {
			if b.Account == s.Account && b.Labels["freshness"] == value {
				return nil
			}
		}
		return fmt.Errorf("the cached load balancer of %s does not have label freshness=%s yet", s.Account, value)
	})
	return time.Since(began), err
}

// Delete deletes the story's deployment and service through POST /kubernetes/ops.
func (s *Story) Delete(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for _, name := range []string{"deployment " + s.App + "-web", "service " + s.App + "-front"} {
		task, _, err := s.REST.Run(ctx, testenv.Op{"deleteManifest": map[string]any{
			"account": s.Account, "cloudProvider": "kubernetes", "location": s.Namespace, "manifestName": name, "options": map[string]any{"cascading": true},
		}})
		if err != nil {
			return time.Since(began), err
		}
		if task.Status.Failed {
			return time.Since(began), &TaskError{Task: task}
		}
	}
	return time.Since(began), nil
}
