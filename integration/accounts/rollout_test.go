package accounts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/testenv"
)

// rollout replaces a pod of Clouddriver and bridge by another one, as a Deployment does, while something is deployed ten times a second: the
// new pod is in service once it is ready, then the old one is taken out and told to end.
func (s *site) rollout(t *testing.T) {
	ctx := within(t, 5*time.Minute)
	const oldPod, newPod = 0, 2
	// Until now the new pod was not there.
	must(t, s.endPod(ctx, newPod))
	service := newFront(t)
	service.join(s.Clouddrivers[oldPod].URL)
	service.join(s.Clouddrivers[1].URL)

	group, starting := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Start(starting, "bridge", newPod) })
	group.Go(func() error { return s.Start(starting, "clouddriver", newPod) })
	// Until it answers at all, a Clouddriver that starts costs time and tells nothing: two cores have enough to do with it.
	must(t, testenv.Wait(ctx, func(ctx context.Context) error { return answering(ctx, s.Clouddrivers[newPod].URL) }))
	load := &load{rest: &testenv.REST{URL: service.URL}}
	loading, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); load.run(loading) }()
	began := time.Now()
	err := group.Wait()
	if err == nil {
		service.join(s.Clouddrivers[newPod].URL)
		service.leave(s.Clouddrivers[oldPod].URL)
		err = s.endPod(ctx, oldPod)
	}
	more := load.count() + 30 // by the new pod
	if err == nil {
		err = testenv.Wait(ctx, func(context.Context) error {
			if n := load.count(); n < more {
				return fmt.Errorf("%d deploys of %d have ended", n, more)
			}
			return nil
		})
	}
	stop()
	<-ended
	must(t, err)
	t.Logf("%d deploys in %s, %d failed", load.count(), time.Since(began).Round(time.Second), len(load.failed))
	for _, failure := range load.failed {
		t.Error(failure)
	}
}

func answering(ctx context.Context, pod string) error {
	err := (&testenv.REST{URL: pod}).Get(ctx, "/health", nil)
	var status *testenv.StatusError
	if errors.As(err, &status) {
		return nil
	}
	return err
}

// endPod has a bridge and its Clouddriver end at one time.
func (s *site) endPod(ctx context.Context, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Stop(ctx, "clouddriver", n, false) })
	group.Go(func() error { return s.Stop(ctx, "bridge", n, false) })
	return group.Wait()
}

// load deploys ten times a second, as far as there is room for it.
type load struct {
	rest *testenv.REST

	mu     sync.Mutex
	ended  int
	failed []error
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// run begins deploys until ctx ends, and waits for those that it began.
func (l *load) run(ctx context.Context) {
	deploys, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	var begun sync.WaitGroup
	defer begun.Wait()
	room := make(chan struct{}, 40) // more than wait in four seconds: the machine is too slow for this rate, and more load would tell nothing
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		begun.Go(func() {
			defer func() { <-room }()
			err := l.deploy(deploys, n)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ended++
			if err != nil {
				l.failed = append(l.failed, fmt.Errorf("deploy %d: %w", n, err))
			}
		})
	}
}

func (l *load) deploy(ctx context.Context, n int) error {
	task, _, err := l.rest.Run(ctx, testenv.Deploy("demo", "rollout", map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprintf("rollout-%d", n%50), "namespace": "default"},
		"data": map[string]any{"n": fmt.Sprint(n)}}))
	if err == nil && task.Status.Failed {
		err = fmt.Errorf("%s: %v", task.Status.Status, task.History)
	}
	return err
}

// front stands for Kubernetes' Service of Clouddriver: it gives requests in turns to the pods that are in service.
type front struct {
	URL string

	mu   sync.Mutex
	next int
	pods []string
}

func newFront(t *testing.T) *front {
	f := &front{}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(f.pod()) }}
	server := httptest.NewServer(proxy)
	t.Cleanup(func() { server.Close(); transport.CloseIdleConnections() })
	f.URL = server.URL
	return f
}

func (f *front) join(pod string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods = append(f.pods, pod)
}

func (f *front) leave(pod string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods = slices.DeleteFunc(f.pods, func(p string) bool { return p == pod })
}

func (f *front) pod() *url.URL {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	pod, err := url.Parse(f.pods[f.next%len(f.pods)])
	if err != nil {
		panic(err)
	}
	return pod
}

// service stands for Kubernetes' Service of the bridges: a connection goes to the first one that takes it.
type service struct {
	listener net.Listener

	mu      sync.Mutex
	bridges []string
	open    []net.Conn
	all     sync.WaitGroup
}

func newService(t *testing.T) *service {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	s := &service{listener: listener}
	s.all.Go(s.run)
	t.Cleanup(func() {
		_ = listener.Close()
		s.mu.Lock()
		for _, c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.all.Wait()
	})
	return s
}

func (s *service) address() string { return s.listener.Addr().String() }

func (s *service) add(bridge string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.bridges, bridge) {
		s.bridges = append(s.bridges, bridge)
	}
}

func (s *service) run() {
	for {
		near, err := s.listener.Accept()
		if err != nil {
			return
		}
		far, err := s.dial()
		if err != nil {
			_ = near.Close()
			continue
		}
		s.mu.Lock()
		s.open = append(s.open, near, far)
		s.mu.Unlock()
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			s.all.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				_ = way[0].Close()
			})
		}
	}
}

func (s *service) dial() (far net.Conn, err error) {
	s.mu.Lock()
	bridges := slices.Clone(s.bridges)
	s.mu.Unlock()
	for _, b := range bridges {
		if far, err = net.DialTimeout("tcp", b, 5*time.Second); err == nil {
			return far, nil
		}
	}
	return nil, err
}
