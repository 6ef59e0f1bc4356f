package agent

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// accounts that one agent serves, and how many changes each of them sees for a measurement.
const accounts, changes = 100, 5

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

// crowd is the accounts of one agent, each with an API server of its own (fakes: no machine runs a hundred real ones).
type crowd struct {
	*place

	clusters map[string]*fakekube.Cluster
	sinks    map[string]*seen
	round    int
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{place: newPlace(t), clusters: map[string]*fakekube.Cluster{}, sinks: map[string]*seen{}}
	fleet := fakekube.Start(t)
	for n := range accounts {
		name := fmt.Sprintf("account-%02d", n)
		cluster := fleet.Add(name)
		cluster.Populate(fakekube.Population{Applications: 2, Pods: 3, Namespaces: 1, Bytes: 2048})
		kubeconfig, err := cluster.Kubeconfig()
		if err != nil {
			t.Fatal(err)
		}
		c.write(name+".kubeconfig", string(kubeconfig))
		c.clusters[name] = cluster
	}
	c.configure(nil)
	c.start()
	return c
}

// configure writes the agent's file; others names kubeconfigs that accounts have in the place of their own.
func (c *crowd) configure(others map[string]string) {
	var entries []string
	for name := range c.clusters {
		entries = append(entries, fmt.Sprintf("{name: %s, kubeconfigFile: DIR/%s, kinds: [pod, deployment]}", name, cmp.Or(others[name], name+".kubeconfig")))
	}
	slices.Sort(entries)
	c.write("armory-agent.yml", "kubernetes: {accounts: ["+strings.Join(entries, ", ")+"]}")
}

// run watches the clusters of accounts until the test ends.
func (c *crowd) run(names ...string) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	for _, name := range names {
		cluster, sink := c.fleet.members[name].cluster, &seen{live: map[cats.Type]bool{}, at: map[string]time.Time{}}
		c.sinks[name] = sink
		cluster.CacheBy(&linkv1.CachePolicy{})
		ctx, stop := context.WithCancel(context.WithoutCancel(c.t.Context()))
		ended := make(chan struct{})
		go func() { defer close(ended); _ = cluster.Run(ctx, sink) }()
		c.t.Cleanup(func() { stop(); <-ended })
	}
}

// measure changes something in each cluster again and again and returns how long it takes until the agent has seen it, and how long reads take.
func (c *crowd) measure(names []string) (freshness, reads []time.Duration) {
	for range changes {
		c.round++
		pod := fmt.Sprintf("change-%d", c.round)
		made := map[string]time.Time{}
		for _, name := range names {
			made[name] = time.Now()
			if err := c.clusters[name].Put("pods", "team-0", pod, []byte(`{"spec":{},"status":{}}`)); err != nil {
				c.t.Fatal(err)
			}
		}
		for _, name := range names {
			c.eventually("account "+name+" has seen "+pod, func() bool { return !c.sinks[name].when(pod).IsZero() })
			freshness = append(freshness, c.sinks[name].when(pod).Sub(made[name]))
		}
		for _, name := range names {
			took, err := ask(c.t, c.cluster(name))
			if err != nil {
				c.t.Errorf("account %s: %v", name, err)
			}
			reads = append(reads, took)
		}
	}
	slices.Sort(freshness)
	slices.Sort(reads)
	return freshness, reads
}

func (c *crowd) cluster(name string) *cluster.Cluster {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	return c.fleet.members[name].cluster
}

// listings counts how often the agent listed kinds of accounts and began watches, but for what measure read.
func (c *crowd) listings(names []string) (n int) {
	n = -c.round * len(names)
	for _, name := range names {
		for _, plural := range []string{"pods", "deployments", "namespaces"} {
			n += c.clusters[name].Asked("list", plural) + c.clusters[name].Asked("watch", plural)
		}
	}
	return n
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

func TestAccountsThatFareBadlyHurtNobodyElse(t *testing.T) {
	c := newCrowd(t)
	all := slices.Sorted(maps.Keys(c.clusters))
	c.run(all...)
	c.eventually("every account is live", func() bool {
		return !slices.ContainsFunc(all, func(name string) bool { return !c.sinks[name].isLive("pod") || !c.sinks[name].isLive("deployment") })
	})

	// The first ones will fare badly, each in its own way. What the others are like before that is what they are to be like after it.
	others := map[string]string{}
	for way, server := range bad(t) {
		c.kubeconfig(way+".kubeconfig", server, "token")
		others[all[len(others)]] = way + ".kubeconfig"
	}
	expired, garbled := all[len(others)], all[len(others)+1]
	good := all[len(others)+2:]
	quietFresh, quietReads := c.measure(good)

	content, err := os.ReadFile(c.file(expired + ".kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := clientcmd.Load(content)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range kubeconfig.AuthInfos {
		user.Token = "expired"
	}
	if err := clientcmd.WriteToFile(*kubeconfig, c.file("expired.kubeconfig")); err != nil {
		t.Fatal(err)
	}
	others[expired] = "expired.kubeconfig"
	before := c.listings(good)
	was := map[string]*cluster.Cluster{}
	for name := range others {
		was[name] = c.cluster(name)
	}
	c.clusters[garbled].Fault(fakekube.Fault{Break: fakekube.Garble})
	c.clusters[garbled].Sever()
	c.configure(others)
	delete(was, expired) // the same API server: the same cluster
	for name := range was {
		c.eventually("account "+name+" has another API server, and so another cluster", func() bool { return c.cluster(name) != was[name] })
		c.run(name)
	}
	fresh, reads := c.measure(good)
	c.eventually("what is wrong with the bad ones is told", func() bool {
		for name, file := range others {
			// The last two are in their time limits still.
			if c.cluster(name).Status().Problem == "" && name != expired && file != "hanging.kubeconfig" && file != "endless.kubeconfig" {
				return false
			}
		}
		_, err := ask(t, c.cluster(expired))
		return err != nil && slices.ContainsFunc(c.cluster(garbled).Status().Kinds, func(k cluster.KindStatus) bool { return k.Error != "" })
	})
	again, readsAgain := c.measure(good)

	t.Logf("%d good accounts alone: a change is seen after %s, 99 of 100 within %s; a read takes %s, %s", len(good), quietFresh[len(quietFresh)/2], p99(quietFresh), quietReads[len(quietReads)/2], p99(quietReads))
	t.Logf("beside %d bad ones: %s, %s; %s, %s", len(all)-len(good), again[len(again)/2], p99(again), readsAgain[len(readsAgain)/2], p99(readsAgain))
	// The machine may be busy with anything: what is asserted is that nobody waits for another account's time limits, which are seconds and minutes.
	limit := func(quiet []time.Duration) time.Duration { return 10*p99(quiet) + 2*time.Second }
	for what, d := range map[string][2]time.Duration{"a change is seen": {p99(fresh), limit(quietFresh)}, "a read takes": {p99(reads), limit(quietReads)},
		"later, a change is seen": {p99(again), limit(quietFresh)}, "later, a read takes": {p99(readsAgain), limit(quietReads)}} {
		if d[0] > d[1] {
			t.Errorf("beside bad accounts %s after %s, at most %s are allowed", what, d[0], d[1])
		}
	}
	if after := c.listings(good); after != before {
		t.Errorf("%d lists and watches of the good accounts began meanwhile", after-before)
	}
	for name := range others {
		if name != expired && c.sinks[name].isLive("pod") {
			t.Errorf("account %s is live", name)
		}
	}
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
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = client.CoreV1().Pods("team-0").List(ctx, metav1.ListOptions{})
	return time.Since(began), err
}
