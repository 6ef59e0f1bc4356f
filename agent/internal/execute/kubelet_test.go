package execute

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// bigLog is how many bytes the container "big" has logged.
const bigLog = 100 << 20

// serve starts a TLS server of the test and returns its port.
func serve(t *testing.T, h http.Handler) int {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// node adds a Node whose kubelet is the test. What a container has logged depends on its name alone.
func (w *world) node() string {
	w.t.Helper()
	port := serve(w.t, http.HandlerFunc(kubelet))
	name := "kubelet-" + strings.TrimPrefix(w.ours, "agent-") // not the name of a namespace, which is blanked
	w.must("", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"`+name+`"}}`, "create", "-f", "-")
	w.t.Cleanup(func() { w.kubectl("", "", "delete", "node", name) })
	w.must("", "", "patch", "node", name, "--subresource=status", "--type=merge", "--patch",
		fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":"127.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":%d}},"conditions":[{"type":"Ready","status":"True"}]}}`, port))
	return name
}

func (w *world) must(namespace, stdin string, arguments ...string) {
	w.t.Helper()
	if out := w.kubectl(namespace, stdin, arguments...); out.exit != 0 {
		w.t.Fatalf("%v: %s", arguments, out.stderr)
	}
}

func kubelet(answer http.ResponseWriter, request *http.Request) {
	part := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	if len(part) != 4 || part[0] != "containerLogs" {
		http.Error(answer, "no such place: "+request.URL.Path, http.StatusNotFound)
		return
	}
	switch container := part[3]; container {
	case "silent":
	case "broken":
		http.Error(answer, "the log cannot be read", http.StatusInternalServerError)
	case "waiting":
		http.Error(answer, `container "waiting" in pod "`+part[2]+`" is waiting to start: ContainerCreating`, http.StatusBadRequest)
	case "big":
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range bigLog / len(line) {
			if _, err := answer.Write(line); err != nil {
				return
			}
		}
	case "endless":
		for request.Context().Err() == nil {
			if _, err := io.WriteString(answer, "still here\n"); err != nil {
				return
			}
			answer.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	default:
		asked := request.URL.Query()
		asked.Del("sinceTime")
		fmt.Fprintf(answer, "%s was asked for %q\nünïcode \x1b[31mred\x1b[0m\n<no> & line end", container, asked.Encode())
	}
}

// metricsAPI puts a metrics API behind the API server, which is the test.
func (w *world) metricsAPI(namespaces ...string) {
	w.t.Helper()
	port := serve(w.t, metrics{namespaces})
	w.must(w.stock, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"metrics"},"spec":{"type":"ExternalName","externalName":"localhost"}}`, "create", "-f", "-")
	w.must("", fmt.Sprintf(`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1beta1.metrics.k8s.io"},"spec":{"group":"metrics.k8s.io","version":"v1beta1",
"insecureSkipTLSVerify":true,"groupPriorityMinimum":100,"versionPriority":100,"service":{"namespace":%q,"name":"metrics","port":%d}}}`, w.stock, port), "create", "-f", "-")
	w.t.Cleanup(func() { w.kubectl("", "", "delete", "apiservice", "v1beta1.metrics.k8s.io") })
	w.await("the metrics API", func(w *world, _ string) bool {
		return w.kubectl("", "", "get", "--raw", "/apis/metrics.k8s.io/v1beta1").exit == 0
	})
}

// metrics answers like the metrics server, for pods "web-1" and "web-2".
type metrics struct{ namespaces []string }

func (m metrics) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	answer.Header().Set("Content-Type", "application/json")
	send := func(v any) { _ = json.NewEncoder(answer).Encode(v) }
	place := strings.TrimPrefix(request.URL.Path, "/apis/metrics.k8s.io/v1beta1")
	for _, ns := range m.namespaces {
		web2 := podMetrics(ns, "web-2", map[string][2]string{"c": {"12345678n", "300Mi"}})
		web1 := podMetrics(ns, "web-1", map[string][2]string{"sidecar": {"0", "1Ki"}, "main-container": {"1500m", "2Gi"}})
		switch place {
		case "/namespaces/" + ns + "/pods":
			items := []any{web2, web1}
			if labels, _ := url.QueryUnescape(request.URL.Query().Get("labelSelector")); labels != "" {
				items = []any{}
			}
			send(map[string]any{"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": map[string]any{}, "items": items})
			return
		case "/namespaces/" + ns + "/pods/web-1":
			send(web1)
			return
		}
	}
	if place == "" {
		send(map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1", "resources": []any{
			map[string]any{"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": []string{"get", "list"}}}})
		return
	}
	answer.WriteHeader(http.StatusNotFound)
	name := place[strings.LastIndex(place, "/")+1:]
	send(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
		"message": fmt.Sprintf("podmetrics.metrics.k8s.io %q not found", name), "details": map[string]any{"group": "metrics.k8s.io", "kind": "podmetrics", "name": name}})
}

func podMetrics(namespace, name string, containers map[string][2]string) map[string]any {
	var all []any
	for c, used := range containers {
		all = append(all, map[string]any{"name": c, "usage": map[string]any{"cpu": used[0], "memory": used[1]}})
	}
	return map[string]any{"kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": map[string]any{"name": name, "namespace": namespace},
		"timestamp": "2026-01-02T03:04:05Z", "window": "10s", "containers": all}
}
