package cluster

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/agent/internal/config"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// meddler stands between a cluster and its API server and answers some requests itself: with faults that a real API server does not give
// when a test wants them. Everything else is the real one's.
type meddler struct {
	url    string
	server *httptest.Server
	// watches of config maps that are open.
	watches atomic.Int64

	mu sync.Mutex
	// answer tells whether it has answered; nil: the API server does.
	answer func(w http.ResponseWriter, r *http.Request) bool
	// asked are the queries of config maps, in order.
	asked []url.Values
}

func meddle(t *testing.T, kubeconfig string) (*meddler, func(*config.Account, *api.Config)) {
	t.Helper()
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(c)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(c.Host)
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{}
	forward := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		// Every listing has pages.
		if q := r.Out.URL.Query(); q.Get("limit") == "500" {
			q.Set("limit", "2")
			r.Out.URL.RawQuery = q.Encode()
		}
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		answer := m.answer
		mine := strings.HasSuffix(r.URL.Path, "/configmaps")
		if mine && isWatch(r.URL.Query()) {
			m.watches.Add(1)
			defer m.watches.Add(-1)
		}
		if mine {
			m.asked = append(m.asked, r.URL.Query())
		}
		m.mu.Unlock()
		if !mine || answer == nil || !answer(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	m.url, m.server = server.URL, server
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return m, func(a *config.Account, k *api.Config) {
		a.Kinds = []string{"cm"}
		for _, c := range k.Clusters {
			*c = api.Cluster{Server: m.url}
		}
		for _, u := range k.AuthInfos {
			*u = api.AuthInfo{}
		}
	}
}

// instead answers the first n requests that fit; n < 0: all.
func (m *meddler) instead(n int, fits func(url.Values) bool, answer func(url.Values) (status int, body string)) {
	var mu sync.Mutex
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		fit := n != 0 && fits(r.URL.Query())
		if fit {
			n--
		}
		mu.Unlock()
		if !fit {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		status, body := answer(r.URL.Query())
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
		return true
	}
}

// cut ends every connection, and with them the watches.
func (m *meddler) cut() { m.server.CloseClientConnections() }

// queries are those that were asked and fit.
func (m *meddler) queries(fits func(url.Values) bool) (list []url.Values) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.asked {
		if fits(q) {
			list = append(list, q)
		}
	}
	return list
}

func isWatch(q url.Values) bool { return q.Get("watch") != "" }
func isLater(q url.Values) bool { return q.Get("continue") != "" }
func isFirst(q url.Values) bool { return q.Get("limit") != "" && q.Get("continue") == "" }

func always(status int, body string) func(url.Values) (int, string) {
	return func(url.Values) (int, string) { return status, body }
}
