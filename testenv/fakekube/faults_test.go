package fakekube

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// fakeTalk is a cluster with five secrets, and a talk with it.
func fakeTalk(t *testing.T) (*Cluster, *talk) {
	t.Helper()
	c := Start(t).Add("c")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		c.mustPut("secrets", "default", name, []byte(secret(name, "red", "MQ==")))
	}
	kubeconfig, err := c.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	s := newTalk(t, clientConfig(t, kubeconfig))
	s.namespace = "default"
	return c, s
}

// reply is what came of a request.
type reply struct {
	Status     string
	StatusCode int
	Header     http.Header
}

// read is the reply to a request, and what came of its body.
func (s *talk) read(ctx context.Context, path string) (reply, string, error) {
	answer := s.request(ctx, http.MethodGet, path, "application/json", "")
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	return reply{answer.Status, answer.StatusCode, answer.Header}, string(raw), err
}

func TestAFaultHappensAsOftenAsItIsToldAndToWhomItIsTold(t *testing.T) {
	c, s := fakeTalk(t)
	c.Fault(Fault{Resource: "secrets", Verb: "list", Times: 2, Status: 429, RetryAfter: 7 * time.Second})
	for i := range 3 {
		if answer, _, _ := s.read(t.Context(), "/api/v1/namespaces/default/pods"); answer.StatusCode != 200 {
			t.Error("another kind: ", answer.Status)
		}
		if answer, _, _ := s.read(t.Context(), secrets+"/a"); answer.StatusCode != 200 {
			t.Error("another verb: ", answer.Status)
		}
		answer, _, _ := s.read(t.Context(), secrets)
		if i < 2 && (answer.StatusCode != 429 || answer.Header.Get("Retry-After") != "7") || i == 2 && answer.StatusCode != 200 {
			t.Errorf("request %d: %s %v", i, answer.Status, answer.Header)
		}
	}
}

func TestStatusesSayWhatARealAPIServerSays(t *testing.T) {
	c, s := fakeTalk(t)
	for status, want := range map[int]string{
		403: `secrets is forbidden: User "fake" cannot list resource "secrets" in API group "" in the namespace "default"`,
		410: "The resourceVersion for the provided list is too old.",
		500: "injected fault", 503: "unable to handle the request", 401: "Unauthorized",
	} {
		mend := c.Fault(Fault{Resource: "secrets", Status: status})
		answer, body, _ := s.read(t.Context(), secrets)
		var said struct {
			Kind, Message string
			Code          int
		}
		_ = json.Unmarshal([]byte(body), &said)
		if answer.StatusCode != status || said.Kind != "Status" || said.Code != status || !strings.Contains(said.Message, want) {
			t.Errorf("%d: %s %s", status, answer.Status, body)
		}
		mend()
		mend()
		if answer, _, _ := s.read(t.Context(), secrets); answer.StatusCode != 200 {
			t.Errorf("after %d is mended: %s", status, answer.Status)
		}
	}
}

func TestListsThatBreakInTheMiddle(t *testing.T) {
	c, s := fakeTalk(t)
	for how, cut := range map[Break]bool{Truncate: false, Garble: false, Abort: true, Reset: true} {
		mend := c.Fault(Fault{Resource: "secrets", After: 2, Break: how})
		_, body, err := s.read(t.Context(), secrets)
		if json.Valid([]byte(body)) || how != Reset && !strings.Contains(body, `"name":"b"`) || strings.Contains(body, `"name":"d"`) {
			t.Errorf("%v: %s", how, body)
		}
		if (err != nil) != cut {
			t.Errorf("%v: the body ends with %v", how, err)
		}
		mend()
	}
}

func TestAWatchStallsAndGoesOn(t *testing.T) {
	c, s := fakeTalk(t)
	w := s.watch(secrets, "application/json", "resourceVersion="+s.present())
	defer w.close()
	c.mustPut("secrets", "default", "a", []byte(secret("a", "blue", "MQ==")))
	w.next(1)
	mend := c.Fault(Fault{Resource: "secrets", Verb: "watch", Break: Stall})
	heard := make(chan error, 1)
	go func() {
		var event struct{ Type string }
		heard <- w.decoder.Decode(&event)
	}()
	c.mustPut("secrets", "default", "b", []byte(secret("b", "blue", "MQ==")))
	// A list tells that the change is there; the watch does not say it.
	if answer, _, _ := s.read(t.Context(), secrets); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
	select {
	case err := <-heard:
		t.Error("a watch that stalls says something: ", err)
	default:
	}
	mend()
	if err := <-heard; err != nil {
		t.Error(err)
	}
}

func TestWatchesBreakWhetherOrNotTheyHaveSomethingToSay(t *testing.T) {
	for how, want := range map[Break]string{
		Expire: "ERROR 410 EOF", Fail: "ERROR 500 EOF", Unknown: "RENAMED EOF", Garble: "no JSON", Truncate: "unexpected EOF", Abort: "cut", Reset: "cut",
	} {
		c, s := fakeTalk(t)
		w := s.watch(secrets, "application/json", "resourceVersion="+s.present())
		c.Fault(Fault{Verb: "watch", Times: 1, Break: how})
		if got := w.whatComes(); got != want {
			t.Errorf("%v: %s, want %s", how, got, want)
		}
		w.close()
		w = s.watch(secrets, "application/json", "resourceVersion="+s.present())
		c.mustPut("secrets", "default", "a", []byte(secret("a", "blue", "MQ==")))
		w.next(1)
		w.close()
	}
}

// whatComes reads a watch to its end.
func (w *watcher) whatComes() (text string) {
	for {
		var event struct {
			Type   string
			Object struct{ Code int }
		}
		err := w.decoder.Decode(&event)
		var syntax *json.SyntaxError
		switch {
		case err == nil:
			text += event.Type + " "
			if event.Object.Code > 0 {
				text += strconv.Itoa(event.Object.Code) + " "
			}
			continue
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return text + err.Error()
		case errors.As(err, &syntax):
			return text + "no JSON"
		}
		return text + "cut"
	}
}

func TestOneClustersFaultsAreNotAnothers(t *testing.T) {
	fleet := Start(t)
	var talks []*talk
	for _, name := range []string{"a", "b"} {
		kubeconfig, err := fleet.Add(name).Kubeconfig()
		if err != nil {
			t.Fatal(err)
		}
		talks = append(talks, newTalk(t, clientConfig(t, kubeconfig)))
	}
	a, b := talks[0], talks[1]
	a.namespace, b.namespace = "default", "default"
	watches := []*watcher{a.watch(secrets, "application/json", "resourceVersion="+a.present()), b.watch(secrets, "application/json", "resourceVersion="+b.present(), "timeoutSeconds=1")}
	fleet.clusters["a"].Sever()
	for i, want := range []string{"cut", "EOF"} {
		if got := watches[i].whatComes(); got != want {
			t.Errorf("cluster %d: the watch ends with %s, want %s", i, got, want)
		}
		watches[i].close()
	}
	fleet.clusters["a"].Fault(Fault{Status: 500})
	if answer, _, _ := b.read(t.Context(), secrets); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
}

func TestWithoutTheTokenNothingIsSaid(t *testing.T) {
	c, s := fakeTalk(t)
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+"/version", nil)
	request.Header.Set("Authorization", "Bearer other")
	bare := &http.Client{Transport: transportOf(t, s)}
	answer, err := bare.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Error(answer.Status)
	}
}

// transportOf trusts what the talk's client trusts, and shows nothing.
func transportOf(t *testing.T, s *talk) http.RoundTripper {
	t.Helper()
	config := rest.AnonymousClientConfig(s.config)
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(transport) })
	return transport
}
