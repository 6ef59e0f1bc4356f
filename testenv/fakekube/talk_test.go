package fakekube

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// talk is what one API server was asked and what it said, with what differs between any two of them masked: uids, times, managedFields,
// versions. An object's versions are numbered as they appear, so that it shows whether a request made a new one.
type talk struct {
	t         testing.TB
	config    *rest.Config
	client    *http.Client
	base      string
	namespace string
	// compact makes the API server forget its history; define adds the kind of things, undefine takes it away.
	compact, define, undefine func()

	versions map[string]string
	text     strings.Builder
}

func newTalk(t testing.TB, config *rest.Config) *talk {
	t.Helper()
	config.Dial = (&net.Dialer{}).DialContext // or client-go shares connections between those that trust the same
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(client.Transport) })
	return &talk{t: t, config: config, client: client, base: config.Host, namespace: "talk-" + strconv.FormatInt(time.Now().UnixNano()%1e9, 36), versions: map[string]string{}}
}

func clientConfig(t testing.TB, kubeconfig []byte) *rest.Config {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func (s *talk) say(format string, arguments ...any) {
	text := fmt.Sprintf(format, arguments...)
	s.text.WriteString(strings.ReplaceAll(text, s.namespace, "NAMESPACE") + "\n")
}

func (s *talk) request(ctx context.Context, method, path, accept, body string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, s.base+strings.ReplaceAll(path, "NAMESPACE", s.namespace), strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", accept)
	answer, err := s.client.Do(request)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer
}

// call makes a request and returns the answer, which it notes.
func (s *talk) call(method, path, body string) map[string]any {
	return s.ask(method, path, "application/json", body)
}

func (s *talk) ask(method, path, accept, body string) map[string]any {
	s.t.Helper()
	status, kind, content := s.exchange(method, path, accept, body)
	s.say("%d %s\n%s", status, kind, s.shown(content))
	return content
}

func (s *talk) exchange(method, path, accept, body string) (status int, kind string, content map[string]any) {
	s.t.Helper()
	answer := s.request(s.t.Context(), method, path, accept, body)
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if content, err = decode(raw); err != nil {
		content = map[string]any{"text": string(bytes.TrimSpace(raw))}
	}
	return answer.StatusCode, answer.Header.Get("Content-Type"), content
}

// shown is content with what differs masked.
func (s *talk) shown(content map[string]any) string {
	masked := s.mask(content, "").(map[string]any)
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if items, ok := masked["items"].([]any); ok {
		masked["items"] = nil
		_ = encoder.Encode(masked)
		for _, item := range items {
			b.WriteString("  ")
			_ = encoder.Encode(item)
		}
	} else {
		_ = encoder.Encode(masked)
	}
	return strings.TrimRight(b.String(), "\n")
}

var numbers = regexp.MustCompile(`\d+`)

func (s *talk) mask(value any, name string) any {
	switch v := value.(type) {
	case map[string]any:
		_, isObject := v["name"]
		masked := map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			switch key {
			case "managedFields":
			case "generation": // custom resources have it; the fake has no spec to tell from a status
			case "uid":
				masked[key] = "UID"
			case "creationTimestamp":
				masked[key] = "TIME"
			case "continue":
				masked[key] = "TOKEN"
			case "message":
				masked[key] = numbers.ReplaceAllString(fmt.Sprint(v[key]), "N")
			case "resourceVersion":
				masked[key] = "VERSION"
				if isObject {
					masked[key] = s.version(fmt.Sprint(v[key]))
				}
			default:
				masked[key] = s.mask(v[key], key)
			}
		}
		return masked
	case []any:
		masked := []any{}
		for _, one := range v {
			masked = append(masked, s.mask(one, name))
		}
		return masked
	}
	return value
}

func (s *talk) version(text string) string {
	if s.versions[text] == "" {
		s.versions[text] = "v" + strconv.Itoa(len(s.versions)+1)
	}
	return s.versions[text]
}

func (s *talk) eventually(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so after a minute: %s", what)
		}
	}
}

func metadataText(content map[string]any, name string) string {
	text, _ := metadataOf(content)[name].(string)
	return text
}

// aged is a continue token that says another version.
func (s *talk) aged(token string, version int64) string {
	s.t.Helper()
	m, err := readMark(token)
	if err != nil {
		s.t.Fatal(err)
	}
	m.RV = version
	raw, _ := json.Marshal(m)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// watcher is a watch that goes on.
type watcher struct {
	talk    *talk
	cancel  context.CancelFunc
	answer  *http.Response
	decoder *json.Decoder
}

const secrets = "/api/v1/namespaces/NAMESPACE/secrets"

// watch begins a watch and notes whether it was accepted.
func (s *talk) watch(path, accept string, query ...string) *watcher {
	s.t.Helper()
	values := url.Values{"watch": {"true"}}
	for _, q := range query {
		name, value, _ := strings.Cut(q, "=")
		values.Set(name, value)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	answer := s.request(ctx, http.MethodGet, path+"?"+values.Encode(), accept, "") //nolint:bodyclose // close closes it
	s.say("watch: %d %s", answer.StatusCode, answer.Header.Get("Content-Type"))
	return &watcher{talk: s, cancel: cancel, answer: answer, decoder: json.NewDecoder(answer.Body)}
}

// next notes the next n events.
func (w *watcher) next(n int) {
	w.talk.t.Helper()
	for range n {
		var raw json.RawMessage
		if err := w.decoder.Decode(&raw); err != nil {
			w.talk.say("watch ends: %v", err)
			return
		}
		content, err := decode(raw)
		if err != nil {
			w.talk.t.Fatal(err)
		}
		if object, ok := content["object"].(map[string]any); ok && content["type"] == "BOOKMARK" {
			// Some kinds' bookmarks say more that is empty.
			content["object"] = map[string]any{"kind": object["kind"], "apiVersion": object["apiVersion"], "metadata": map[string]any{"resourceVersion": "", "annotations": metadataOf(object)["annotations"]}}
		}
		w.talk.say("%s", w.talk.shown(content))
	}
}

// last waits for the end of the watch and notes which types of events came before it, but for some.
func (w *watcher) last(but ...string) {
	types := map[string]bool{}
	for {
		var event struct{ Type string }
		if err := w.decoder.Decode(&event); err != nil {
			for _, name := range but {
				delete(types, name)
			}
			w.talk.say("after %v the watch ends: %v", slices.Sorted(maps.Keys(types)), err)
			return
		}
		types[event.Type] = true
	}
}

func (w *watcher) close() {
	w.cancel()
	_ = w.answer.Body.Close()
}
