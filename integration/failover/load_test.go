package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	clouddriverv1 "github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1/clouddriverv1connect"
)

// outcome is what a caller was told of a change.
type outcome int

const (
	done    outcome = iota + 1
	nothing         // it did not begin
	unknown         // nobody knows
)

func (o outcome) String() string {
	return [...]string{done: "done", nothing: "nothing was changed", unknown: "unknown"}[o]
}

// operation is one that a caller asked for. It creates a service with a name that the API server makes, so that doing it twice shows.
type operation struct {
	id, account string
	bridge      int
	told        outcome
	text        string
	took        time.Duration
}

// load is what goes on while something breaks.
type load struct {
	install *install
	stop    context.CancelFunc
	all     sync.WaitGroup

	mu         sync.Mutex
	operations []operation
	changes    int
}

var serial struct {
	sync.Mutex

	n int
}

func nextID() string {
	serial.Lock()
	defer serial.Unlock()
	serial.n++
	return fmt.Sprintf("op%04d", serial.n)
}

// begin changes objects behind Clouddriver's back ten times a second, and has callers at each of the given bridges do one operation after the other.
func (i *install) begin(ctx context.Context, bridges ...int) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{install: i, stop: stop}
	l.all.Go(func() { l.change(ctx) })
	for n, bridge := range bridges {
		for c := range 2 {
			l.all.Go(func() {
				for turn := c + n; ctx.Err() == nil; turn++ {
					l.operate(ctx, bridge, accounts[turn%len(accounts)])
				}
			})
		}
	}
	return l
}

// end stops what goes on and waits for its answers.
func (l *load) end() []operation {
	l.stop()
	l.all.Wait()
	return l.operations
}

func (l *load) change(ctx context.Context) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		patch := fmt.Sprintf(`{"metadata":{"labels":{"turn":"t%d"}}}`, n)
		if _, err := l.install.kube.CoreV1().Services(namespace).Patch(ctx, fmt.Sprintf("watched-s%02d", n%watched), types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err == nil {
			l.mu.Lock()
			l.changes++
			l.mu.Unlock()
		}
	}
}

// operate has one operation done. Its answer is waited for even if the load ends meanwhile.
func (l *load) operate(ctx context.Context, bridge int, account string) {
	o := operation{id: nextID(), account: account, bridge: bridge}
	began := time.Now()
	o.told, o.text = l.install.create(context.WithoutCancel(ctx), bridge, account, o.id)
	o.took = time.Since(began)
	l.mu.Lock()
	l.operations = append(l.operations, o)
	l.mu.Unlock()
	pause := 100 * time.Millisecond
	if o.told != done {
		pause = 500 * time.Millisecond // a bridge that is away answers at once
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// create asks a bridge as Clouddriver's plugin does, and tells what it was told.
func (i *install) create(ctx context.Context, bridge int, account, id string) (outcome, string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b := i.Bridges[bridge]
	secret, err := os.ReadFile(b.PluginSecretFile)
	if err != nil {
		return nothing, err.Error()
	}
	manifest := fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {generateName: op-, namespace: %s, labels: {op: %s}}\nspec: {clusterIP: None, ports: [{port: 80}]}\n", namespace, id)
	client := clouddriverv1connect.NewClouddriverServiceClient(http.DefaultClient, b.Plugin, connect.WithProtoJSON())
	request := connect.NewRequest(&clouddriverv1.ExecuteRequest{Account: account, Arguments: []string{"create", "-o", "json", "-f", "-"}, Stdin: []byte(manifest), TimeoutMs: 40_000, User: "ada", Execution: id})
	request.Header().Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	stream, err := client.Execute(ctx, request)
	if err != nil {
		return broken(err)
	}
	defer func() { _ = stream.Close() }()
	var stderr strings.Builder
	code := int32(-1)
	for stream.Receive() {
		m := stream.Msg()
		stderr.Write(m.GetStderr())
		if e := m.GetExit(); e != nil {
			code = e.GetCode()
		}
	}
	switch text := stderr.String(); {
	case stream.Err() != nil:
		return broken(stream.Err())
	case code < 0:
		return unknown, io.ErrUnexpectedEOF.Error()
	case code == 0:
		return done, text
	case strings.Contains(text, "nothing was changed"):
		return nothing, text
	default:
		return unknown, text
	}
}

// broken is a call that ended without an answer: a bridge that could not be dialled was not asked.
func broken(err error) (outcome, string) {
	var e *connect.Error
	if errors.As(err, &e) && strings.Contains(e.Message(), "connection refused") {
		return nothing, e.Message()
	}
	return unknown, err.Error()
}
