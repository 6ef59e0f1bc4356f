package fakekube

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv"
	"github.com/google/go-cmp/cmp"
)

func secret(name, color, value string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","type":"Opaque","metadata":{"name":%q,"labels":{"color":%q}},"data":{"v":%q}}`, name, color, value)
}

const (
	things           = "/apis/talk.example.com/v1/namespaces/NAMESPACE/things"
	definitions      = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	thingsDefinition = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.talk.example.com"},
		"spec":{"group":"talk.example.com","names":{"kind":"Thing","plural":"things"},"scope":"Namespaced",
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`
)

func thing(name string, n int) string {
	return fmt.Sprintf(`{"apiVersion":"talk.example.com/v1","kind":"Thing","metadata":{"name":%q},"spec":{"n":%d}}`, name, n)
}

// script is what both API servers are asked. Each step goes on from where the one before ended.
var script = []struct {
	name string
	run  func(s *talk)
}{
	{"a namespace is created", func(s *talk) {
		status, _, _ := s.exchange("POST", "/api/v1/namespaces", "application/json", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+s.namespace+`","labels":{"kubernetes.io/metadata.name":"`+s.namespace+`"}}}`)
		s.say("%d", status)
	}},
	{"what it is, and whether it works", func(s *talk) {
		status, _, content := s.exchange("GET", "/version", "application/json", "")
		s.say("%d %v.%v", status, content["major"], content["minor"])
		s.call("GET", "/readyz", "")
	}},
	{"a list of nothing", func(s *talk) { s.call("GET", secrets, "") }},
	{"objects are created", func(s *talk) {
		for i, color := range []string{"red", "blue", "red", "blue", "red", "blue", "red"} {
			s.call("POST", secrets, secret(string(rune('a'+i)), color, "MQ=="))
		}
	}},
	{"what cannot be created", func(s *talk) {
		s.call("POST", secrets, secret("a", "red", "Mg=="))
		s.call("POST", "/api/v1/namespaces/not-there/secrets", secret("a", "red", "Mg=="))
		for _, body := range []string{`{`, `{"metadata":{}}`} {
			status, _, content := s.exchange("POST", secrets, "application/json", body)
			s.say("%v %v", status >= 400 && status < 500, content["kind"])
		}
	}},
	{"objects by name", func(s *talk) {
		s.call("GET", secrets+"/a", "")
		s.call("GET", secrets+"/none", "")
		s.ask("GET", secrets+"/a", metadataAccept, "")
	}},
	{"what there is not", func(s *talk) {
		for _, path := range []string{"/api/v1/nonsense", "/api/v1/namespaces/NAMESPACE/nonsense", "/apis/apps/v1/nonsense", "/apis/no.such/v1/things", "/apis/apps/v9/deployments"} {
			status, _, content := s.exchange("GET", path, "application/json", "")
			s.say("%d %v", status, content["reason"])
		}
	}},
	{"pages", func(s *talk) { s.pages("limit=3", nil) }},
	{"pages of a selection", func(s *talk) { s.pages("limit=2&labelSelector=color%3Dred", nil) }},
	{"pages stay of one moment", func(s *talk) {
		s.pages("limit=2", func() {
			s.call("DELETE", secrets+"/c", "")
			s.call("POST", secrets, secret("aa", "green", "MQ=="))
			s.call("POST", secrets, secret("dd", "green", "MQ=="))
			s.call("PUT", secrets+"/e", secret("e", "green", "Mg=="))
		})
		s.call("GET", secrets, "")
	}},
	{"selections", func(s *talk) {
		for _, q := range []string{
			"fieldSelector=metadata.name%3Db", "fieldSelector=metadata.name!%3Db", "fieldSelector=metadata.name%3Dnone", "labelSelector=color%3Dgreen", "labelSelector=color+in+(green,blue)",
			"labelSelector=!color", "labelSelector=color%3Dgreen&fieldSelector=metadata.name%3De",
		} {
			s.say("%s", q)
			s.call("GET", secrets+"?"+q, "")
		}
	}},
	{"what cannot be listed", func(s *talk) {
		for _, q := range []string{"labelSelector=!!", "fieldSelector=%3D%3D%3D", "fieldSelector=spec.x%3Dy", "continue=nonsense", "resourceVersion=x", "resourceVersion=-1", "limit=x", "resourceVersionMatch=Exact", "resourceVersionMatch=NotOlderThan", "sendInitialEvents=true"} {
			status, _, content := s.exchange("GET", secrets+"?"+q, "application/json", "")
			s.say("%s: %d %v", q, status, content["reason"])
		}
	}},
	{"versions of lists", func(s *talk) {
		_, _, list := s.exchange("GET", secrets, "application/json", "")
		version := metadataText(list, "resourceVersion")
		later := s.call("POST", secrets, secret("later", "red", "MQ=="))
		// The real server's cache may lag behind its database: this waits until it does not.
		s.exchange("GET", secrets+"?resourceVersionMatch=NotOlderThan&resourceVersion="+metadataText(later, "resourceVersion"), "application/json", "")
		for _, q := range []string{
			"resourceVersion=0", "resourceVersion=0&limit=2", "resourceVersion=" + version + "&resourceVersionMatch=Exact", "resourceVersion=" + version + "&resourceVersionMatch=NotOlderThan",
			"resourceVersion=" + version, "resourceVersion=" + version + "&limit=100",
		} {
			s.say("%s", strings.ReplaceAll(q, version, "VERSION"))
			s.call("GET", secrets+"?"+q, "")
		}
		n, _ := strconv.ParseInt(version, 10, 64)
		s.call("GET", secrets+"?resourceVersion="+strconv.FormatInt(n+1e6, 10), "")
	}},
	{"writes", func(s *talk) {
		s.call("PUT", secrets+"/none", secret("none", "red", "Mg=="))
		s.call("PUT", secrets+"/a", secret("a", "red", "Mw=="))
		s.call("PUT", secrets+"/a", secret("a", "red", "Mw=="))
		s.call("PUT", secrets+"/a", strings.Replace(secret("a", "red", "NA=="), `"metadata":{`, `"metadata":{"resourceVersion":"1",`, 1))
		status, _, _ := s.exchange("PUT", secrets+"/a", "application/json", secret("b", "red", "NA=="))
		s.say("another name: %d", status)
		s.call("DELETE", secrets+"/none", "")
	}},
	{"a watch from a version", func(s *talk) {
		_, _, list := s.exchange("GET", secrets, "application/json", "")
		version := metadataText(list, "resourceVersion")
		s.call("POST", secrets, secret("w1", "red", "MQ=="))
		w := s.watch(secrets, "application/json", "resourceVersion="+version)
		defer w.close()
		w.next(1)
		s.call("PUT", secrets+"/w1", secret("w1", "red", "Mg=="))
		w.next(1)
		s.call("PUT", secrets+"/w1", secret("w1", "red", "Mg==")) // no change
		s.call("DELETE", secrets+"/w1", "")
		w.next(1)
		again := s.watch(secrets, "application/json", "resourceVersion="+version)
		defer again.close()
		again.next(3)
	}},
	{"a watch of another namespace hears nothing, of all hears it", func(s *talk) {
		_, _, list := s.exchange("GET", secrets, "application/json", "")
		version := metadataText(list, "resourceVersion")
		other := s.watch("/api/v1/namespaces/default/secrets", "application/json", "resourceVersion="+version, "timeoutSeconds=1")
		defer other.close()
		all := s.watch("/api/v1/secrets", "application/json", "resourceVersion="+version, "fieldSelector=metadata.namespace="+s.namespace)
		defer all.close()
		s.call("POST", secrets, secret("w2", "red", "MQ=="))
		all.next(1)
		other.next(1)
	}},
	{"a watch without a version begins with what is there", func(s *talk) {
		for _, version := range []string{"", "0"} {
			w := s.watch(secrets, "application/json", "resourceVersion="+version, "labelSelector=color=blue")
			w.next(3)
			w.close()
		}
	}},
	{"a watch of a selection", func(s *talk) {
		_, _, list := s.exchange("GET", secrets, "application/json", "")
		version := metadataText(list, "resourceVersion")
		red := s.watch(secrets, "application/json", "resourceVersion="+version, "labelSelector=color=red")
		defer red.close()
		one := s.watch(secrets, "application/json", "resourceVersion="+version, "fieldSelector=metadata.name=w3")
		defer one.close()
		s.call("POST", secrets, secret("w3", "blue", "MQ=="))
		s.call("PUT", secrets+"/w3", secret("w3", "red", "MQ=="))
		s.call("PUT", secrets+"/w3", secret("w3", "red", "Mg=="))
		s.call("PUT", secrets+"/w3", secret("w3", "blue", "Mg=="))
		s.call("DELETE", secrets+"/w3", "")
		red.next(3)
		one.next(5)
	}},
	{"a watch with initial events", func(s *talk) {
		w := s.watch(secrets, "application/json", "sendInitialEvents=true", "resourceVersionMatch=NotOlderThan", "allowWatchBookmarks=true", "labelSelector=color=green")
		defer w.close()
		w.next(4)
		s.call("PUT", secrets+"/aa", secret("aa", "green", "OQ=="))
		w.next(1)
		w = s.watch(secrets, "application/json", "sendInitialEvents=true", "allowWatchBookmarks=true")
		w.close()
	}},
	{"a watch ends with a bookmark when its time is over", func(s *talk) {
		w := s.watch(secrets, "application/json", "allowWatchBookmarks=true", "timeoutSeconds=4", "resourceVersion="+s.present())
		defer w.close()
		elsewhere := "/api/v1/namespaces/default/secrets"
		s.exchange("POST", elsewhere, "application/json", secret(s.namespace, "red", "MQ=="))
		s.exchange("DELETE", elsewhere+"/"+s.namespace, "application/json", "")
		w.last()
	}},
	{"metadata only", func(s *talk) {
		s.ask("GET", secrets+"?limit=2", metadataListAccept, "")
		s.ask("GET", "/api/v1/namespaces?fieldSelector=metadata.name%3D"+s.namespace, metadataListAccept, "")
		w := s.watch(secrets, metadataAccept, "resourceVersion="+s.present(), "allowWatchBookmarks=true")
		defer w.close()
		s.call("PUT", secrets+"/a", secret("a", "red", "NQ=="))
		w.next(1)
	}},
	{"a kind is defined", func(s *talk) {
		s.define()
		s.call("GET", things, "")
		for _, name := range []string{"a", "b", "c", "d"} {
			s.call("POST", things, thing(name, 1))
		}
		s.call("GET", things+"?limit=2", "")
		s.ask("GET", things+"?limit=2", metadataListAccept, "")
	}},
	{"history that is gone", func(s *talk) {
		_, _, list := s.exchange("GET", things+"?limit=2", "application/json", "")
		token := metadataText(list, "continue")
		s.call("POST", things, thing("e", 1))
		s.compact()
		expired := s.call("GET", things+"?limit=2&continue="+url.QueryEscape(s.aged(token, 2)), "")
		s.call("GET", things+"?limit=100&continue="+url.QueryEscape(metadataText(expired, "continue")), "")
		s.call("GET", things+"?resourceVersionMatch=Exact&resourceVersion=2", "")
		w := s.watch(things, "application/json", "resourceVersion=1")
		defer w.close()
		w.next(2)
		s.call("GET", things+"?resourceVersion=1&resourceVersionMatch=NotOlderThan", "")
	}},
	{"a watch of what is yet to come", func(s *talk) {
		n, _ := strconv.ParseInt(s.present(), 10, 64)
		w := s.watch(secrets, "application/json", "resourceVersion="+strconv.FormatInt(n+1e6, 10), "timeoutSeconds=1")
		defer w.close()
		w.next(1)
	}},
	{"a kind is taken away", func(s *talk) {
		w := s.watch(things, "application/json", "sendInitialEvents=true", "resourceVersionMatch=NotOlderThan", "allowWatchBookmarks=true")
		defer w.close()
		w.next(6)
		s.undefine()
		w.last("BOOKMARK") // the real one sends some when it likes
		s.eventually("it is gone", func() bool {
			status, _, _ := s.exchange("GET", things, "application/json", "")
			return status == http.StatusNotFound
		})
		status, kind, _ := s.exchange("GET", things, "application/json", "")
		s.say("%d %s", status, kind)
	}},
	{"methods that are not", func(s *talk) {
		status, _, content := s.exchange("POST", secrets+"/a", "application/json", secret("a", "red", "MQ=="))
		s.say("%d %v", status, content["reason"])
	}},
}

const (
	metadataAccept     = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
	metadataListAccept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)

// present is the version of now.
func (s *talk) present() string {
	_, _, list := s.exchange("GET", secrets+"?limit=1", "application/json", "")
	return metadataText(list, "resourceVersion")
}

// pages lists page by page; between the first and the second, meanwhile happens.
func (s *talk) pages(query string, meanwhile func()) {
	next := ""
	for page := range 10 {
		content := s.call("GET", secrets+"?"+query+"&continue="+url.QueryEscape(next), "")
		if next = metadataText(content, "continue"); next == "" {
			return
		}
		if page == 0 && meanwhile != nil {
			meanwhile()
		}
	}
	s.t.Error("the listing does not end")
}

// The fake serves what the real API server serves: the same script, the same answers.
func TestTheFakeAnswersAsTheRealAPIServer(t *testing.T) {
	plane := testenv.Kube(t)
	file, err := os.ReadFile(plane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	real := newTalk(t, clientConfig(t, file))
	real.compact = func() { compactEtcd(t, plane.Etcd, real.present()) }
	real.define = func() {
		if status, _, content := real.exchange("POST", definitions, "application/json", thingsDefinition); status != http.StatusCreated {
			t.Fatal(status, content)
		}
		real.eventually("the kind is served", func() bool {
			status, _, _ := real.exchange("GET", things, "application/json", "")
			return status == http.StatusOK
		})
	}
	real.undefine = func() { real.exchange("DELETE", definitions+"/things.talk.example.com", "application/json", "") }
	t.Cleanup(func() {
		request, _ := http.NewRequestWithContext(context.Background(), http.MethodDelete, real.base+"/api/v1/namespaces/"+real.namespace, nil)
		if answer, err := real.client.Do(request); err == nil {
			_ = answer.Body.Close()
		}
	})
	cluster := Start(t).Add("fake")
	kubeconfig, err := cluster.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	fake := newTalk(t, clientConfig(t, kubeconfig))
	fake.compact = cluster.Compact
	fake.define = func() {
		cluster.Define(Resource{Group: "talk.example.com", Version: "v1", Kind: "Thing", Plural: "things", Custom: true})
	}
	fake.undefine = func() { cluster.Undefine("talk.example.com", "things") }
	for _, step := range script {
		t.Run(step.name, func(t *testing.T) {
			for _, s := range []*talk{real, fake} {
				s.text.Reset()
				s.t = t
				step.run(s)
			}
			if difference := cmp.Diff(strings.Split(real.text.String(), "\n"), strings.Split(fake.text.String(), "\n")); difference != "" {
				t.Errorf("- real, + fake:\n%s", difference)
			}
		})
	}
}

// compactEtcd forgets what was before the present version.
func compactEtcd(t *testing.T, etcd, version string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Post(etcd+"/v3/kv/compaction", "application/json", strings.NewReader(`{"revision":"`+version+`","physical":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("etcd does not compact: %s", answer.Status)
	}
}
