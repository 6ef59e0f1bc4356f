package agent_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/agent"
	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/cats"
	"github.com/fairlead/fairlead/proto/compress"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
	"github.com/fairlead/fairlead/testenv"
)

// recorder stands between an agent and its bridge and keeps every byte that leaves the agent.
type recorder struct {
	listener net.Listener
	target   string

	mu   sync.Mutex
	sent [][]byte // by connection
	open []net.Conn
	all  sync.WaitGroup
}

func record(t *testing.T, target string) *recorder {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{listener: listener, target: target}
	r.all.Go(r.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		for _, c := range r.open {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.all.Wait()
	})
	return r
}

func (r *recorder) serve() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", r.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		r.mu.Lock()
		n := len(r.sent)
		r.sent = append(r.sent, nil)
		r.open = append(r.open, near, far)
		r.mu.Unlock()
		r.all.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
		r.all.Go(func() {
			defer func() { _ = far.Close() }()
			buffer := make([]byte, 64<<10)
			for {
				count, err := near.Read(buffer)
				r.mu.Lock()
				r.sent[n] = append(r.sent[n], buffer[:count]...)
				r.mu.Unlock()
				if err != nil {
					return
				}
				if _, err := far.Write(buffer[:count]); err != nil {
					return
				}
			}
		})
	}
}

// said is everything that left: the bytes as they were, what the headers say, and each message, decompressed if it was compressed.
func (r *recorder) said(t *testing.T) []byte {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var all bytes.Buffer
	for _, sent := range r.sent {
		all.Write(sent)
		rest, found := bytes.CutPrefix(sent, []byte(http2.ClientPreface))
		if !found {
			t.Fatal("the agent speaks something else than HTTP/2")
		}
		framer := http2.NewFramer(io.Discard, bytes.NewReader(rest))
		framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		streams := map[uint32][]byte{}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				break // the last one may be cut
			}
			switch f := frame.(type) {
			case *http2.DataFrame:
				streams[f.StreamID] = append(streams[f.StreamID], f.Data()...)
			case *http2.MetaHeadersFrame:
				for _, h := range f.Fields {
					fmt.Fprintln(&all, h.Name, h.Value)
				}
			}
		}
		for _, messages := range streams {
			for len(messages) >= 5 {
				length := int(binary.BigEndian.Uint32(messages[1:5]))
				if len(messages) < 5+length {
					break
				}
				all.Write(plain(t, messages[0] == 1, messages[5:5+length]))
				all.WriteByte('\n')
				messages = messages[5+length:]
			}
		}
	}
	return all.Bytes()
}

func plain(t *testing.T, compressed bool, message []byte) []byte {
	t.Helper()
	if !compressed {
		return message
	}
	r, err := encoding.GetCompressor(compress.Name).Decompress(bytes.NewReader(message))
	if err != nil {
		t.Fatal("a message is compressed by something that this test cannot undo: ", err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// greedy is a bridge that has nothing in its tables and wants everything that it is told of. It is scripted: what counts here is what the
// agent says to it.
type greedy struct {
	agentv1.UnimplementedAgentServiceServer

	policy *linkv1.CachePolicy
	// largest body that it takes.
	largest uint32
	// surveys: it says that its tables are empty, as a bridge does. agrees: it is content with every digest.
	surveys, agrees bool
	// bodies counts rows by type.
	mu     sync.Mutex
	bodies map[string]int
}

func (g *greedy) Session(stream agentv1.AgentService_SessionServer) error {
	say := func(f *linkv1.SessionDown) { _ = stream.Send(f) }
	for {
		frame, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the agent has gone
		}
		switch f := frame.GetFrame().(type) {
		case *linkv1.SessionUp_Hello:
			say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Welcome{Welcome: &linkv1.Welcome{Capability: uint32(link.Current), CatsFormat: cats.Format, Bridge: "greedy",
				SessionSecret: "secret", HeartbeatIntervalMs: 15_000, SilenceMs: 60_000, InventoryCredit: 1 << 30, MaximumBodyBytes: g.largest}}})
			for _, a := range f.Hello.GetAccounts() {
				say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Verdict{Verdict: &linkv1.AccountVerdict{Account: a.GetName(), Accepted: true, Cache: g.policy}}})
				say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Attached{Attached: &linkv1.Attached{Account: a.GetName(), Epoch: 1}}})
				if g.surveys {
					say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Survey{Survey: &linkv1.Survey{Account: a.GetName(), Epoch: 1}}})
				}
			}
		case *linkv1.SessionUp_Heartbeat:
			say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Heartbeat{Heartbeat: f.Heartbeat}})
		case *linkv1.SessionUp_Goodbye:
			return nil
		}
	}
}

func (g *greedy) Inventory(stream agentv1.AgentService_InventoryServer) error {
	for {
		f, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the agent has gone
		}
		account, epoch := f.GetAccount(), f.GetEpoch()
		var answers []*linkv1.InventoryDown
		if page := f.GetPage(); page != nil && len(page.GetEntries()) > 0 {
			want := &linkv1.Want{Account: account, Epoch: epoch, Group: page.GetGroup()}
			for _, e := range page.GetEntries() {
				want.Keys = append(want.Keys, e.GetKey())
			}
			answers = append(answers, &linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Want{Want: want}})
		}
		if d := f.GetDigest(); d != nil {
			// The first time a group differs; its comparison is not repeated.
			g.mu.Lock()
			name := account + " " + d.GetGroup().String()
			g.bodies[name]++
			again := g.bodies[name] > 1
			g.mu.Unlock()
			answers = append(answers, &linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Verdict{Verdict: &linkv1.Verdict{Account: account, Epoch: epoch, Seq: f.GetSeq(),
				Group: d.GetGroup(), Equal: again || g.agrees}}})
		}
		for _, c := range f.GetBatch().GetChanges() {
			if row := c.GetPutRow(); row != nil {
				g.mu.Lock()
				g.bodies[account+" "+row.GetKey().GetType()+" "+row.GetKey().GetScope()+"/"+row.GetKey().GetName()]++
				g.mu.Unlock()
			}
		}
		answers = append(answers, &linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Ack{Ack: &linkv1.Ack{Account: account, Epoch: epoch, Seq: f.GetSeq()}}})
		for _, a := range answers {
			if err := stream.Send(a); err != nil {
				return err
			}
		}
	}
}

func (g *greedy) Operations(stream agentv1.AgentService_OperationsServer) error {
	<-stream.Context().Done()
	return nil
}

// has tells whether the bridge was sent an account's object.
func (g *greedy) has(account string, typ cats.Type, path string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bodies[account+" "+string(typ)+" "+path] > 0
}

// count is how many objects of a kind the bridge was sent, compared how many digests of it.
func (g *greedy) count(account string, typ cats.Type) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name := range g.bodies {
		if strings.HasPrefix(name, account+" "+string(typ)+" ") {
			n++
		}
	}
	return n
}

func (g *greedy) compared(account, typ string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bodies[account+" "+(&linkv1.Group{Type: typ}).String()]
}

// planted makes objects in a cluster.
type planted struct {
	t         *testing.T
	admin     dynamic.Interface
	namespace string
}

func (p *planted) make(resource, manifest string) {
	p.t.Helper()
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(manifest), &object.Object); err != nil {
		p.t.Fatal(err, manifest)
	}
	in := p.admin.Resource(schema.GroupVersionResource{Group: object.GroupVersionKind().Group, Version: "v1", Resource: resource})
	// The manager's name is in managedFields and nowhere else.
	options := metav1.CreateOptions{FieldManager: "planted-manager"}
	var err error
	if resource == "namespaces" {
		_, err = in.Create(p.t.Context(), object, options)
	} else {
		_, err = in.Namespace(p.namespace).Create(p.t.Context(), object, options)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// forbidden are the values that must not leave the cluster: what a Secret holds, in each form and place that it can have, and what
// is hidden.
var forbidden = []string{
	"planted-plain-value", "cGxhbnRlZC1wbGFpbi12YWx1ZQ==", // data
	"planted-string-value", "cGxhbnRlZC1zdHJpbmctdmFsdWU=", // stringData
	"planted-applied-value", "cGxhbnRlZC1hcHBsaWVkLXZhbHVl", // the annotation that kubectl keeps a manifest in
	"planted-manager", "fieldsV1", // managedFields
	"planted-ignored", "planted-omitted-kind", "planted-old-event",
}

// all makes objects of which something must not leave, named after a phase.
func (p *planted) all(phase string) {
	applied, err := json.Marshal(`{"apiVersion":"v1","kind":"Secret","data":{"k":"cGxhbnRlZC1hcHBsaWVkLXZhbHVl"},"stringData":{"l":"planted-applied-value"}}`)
	if err != nil {
		p.t.Fatal(err)
	}
	const managed = `"moniker.spinnaker.io/application":"shop"`
	p.make("secrets", fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"secret-%s","annotations":{%s,"kubectl.kubernetes.io/last-applied-configuration":%s}},
"data":{"k":"cGxhbnRlZC1wbGFpbi12YWx1ZQ=="},"stringData":{"l":"planted-string-value"}}`, phase, managed, applied))
	p.make("configmaps", fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"managed-%s","annotations":{%s}},"data":{"k":"visible-%s"}}`, phase, managed, phase))
	p.make("configmaps", fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"unmanaged-%s"},"data":{"k":"planted-unmanaged"}}`, phase))
	p.make("configmaps", fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"ignored-%s","annotations":{%s,"caching.spinnaker.io/ignore":"true"}},"data":{"k":"planted-ignored"}}`, phase, managed))
	p.make("serviceaccounts", fmt.Sprintf(`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"account-%s","annotations":{%s,"n":"planted-omitted-kind"}}}`, phase, managed))
	p.make("events", fmt.Sprintf(`{"apiVersion":"v1","kind":"Event","metadata":{"name":"event-%s","annotations":{%s}},"involvedObject":{"kind":"Pod","namespace":%q,"name":"p"},"message":"planted-old-event","lastTimestamp":%q}`,
		phase, managed, p.namespace, time.Now().Add(-3*time.Hour).UTC().Format(time.RFC3339)))
}

func TestOnlyWhatIsNeededLeavesTheCluster(t *testing.T) {
	p, kubeconfig := plant(t, "wire")
	p.all("listed")
	for name, onlyManaged := range map[string]bool{"all objects": false, "only what Spinnaker manages": true} {
		t.Run(name, func(t *testing.T) {
			bridge := &greedy{policy: &linkv1.CachePolicy{All: true, OmitKinds: []string{"serviceAccount"}, OnlySpinnakerManaged: onlyManaged}, largest: 1 << 20, bodies: map[string]int{}}
			wire, _ := p.watchedBy(t, kubeconfig, bridge)
			shown := func(phase string) {
				eventually(t, "what was "+phase+" has left", func() bool {
					return bridge.has("acct", "secret", p.namespace+"/secret-"+phase) && bridge.has("acct", "configMap", p.namespace+"/managed-"+phase) &&
						(onlyManaged || bridge.has("acct", "configMap", p.namespace+"/unmanaged-"+phase))
				})
			}
			shown("listed")
			phase := "watched-" + strings.Fields(name)[0]
			p.all(phase)
			shown(phase)
			said := wire.said(t)
			// What is looked for is found where it is: otherwise the rest would say nothing.
			for _, visible := range []string{"visible-listed", "visible-" + phase, "secret-" + phase, "fairlead-session"} {
				if !bytes.Contains(said, []byte(visible)) {
					t.Errorf("%q is not in what left the agent", visible)
				}
			}
			hidden := forbidden
			if onlyManaged {
				hidden = append(hidden[:len(hidden):len(hidden)], "planted-unmanaged", "unmanaged-listed", "unmanaged-"+phase)
			} else if !bytes.Contains(said, []byte("planted-unmanaged")) {
				t.Error("unmanaged objects are hidden, and nobody asked for that")
			}
			for _, text := range hidden {
				if at := bytes.Index(said, []byte(text)); at >= 0 {
					t.Errorf("%q left the cluster: …%q…", text, said[max(0, at-300):min(len(said), at+100)])
				}
			}
			t.Logf("%d bytes left the agent", len(said))
		})
	}
}

// plant makes a namespace for what a test makes.
func plant(t *testing.T, name string) (p *planted, kubeconfig string) {
	t.Helper()
	kubeconfig = testenv.Kube(t).Kubeconfig
	restConfig, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := dynamic.NewForConfig(restConfig)
	if err != nil {
		t.Fatal(err)
	}
	p = &planted{t: t, admin: admin, namespace: fmt.Sprintf("%s-%d", name, os.Getpid())}
	p.make("namespaces", fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, p.namespace))
	t.Cleanup(func() {
		_ = admin.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Delete(context.Background(), p.namespace, metav1.DeleteOptions{})
	})
	return p, kubeconfig
}

// journal is an agent's log.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Contains(j.text.Bytes(), []byte(text))
}

// watchedBy runs an agent on the cluster, whose account shows the namespace, and connects it to a bridge.
func (p *planted) watchedBy(t *testing.T, kubeconfig string, bridge *greedy) (*recorder, *journal) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(link.MaxFrameBytes))
	agentv1.RegisterAgentServiceServer(server, bridge)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	wire := record(t, listener.Addr().String())
	file := filepath.Join(t.TempDir(), "armory-agent.yml")
	content := fmt.Sprintf("clouddriver: {grpc: %q, insecure: true, auth: {token: flt_test}}\nserver: {host: 127.0.0.1, port: 0}\nkubernetes: {accounts: [{name: acct, kubeconfigFile: %q, namespaces: [%s]}]}\n",
		wire.listener.Addr().String(), kubeconfig, p.namespace)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	source := config.Options{File: file}
	settings, err := config.Load(source)
	if err != nil {
		t.Fatal(err)
	}
	log := &journal{}
	a, err := agent.New(settings, agent.Options{Source: source, Log: slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), log), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return wire, log
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
