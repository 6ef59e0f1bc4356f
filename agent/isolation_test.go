package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/testenv"
)

// healthy is how many accounts have nothing wrong with them.
const healthy = 40

// seen is what one account's cluster told.
type seen struct {
	mu   sync.Mutex
	live map[cats.Type]bool
	at   map[string]time.Time // of objects, by name
}

func (s *seen) Watches([]cats.Type)    {}
func (s *seen) Begin(cats.Type)        {}
func (s *seen) Drop(cats.Type, string) {}
func (s *seen) Facts(*linkv1.Facts)    {}
func (s *seen) Live(t cats.Type) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[t] = true
}
func (s *seen) Delete(context.Context, cats.Key) error { return nil }
func (s *seen) Put(_ context.Context, obj map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _, _ := strings.Cut(fmt.Sprint(obj["metadata"].(map[string]any)["name"]), "/")
	if _, known := s.at[name]; !known {
		s.at[name] = time.Now()
	}
	return nil
}

func (s *seen) isLive(t cats.Type) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[t]
}

func (s *seen) when(name string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[name]
}

// bad returns API servers that are wrong in one way each: fault fakes.
func bad(t *testing.T) map[string]string {
	t.Helper()
	serve := func(handler http.HandlerFunc) string {
		s := httptest.NewServer(handler)
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		return s.URL
	}
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hanging.Close() })
	return map[string]string{
		"dead-dns":  "https://nowhere.invalid",
		"hanging":   "http://" + hanging.Addr().String(),
		"redirects": serve(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"/x", http.StatusFound) }),
		"garbage": serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind": "`+strings.Repeat("{", 1000))
		}),
		"endless": serve(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond) // a slow server, so that the test does not busy the machine
			}
		}),
	}
}

func TestAccountsThatFareBadlyHurtNobodyElse(t *testing.T) {
	p := newPlace(t)
	admin, err := clientcmd.BuildConfigFromFlags("", testenv.Kube(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var entries []string
	add := func(name, kubeconfig string) {
		entries = append(entries, fmt.Sprintf("{name: %s, kubeconfigFile: '%s', namespaces: [isolation], kinds: [pod, deployment]}", name, kubeconfig))
	}
	for n := range healthy {
		add(fmt.Sprintf("good-%02d", n), testenv.Kube(t).Kubeconfig)
	}
	for name, server := range bad(t) {
		p.kubeconfig(name+".kubeconfig", server, "token")
		add(name, p.file(name+".kubeconfig"))
	}
	p.kubeconfig("expired.kubeconfig", "http://expired.invalid", "expired")
	expired, err := clientcmd.LoadFromFile(testenv.Kube(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range expired.AuthInfos {
		user.Token, user.TokenFile, user.ClientCertificate, user.ClientKey, user.ClientCertificateData, user.ClientKeyData = "expired", "", "", "", nil, nil
	}
	if err := clientcmd.WriteToFile(*expired, p.file("expired.kubeconfig")); err != nil {
		t.Fatal(err)
	}
	add("expired", p.file("expired.kubeconfig"))
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "isolation"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.write("armory-agent.yml", "kubernetes: {accounts: ["+strings.Join(entries, ", ")+"]}")
	p.start()
	if n := len(p.records()); n != healthy+6 {
		t.Fatalf("%d accounts are served", n)
	}

	sinks, clusters := map[string]*seen{}, map[string]*cluster.Cluster{}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	p.fleet.mu.Lock()
	for name, m := range p.fleet.members {
		s, c := &seen{live: map[cats.Type]bool{}, at: map[string]time.Time{}}, m.cluster
		sinks[name], clusters[name] = s, c
		c.CacheBy(&linkv1.CachePolicy{})
		running.Go(func() { _ = c.Run(ctx, s) })
	}
	p.fleet.mu.Unlock()
	defer func() { stop(); running.Wait() }()
	good := func(each func(name string) bool) func() bool {
		return func() bool {
			for n := range healthy {
				if !each(fmt.Sprintf("good-%02d", n)) {
					return false
				}
			}
			return true
		}
	}
	began := time.Now()
	p.eventually("every healthy account is live", good(func(name string) bool { return sinks[name].isLive("pod") && sinks[name].isLive("deployment") }))
	t.Logf("%d healthy accounts are live after %s", healthy, time.Since(began).Round(time.Millisecond))
	for round := range 3 {
		name := fmt.Sprintf("pod-%d", round)
		made := time.Now()
		if _, err := client.CoreV1().Pods("isolation").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		p.eventually("every healthy account has seen the change", good(func(account string) bool { return !sinks[account].when(name).IsZero() }))
		var slowest time.Duration
		for n := range healthy {
			slowest = max(slowest, sinks[fmt.Sprintf("good-%02d", n)].when(name).Sub(made))
		}
		t.Logf("a change was seen by all after %s at most", slowest.Round(time.Millisecond))
	}
	var slowest time.Duration
	for n := range healthy {
		took, err := ask(t, clusters[fmt.Sprintf("good-%02d", n)])
		if err != nil {
			t.Error(err)
		}
		slowest = max(slowest, took)
	}
	t.Logf("a read of a healthy account took %s at most", slowest.Round(time.Millisecond))
	for name, s := range sinks {
		if !strings.HasPrefix(name, "good-") && s.isLive("pod") {
			t.Errorf("account %s is live", name)
		}
	}
	p.eventually("what is wrong with the others is told", func() bool {
		for name, c := range clusters {
			if !strings.HasPrefix(name, "good-") && name != "hanging" && name != "endless" && c.Status().Problem == "" {
				return false // those two are in their time limits still
			}
		}
		return true
	})
}

// ask reads something as an operation would.
func ask(t *testing.T, c *cluster.Cluster) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	config, err := c.Client(ctx).ToRESTConfig()
	if err != nil {
		return 0, err
	}
	client, err := kubernetes.NewForConfig(rest.CopyConfig(config))
	if err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = client.CoreV1().Pods("isolation").List(ctx, metav1.ListOptions{})
	return time.Since(began), err
}
