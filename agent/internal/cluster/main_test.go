package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/testenv"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Sink that keeps what a real one would.
type recorder struct {
	mu sync.Mutex
	// objects by type and key; listing while a Begin is open.
	objects map[cats.Type]map[string]map[string]any
	seen    map[cats.Type]map[string]bool
	live    map[cats.Type]bool
	dropped map[cats.Type]string
	begins  map[cats.Type]int
	watches [][]cats.Type
	facts   *linkv1.Facts
	// hold, while not nil, blocks Put and Delete of a type until it is closed.
	hold     map[cats.Type]chan struct{}
	held     atomic.Int64
	problems []string
}

func newRecorder() *recorder {
	return &recorder{
		objects: map[cats.Type]map[string]map[string]any{}, seen: map[cats.Type]map[string]bool{}, live: map[cats.Type]bool{},
		dropped: map[cats.Type]string{}, begins: map[cats.Type]int{}, hold: map[cats.Type]chan struct{}{},
	}
}

func (r *recorder) wait(ctx context.Context, t cats.Type) error {
	r.mu.Lock()
	hold := r.hold[t]
	r.mu.Unlock()
	if hold == nil {
		return nil
	}
	r.held.Add(1)
	defer r.held.Add(-1)
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *recorder) Watches(types []cats.Type) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches = append(r.watches, types)
}

func (r *recorder) Begin(t cats.Type) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begins[t]++
	r.live[t] = false
	r.seen[t] = map[string]bool{}
	delete(r.dropped, t)
	if len(r.watches) == 0 || !slices.Contains(r.watches[len(r.watches)-1], t) {
		r.problems = append(r.problems, fmt.Sprintf("Begin of %s, which is not among the watched kinds %v", t, r.watches))
	}
}

func (r *recorder) Put(ctx context.Context, object map[string]any) error {
	key, err := cats.KeyOf(object)
	if err != nil {
		return err
	}
	if err := r.wait(ctx, key.Type); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begins[key.Type] == 0 {
		r.problems = append(r.problems, "Put without Begin: "+key.String())
	}
	if r.objects[key.Type] == nil {
		r.objects[key.Type] = map[string]map[string]any{}
	}
	r.objects[key.Type][key.Path()] = object
	if seen := r.seen[key.Type]; seen != nil {
		seen[key.Path()] = true
	}
	return nil
}

func (r *recorder) Delete(ctx context.Context, key cats.Key) error {
	if err := r.wait(ctx, key.Type); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.objects[key.Type], key.Path())
	return nil
}

func (r *recorder) Live(t cats.Type) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[t] == nil {
		r.problems = append(r.problems, fmt.Sprintf("Live of %s without Begin", t))
	}
	for path := range r.objects[t] {
		if !r.seen[t][path] {
			delete(r.objects[t], path)
		}
	}
	r.seen[t] = nil
	r.live[t] = true
}

func (r *recorder) Drop(t cats.Type, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.objects, t)
	delete(r.live, t)
	r.dropped[t] = reason
}

func (r *recorder) Facts(f *linkv1.Facts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts = f
}

// paths returns the keys of a type, those of a namespace only.
func (r *recorder) paths(t cats.Type, namespace string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Sorted(maps.Keys(r.objects[t]))
	return slices.DeleteFunc(all, func(p string) bool { return !strings.HasPrefix(p, namespace+"/") })
}

func (r *recorder) object(t cats.Type, path string) map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.objects[t][path]
}

func (r *recorder) get(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *recorder) isLive(types ...cats.Type) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range types {
		if !r.live[t] {
			return false
		}
	}
	return true
}

// bench is one account of a control plane, watched by a recorder.
type bench struct {
	t       *testing.T
	cluster *Cluster
	sink    *recorder
	admin   dynamic.Interface
	// namespace is the test's own.
	namespace string
	logs      *logs
}

var benches atomic.Int64

// on starts watching a control plane; change adapts the account and its kubeconfig.
func on(t *testing.T, kubeconfig string, change func(*config.Account, *api.Config)) *bench {
	t.Helper()
	b := prepare(t, kubeconfig, change)
	b.run()
	return b
}

func prepare(t *testing.T, kubeconfig string, change func(*config.Account, *api.Config)) *bench {
	t.Helper()
	b := &bench{t: t, sink: newRecorder(), namespace: fmt.Sprintf("watch-%d-%d", os.Getpid()%1000, benches.Add(1)), logs: &logs{}}
	loaded, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	b.admin = adminOf(t, kubeconfig)
	account := config.Account{Name: "acct", KubeconfigFile: filepath.Join(t.TempDir(), "kubeconfig")}
	if change != nil {
		change(&account, loaded)
	}
	for i, ns := range account.Namespaces {
		account.Namespaces[i] = strings.ReplaceAll(ns, "NAMESPACE", b.namespace)
	}
	if err := clientcmd.WriteToFile(*loaded, account.KubeconfigFile); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(b.logs), &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.cluster, err = New(account, Options{Log: log, UserAgent: "fairlead-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.cluster.Close)
	// A test that names kinds is about these, whether they are cached by default or not.
	b.cluster.CacheBy(&linkv1.CachePolicy{Kinds: account.Kinds})
	b.cluster.timing = timing{
		retry: 20 * time.Millisecond, mostRetry: 500 * time.Millisecond, deniedFor: 500 * time.Millisecond, deniedRetry: 300 * time.Millisecond,
		settle: 20 * time.Millisecond, rediscover: time.Minute, slotWait: time.Second,
		eventsFor: 2 * time.Hour, refill: 50 * time.Millisecond,
	}
	return b
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.cluster.Run(ctx, b.sink) }()
	b.t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				b.t.Error(err)
			}
		case <-time.After(10 * time.Second):
			b.t.Error("Run does not end")
		}
		for _, p := range b.sink.problems {
			b.t.Error(p)
		}
		if b.t.Failed() {
			b.t.Log(b.logs.String())
			status, _ := json.MarshalIndent(b.cluster.Status(), "", " ")
			b.t.Log(string(status))
		}
	})
}

func adminOf(t *testing.T, kubeconfig string) dynamic.Interface {
	t.Helper()
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c.QPS = -1
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(client.Transport) })
	admin, err := dynamic.NewForConfigAndClient(c, client)
	if err != nil {
		t.Fatal(err)
	}
	return admin
}

// logs keeps what was logged for when a test fails.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (b *bench) eventually(what string, is func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			b.t.Fatalf("not so after 30 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var resources = map[string]schema.GroupVersionResource{
	"ConfigMap": {Version: "v1", Resource: "configmaps"}, "Namespace": {Version: "v1", Resource: "namespaces"}, "Pod": {Version: "v1", Resource: "pods"},
	"Service": {Version: "v1", Resource: "services"}, "Secret": {Version: "v1", Resource: "secrets"},
	"Deployment": {Group: "apps", Version: "v1", Resource: "deployments"}, "StatefulSet": {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"DaemonSet": {Group: "apps", Version: "v1", Resource: "daemonsets"}, "ReplicaSet": {Group: "apps", Version: "v1", Resource: "replicasets"},
	"Job": {Group: "batch", Version: "v1", Resource: "jobs"}, "CronJob": {Group: "batch", Version: "v1", Resource: "cronjobs"},
	"Ingress":                  {Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	"NetworkPolicy":            {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	"ClusterRole":              {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
	"ClusterRoleBinding":       {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
	"RoleBinding":              {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	"CustomResourceDefinition": {Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	"APIService":               {Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"},
	"Event":                    {Version: "v1", Resource: "events"},
	"CronTab":                  {Group: "watch.example.com", Version: "v1", Resource: "crontabs"},
}

// make creates an object; "" for namespace means cluster-scoped.
func (b *bench) make(namespace, manifest string) {
	b.t.Helper()
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(manifest), &object.Object); err != nil {
		b.t.Fatal(err, manifest)
	}
	if _, err := b.in(namespace, object.GetKind()).Create(context.Background(), object, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) in(namespace, kind string) dynamic.ResourceInterface {
	if namespace == "" {
		return b.admin.Resource(resources[kind])
	}
	return b.admin.Resource(resources[kind]).Namespace(namespace)
}

func (b *bench) remove(namespace, kind, name string) {
	b.t.Helper()
	zero := int64(0)
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{GracePeriodSeconds: &zero, PropagationPolicy: &background}
	if err := b.in(namespace, kind).Delete(context.Background(), name, options); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) makeNamespace() {
	b.t.Helper()
	b.make("", fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, b.namespace))
	b.t.Cleanup(func() { _ = b.in("", "Namespace").Delete(context.Background(), b.namespace, metav1.DeleteOptions{}) })
}

func configMap(name string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"k":"v"}}`, name)
}

// proxy stands between a cluster and its API server, and can cut.
type proxy struct {
	t        *testing.T
	listener net.Listener
	target   string
	mu       sync.Mutex
	cut      bool
	open     map[net.Conn]bool
	all      sync.WaitGroup
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: listener, target: u.Host, open: map[net.Conn]bool{}}
	p.all.Go(p.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		p.set(true)
		p.all.Wait()
	})
	return p
}

func (p *proxy) url() string { return "https://" + p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		cut := p.cut
		p.mu.Unlock()
		far, err := net.Dial("tcp", p.target)
		if cut || err != nil {
			_ = near.Close()
			if err == nil {
				_ = far.Close()
			}
			continue
		}
		p.mu.Lock()
		p.open[near], p.open[far] = true, true
		p.mu.Unlock()
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			p.all.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = near.Close()
				_ = far.Close()
			})
		}
	}
}

// set cuts every connection and lets none through, or lets them through again.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.open {
			_ = c.Close()
		}
		p.open = map[net.Conn]bool{}
	}
}

func throughProxy(t *testing.T, kubeconfig string) (*proxy, func(*config.Account, *api.Config)) {
	t.Helper()
	loaded, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range loaded.Clusters {
		p := newProxy(t, c.Server)
		return p, func(_ *config.Account, k *api.Config) {
			for _, c := range k.Clusters {
				c.Server = p.url()
			}
		}
	}
	t.Fatal("no cluster in the kubeconfig")
	return nil, nil
}

func plane(t *testing.T) string {
	t.Helper()
	return testenv.Kube(t).Kubeconfig
}
