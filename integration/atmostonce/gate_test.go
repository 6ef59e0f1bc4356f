package atmostonce

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// gate stands between an agent and a real API server. It can keep a request before the server gets it, or its answer before the agent does: the
// moments between which an effect happens. It is the fault; the server behind it is real.
type gate struct {
	server *httptest.Server

	mu      sync.Mutex
	proxy   *httputil.ReverseProxy
	holds   []*hold
	changes []string // "METHOD path" of each request that may change something
}

// hold is what is kept.
type hold struct {
	match  func(*http.Request) bool
	answer bool // the answer, not the request
	// arrived gets a value for each request that is kept; cancelled for each that its sender gave up; released lets all go.
	arrived, cancelled chan struct{}
	released           chan struct{}
	once               sync.Once
}

func newGate(t *testing.T) *gate {
	g := &gate{}
	g.server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(func() {
		g.mu.Lock()
		holds := g.holds
		g.mu.Unlock()
		for _, h := range holds {
			h.release()
		}
		g.server.CloseClientConnections()
		g.server.Close()
	})
	return g
}

// open lets requests through to the API server of an administrator's kubeconfig.
func (g *gate) open(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return err
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			if h := g.find(r.Request, true); h != nil {
				h.keep(r.Request.Context())
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.proxy = proxy
	return nil
}

// kubeconfig is a file for the agent. The gate speaks to the API server for it.
func (g *gate) kubeconfig(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(g.server.URL, "http://"), ":", "-")+".kubeconfig")
	content := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: none}}]\n" +
		"clusters: [{name: c, cluster: {server: \"" + g.server.URL + "\"}}]\n"
	must(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // once all of it is read, the end of the connection is noticed
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mu.Lock()
	proxy := g.proxy
	g.mu.Unlock()
	if proxy == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if h := g.find(r, false); h != nil && !h.keep(r.Context()) {
		return
	}
	if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "selfsubject") {
		g.mu.Lock()
		g.changes = append(g.changes, r.Method+" "+r.URL.Path)
		g.mu.Unlock()
	}
	proxy.ServeHTTP(w, r)
}

func (g *gate) find(r *http.Request, answer bool) *hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.holds {
		if h.answer == answer && h.match(r) {
			return h
		}
	}
	return nil
}

// keep waits until the hold is released; false when the sender gave up before.
func (h *hold) keep(ctx context.Context) bool {
	select {
	case h.arrived <- struct{}{}:
	default:
	}
	select {
	case <-h.released:
		return true
	case <-ctx.Done():
		select {
		case h.cancelled <- struct{}{}:
		default:
		}
		return false
	}
}

func (h *hold) release() { h.once.Do(func() { close(h.released) }) }

// hold keeps requests of a method whose path contains a text, or their answers.
func (g *gate) hold(t *testing.T, answer bool, method, path string) *hold {
	h := &hold{answer: answer, arrived: make(chan struct{}, 1000), cancelled: make(chan struct{}, 1000), released: make(chan struct{}),
		match: func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, path) }}
	g.mu.Lock()
	g.holds = append(g.holds, h)
	g.mu.Unlock()
	t.Cleanup(func() {
		h.release()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.holds = slices.DeleteFunc(g.holds, func(other *hold) bool { return other == h })
	})
	return h
}

// changed counts the requests that reached the API server and may have changed something, by method and a part of their path.
func (g *gate) changed(method, path string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.changes {
		if strings.HasPrefix(c, method+" ") && strings.Contains(c, path) {
			n++
		}
	}
	return n
}
