package execute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

func TestOperationsAtTheSameTimeReadASchemaOnce(t *testing.T) {
	w := newWorld(t)
	there, err := clientcmd.BuildConfigFromFlags("", w.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(there)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(there.Host)
	if err != nil {
		t.Fatal(err)
	}
	var indexes, documents atomic.Int32
	forward := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(server) }}
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/openapi/v3":
			indexes.Add(1)
		case strings.HasPrefix(r.URL.Path, "/openapi/v3/"):
			documents.Add(1)
		}
		forward.ServeHTTP(rw, r)
	}))
	defer func() {
		proxy.Close()
		utilnet.CloseIdleConnectionsFor(transport)
	}()
	v := w.variant("counted", func(c *api.Config) {
		for name := range c.Clusters {
			c.Clusters[name] = &api.Cluster{Server: proxy.URL}
		}
		c.AuthInfos = nil
		for _, each := range c.Contexts {
			each.AuthInfo = ""
		}
	})
	// Only an apply over something that is there needs the schema.
	for round := range 2 {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if o := v.executor.Run(t.Context(), apply(deployment(fmt.Sprint("web-", i), fmt.Sprint("i:", round), 0, "")).op(w.ours), io.Discard); len(o.GetFailures()) > 0 {
					t.Error(o)
				}
			})
		}
		all.Wait()
	}
	if indexes.Load() != 1 || documents.Load() != 1 {
		t.Errorf("the index was read %d times, the document %d times", indexes.Load(), documents.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v.executor.schemas.reading <- struct{}{} // an operation reads, and nothing comes
	if _, err := (schemaRoot{ctx: ctx, account: v.executor.schemas}).GVSpec(schema.GroupVersion{Group: "batch", Version: "v1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("an operation that was cancelled while it waited: %v", err)
	}
}
