package operations

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// loggingNode is a node whose kubelet is the test: kwok plays its pods, and the test answers for their logs.
const loggingNode = "logging"

// server starts a TLS server of the test and returns its port.
func server(t *testing.T, h http.HandlerFunc) int {
	return startServer(t, h).Listener.Addr().(*net.TCPAddr).Port
}

func startServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return s
}

// addLoggingNode runs kubectl as the administrator of a cluster.
func addLoggingNode(t *testing.T, kubectl func(stdin string, arguments ...string)) {
	t.Helper()
	kubectl(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"`+loggingNode+`","labels":{"kubernetes.io/hostname":"`+loggingNode+`"},"annotations":{"kwok.x-k8s.io/node":"fake"}},
"spec":{"taints":[{"key":"logging","effect":"NoSchedule"}]}}`, "create", "-f", "-")
	kubectl("", "patch", "node", loggingNode, "--subresource=status", "--type=merge", "--patch",
		fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":"127.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":%d}}}}`, server(t, kubelet)))
}

// longLogBytes is more than bridge and agent together may need for it.
const longLogBytes = 100 << 20

// writeLongLog writes numbered lines of no two equal lengths in a row.
func writeLongLog(w io.Writer) error {
	filler := strings.Repeat("0123456789abcdef", 64)
	for written, n := 0, 0; written < longLogBytes; n++ {
		line, err := fmt.Fprintf(w, "%d %s\n", n, filler[:n%len(filler)])
		if err != nil {
			return err
		}
		written += line
	}
	return nil
}

// kubelet answers for the logs of a container by its name.
func kubelet(answer http.ResponseWriter, request *http.Request) {
	part := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	if len(part) != 4 || part[0] != "containerLogs" {
		http.NotFound(answer, request)
		return
	}
	switch container := part[3]; container {
	case "silent":
	case "long":
		_ = writeLongLog(answer) // a reader that has gone sees it
	case "broken":
		http.Error(answer, "the log cannot be read", http.StatusInternalServerError)
	case "waiting":
		http.Error(answer, `container "waiting" in pod "`+part[2]+`" is waiting to start: ContainerCreating`, http.StatusBadRequest)
	case "properties":
		// What Clouddriver takes for the results of a job.
		fmt.Fprint(answer, "begin\nSPINNAKER_PROPERTY_COLOUR=red\nSPINNAKER_CONFIG_JSON={\"list\":[1,\"ü\"]}\nend\n")
	default:
		fmt.Fprintf(answer, "%s begins\nünïcode \x1b[31mred\x1b[0m <no> & tab\tline end", container)
	}
}

// metrics answers as a metrics server does for pod web-1 of every namespace.
func metrics(answer http.ResponseWriter, request *http.Request) {
	answer.Header().Set("Content-Type", "application/json")
	send := func(v any) { _ = json.NewEncoder(answer).Encode(v) }
	place := strings.Split(strings.TrimPrefix(strings.TrimPrefix(request.URL.Path, "/apis/metrics.k8s.io/v1beta1"), "/"), "/")
	usage := func(namespace string) map[string]any {
		return map[string]any{"kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": map[string]any{"name": "web-1", "namespace": namespace},
			"timestamp": "2026-01-02T03:04:05Z", "window": "10s", "containers": []any{
				map[string]any{"name": "main", "usage": map[string]any{"cpu": "12345678n", "memory": "300Mi"}},
				map[string]any{"name": "sidecar", "usage": map[string]any{"cpu": "1500m", "memory": "1Ki"}},
			}}
	}
	switch {
	case len(place) == 1 && place[0] == "":
		send(map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1", "resources": []any{
			map[string]any{"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": []string{"get", "list"}},
		}})
	case len(place) == 3:
		items := []any{usage(place[1])}
		if request.URL.Query().Get("labelSelector") != "" || strings.HasSuffix(place[1], "-absent") {
			items = []any{}
		}
		send(map[string]any{"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": map[string]any{}, "items": items})
	case len(place) == 4 && place[3] == "web-1":
		send(usage(place[1]))
	default:
		answer.WriteHeader(http.StatusNotFound)
		name := place[len(place)-1]
		send(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
			"message": fmt.Sprintf("podmetrics.metrics.k8s.io %q not found", name), "details": map[string]any{"group": "metrics.k8s.io", "kind": "podmetrics", "name": name}})
	}
}

// serveMetrics puts a metrics API behind the API server, which is the test. The API server dials the external name itself.
func serveMetrics(t *testing.T, kubectl func(stdin string, arguments ...string)) {
	t.Helper()
	kubectl(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"metrics","namespace":"kube-system"},"spec":{"type":"ExternalName","externalName":"localhost"}}`, "create", "-f", "-")
	kubectl(fmt.Sprintf(`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1beta1.metrics.k8s.io"},"spec":{"group":"metrics.k8s.io","version":"v1beta1",
"insecureSkipTLSVerify":true,"groupPriorityMinimum":100,"versionPriority":100,"service":{"namespace":"kube-system","name":"metrics","port":%d}}}`, server(t, metrics)), "create", "-f", "-")
	kubectl("", "wait", "--for=condition=Available", "apiservice", "v1beta1.metrics.k8s.io")
}

// serveHangingWebhook has the API server ask the test about each ConfigMap with the label hangs, and the test never answers.
func serveHangingWebhook(t *testing.T, kubectl func(stdin string, arguments ...string)) {
	t.Helper()
	s := startServer(t, func(_ http.ResponseWriter, request *http.Request) {
		_, _ = io.Copy(io.Discard, request.Body) // only then the end of the connection is noticed
		<-request.Context().Done()
	})
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	kubectl(fmt.Sprintf(`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","metadata":{"name":"hangs.example.com"},"webhooks":[{"name":"hangs.example.com",
"admissionReviewVersions":["v1"],"sideEffects":"None","timeoutSeconds":1,"clientConfig":{"url":"%s/","caBundle":"%s"},"objectSelector":{"matchLabels":{"hangs":"yes"}},
"rules":[{"apiGroups":[""],"apiVersions":["v1"],"resources":["configmaps"],"operations":["CREATE"]}]}]}`, s.URL, base64.StdEncoding.EncodeToString(authority)), "create", "-f", "-")
}
