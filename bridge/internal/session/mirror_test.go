package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/fairlead/fairlead/proto/cats"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// mirror is an agent with the real machine and the real records of one account; a map stands in for its cluster. It stays connected.
type mirror struct {
	w       *world
	account string

	mu        sync.Mutex
	core      *link.Agent
	inventory *cats.Inventory
	objects   map[cats.Key]map[string]any
	changed   chan struct{} // closed with each step
	actions   []link.Action
	refused   string
	epoch     uint64 // of the last attach
}

// kinds are what a mirror watches.
var kinds = []cats.Type{"deployment", "replicaSet", "pod", "service"}

// newMirror starts an agent for an account; kinds that are not live have to be called so.
func newMirror(w *world, account string, live ...cats.Type) *mirror {
	w.t.Helper()
	m := &mirror{w: w, account: account, inventory: cats.NewInventory(account, cats.Options{}), objects: map[cats.Key]map[string]any{}, changed: make(chan struct{})}
	var err error
	m.core, err = link.NewAgent(link.AgentConfig{Agent: &linkv1.Agent{Instance: "mirror of " + account, Name: account}, Format: cats.Format, Rand: rand.New(rand.NewPCG(1, 2))})
	if err != nil {
		w.t.Fatal(err)
	}
	m.core.SetAccounts(time.Now(), []link.Served{{Account: &linkv1.Account{Name: account}, Records: records{m.inventory}}}, nil)
	m.step(func(time.Time) {
		m.core.Watches(account, []string{"applications", "clusters", "deployment", "replicaSet", "pod", "service"})
	})
	for _, t := range live {
		m.live(t)
	}
	w.run(m.run)
	return m
}

func (m *mirror) live(types ...cats.Type) {
	m.step(func(now time.Time) {
		for _, t := range types {
			m.core.Live(now, m.account, string(t))
		}
	})
}

// everything is a mirror's kinds and those that follow from them.
func everything() []cats.Type { return append([]cats.Type{cats.Applications, cats.Clusters}, kinds...) }

// put puts objects as a watch would.
func (m *mirror) put(objects ...map[string]any) {
	m.w.t.Helper()
	for _, o := range objects {
		m.step(func(time.Time) {
			changes, err := m.inventory.Put(o)
			if err != nil {
				m.w.t.Error(err)
			}
			for _, c := range changes {
				if c.Kind == cats.PutRow && c.Body != nil && c.Key.Type != cats.Applications && c.Key.Type != cats.Clusters {
					m.objects[c.Key] = o
				}
			}
			m.core.Put(m.account, wireChanges(changes))
		})
	}
}

func (m *mirror) remove(key cats.Key) {
	m.step(func(time.Time) {
		delete(m.objects, key)
		m.core.Put(m.account, wireChanges(m.inventory.Delete(key)))
	})
}

// step feeds the machine and wakes everybody.
func (m *mirror) step(f func(now time.Time)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(time.Now())
	for a := m.core.NextAction(); a != nil; a = m.core.NextAction() {
		m.actions = append(m.actions, a)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// run keeps the agent connected.
func (m *mirror) run(ctx context.Context) error {
	for ctx.Err() == nil {
		m.connect(ctx)
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// connect is one session, from its streams to their end.
func (m *mirror) connect(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	defer owned.Wait()
	defer cancel()
	client := agentv1.NewAgentServiceClient(m.w.conn)
	stream, err := client.Session(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+m.w.token))
	if err != nil {
		return
	}
	m.step(func(now time.Time) { m.core.Connected(now) })
	defer m.step(func(now time.Time) { m.core.Lost(now, "the stream ended") })
	move(ctx, cancel, &owned, m, m.core.NextSession, m.core.ReceivedSession, stream.Send, stream.Recv)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		for _, action := range m.takeActions() {
			switch act := action.(type) {
			case link.OpenStreams:
				with := metadata.AppendToOutgoingContext(ctx, "fairlead-session", act.Secret)
				inventory, err := client.Inventory(with)
				if err != nil {
					return
				}
				operations, err := client.Operations(with)
				if err != nil {
					return
				}
				move(ctx, cancel, &owned, m, m.core.NextInventory, m.core.ReceivedInventory, inventory.Send, inventory.Recv)
				move(ctx, cancel, &owned, m, m.core.NextOperation, m.core.ReceivedOperation, operations.Send, operations.Recv)
			case link.Fetch:
				m.fetch(act)
			case link.Disconnect:
				return
			case link.Note:
				m.noted(act)
			}
		}
		select {
		case <-m.wait():
		case <-ticker.C:
			m.step(func(now time.Time) { m.core.Tick(now) })
		case <-ctx.Done():
		}
	}
}

func (m *mirror) noted(n link.Note) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch n.What {
	case link.NoteRefused:
		m.refused = n.Reason
	case link.NoteAccepted:
		m.refused = ""
	case link.NoteAttached, link.NoteContinued:
		m.epoch = n.Epoch
	}
}

func (m *mirror) lastEpoch() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch
}

func (m *mirror) refusal() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

func (m *mirror) takeActions() []link.Action {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.actions
	m.actions = nil
	return taken
}

func (m *mirror) wait() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.actions) > 0 {
		now := make(chan struct{})
		close(now)
		return now
	}
	return m.changed
}

// fetch reads objects again whose rows the tables lack.
func (m *mirror) fetch(act link.Fetch) {
	m.step(func(now time.Time) {
		for _, path := range act.Keys {
			key, err := cats.PathKey(cats.Type(act.Type), path)
			if err != nil {
				m.w.t.Error(err)
			}
			if o := m.objects[key]; o != nil {
				changes, err := m.inventory.Render(o)
				if err != nil {
					m.w.t.Error(err)
				}
				m.core.Put(m.account, wireChanges(changes))
			}
		}
		m.core.FetchDone(now, act.Account, act.Type)
	})
}

// differs names what the tables hold differently from the records, bodies and links looked at; "": nothing.
func (m *mirror) differs() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range (records{m.inventory}).Groups() {
		count, xor := (records{m.inventory}).Digest(g)
		if n, x, err := m.w.cache.Digest(m.w.t.Context(), m.account, g, true); err != nil || n != count || x != xor {
			return fmt.Sprintf("%s→%s: %d items in the tables, %d in the records, %v", g.GetType(), g.GetRelType(), n, count, err)
		}
	}
	return ""
}

func (m *mirror) agrees(when string) {
	m.w.t.Helper()
	last := ""
	defer func() {
		if last != "" {
			m.w.t.Log(last)
		}
	}()
	m.w.until("the tables agree "+when, func() bool { last = m.differs(); return last == "" })
}

// move sends and receives a stream's frames until it ends.
func move[U, D any](ctx context.Context, cancel context.CancelFunc, owned *sync.WaitGroup, m *mirror, next func() *U, received func(time.Time, *D), send func(*U) error, recv func() (*D, error)) {
	owned.Go(func() {
		defer cancel()
		for {
			frame, err := recv()
			if err != nil {
				return
			}
			m.step(func(now time.Time) { received(now, frame) })
		}
	})
	owned.Go(func() {
		defer cancel()
		for {
			m.mu.Lock()
			frame, changed := next(), m.changed
			m.mu.Unlock()
			if frame != nil {
				if send(frame) != nil {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
}

// records is how the machine sees an inventory.
type records struct{ inventory *cats.Inventory }

func groupOf(g *linkv1.Group) cats.Group {
	return cats.Group{Type: cats.Type(g.GetType()), RelType: cats.Type(g.GetRelType())}
}

func (r records) Groups() (list []*linkv1.Group) {
	for _, g := range r.inventory.Groups() {
		list = append(list, &linkv1.Group{Type: string(g.Type), RelType: string(g.RelType)})
	}
	return list
}

func (r records) Digest(g *linkv1.Group) (count, xor uint64) {
	n, x := r.inventory.Digest(groupOf(g))
	return uint64(n), x //nolint:gosec,unconvert // whatever its type is
}

func (r records) Page(g *linkv1.Group, after string, limit int) (list []*linkv1.Entry) {
	for _, e := range r.inventory.Page(groupOf(g), after, limit) {
		list = append(list, &linkv1.Entry{Key: e.Key, Hash: e.Hash})
	}
	return list
}

func (r records) Change(g *linkv1.Group, key string) (*linkv1.Change, bool) {
	c, ok := r.inventory.Change(groupOf(g), key)
	if !ok {
		return nil, false
	}
	return wireChanges([]cats.Change{c})[0], true
}

func wireKey(k cats.Key) *linkv1.Key {
	return &linkv1.Key{Type: string(k.Type), Scope: k.Scope, Name: k.Name}
}

func wireChanges(changes []cats.Change) (list []*linkv1.Change) {
	for _, c := range changes {
		l := &linkv1.Link{From: wireKey(c.Link.From), To: wireKey(c.Link.To)}
		switch c.Kind {
		case cats.PutRow:
			list = append(list, &linkv1.Change{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: wireKey(c.Key), Body: c.Body}}})
		case cats.DeleteRow:
			list = append(list, &linkv1.Change{Change: &linkv1.Change_DeleteRow{DeleteRow: wireKey(c.Key)}})
		case cats.PutLink:
			list = append(list, &linkv1.Change{Change: &linkv1.Change_PutLink{PutLink: l}})
		case cats.DeleteLink:
			list = append(list, &linkv1.Change{Change: &linkv1.Change_DeleteLink{DeleteLink: l}})
		}
	}
	return list
}

// workload is a deployment of an application with a replica set, pods and a service.
func workload(app string, pods int) (objects []map[string]any) {
	object := func(apiVersion, kind, name, owner, ownerKind string, spec map[string]any) map[string]any {
		meta := map[string]any{"name": name, "namespace": "n", "uid": "uid-" + kind + name,
			"annotations": map[string]any{"moniker.spinnaker.io/application": app, "moniker.spinnaker.io/cluster": "deployment " + app},
			"labels":      map[string]any{"app": app}}
		if owner != "" {
			meta["ownerReferences"] = []any{map[string]any{"apiVersion": "apps/v1", "kind": ownerKind, "name": owner, "uid": "uid-" + ownerKind + owner, "controller": true}}
		}
		return map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": meta, "spec": spec}
	}
	template := map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": app}}, "spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": "i:1"}}}}
	objects = append(objects,
		object("apps/v1", "Deployment", app, "", "", map[string]any{"template": template}),
		object("apps/v1", "ReplicaSet", app+"-1", app, "Deployment", map[string]any{"template": template, "replicas": int64(pods)}),
		object("v1", "Service", app, "", "", map[string]any{"selector": map[string]any{"app": app}}))
	for i := range pods {
		objects = append(objects, object("v1", "Pod", fmt.Sprintf("%s-1-%d", app, i), app+"-1", "ReplicaSet", map[string]any{"nodeName": "node"}))
	}
	return objects
}
