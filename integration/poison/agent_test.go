package poison

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/fairlead/fairlead/proto/cats"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/testenv"
)

// agent speaks the protocol by hand: it says what no honest agent would.
type agent struct {
	t         *testing.T
	account   string
	session   agentv1.AgentService_SessionClient
	inventory agentv1.AgentService_InventoryClient
	epoch     uint64
	seq       uint64
}

// join opens a session for one account, up to its attach.
func join(t *testing.T, bridge testenv.Bridge, token, account string) *agent {
	t.Helper()
	// Who the bridge is, is not the point here.
	conn, err := grpc.NewClient(bridge.Agents, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}))) //nolint:gosec // see above
	must(t, err)
	ctx, cut := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		cut()
		_ = conn.Close()
	})
	client := agentv1.NewAgentServiceClient(conn)
	a := &agent{t: t, account: account}
	a.session, err = client.Session(metadata.AppendToOutgoingContext(ctx, "fairlead-token", token))
	must(t, err)
	must(t, a.session.Send(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Hello{Hello: &linkv1.Hello{Capability: 1, MinimumCapability: 1, CatsFormat: cats.Format,
		Agent: &linkv1.Agent{Instance: "poisoner", Name: "poisoner"}, Accounts: []*linkv1.Account{{Name: account}}}}}))
	must(t, a.session.Send(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: &linkv1.Facts{Account: account, Namespaces: []string{"shop-shared"}, ServerVersion: "v1.34.0"}}}))
	secret := ""
	for a.epoch == 0 || secret == "" {
		frame, err := a.session.Recv()
		must(t, err)
		if w := frame.GetWelcome(); w != nil {
			secret = w.GetSessionSecret()
			go a.beat(ctx)
		}
		if at := frame.GetAttached(); at != nil {
			a.epoch = at.GetEpoch()
		}
		if v := frame.GetVerdict(); v != nil && !v.GetAccepted() {
			t.Fatal(v.GetReason())
		}
	}
	go a.drainSession()
	with := metadata.AppendToOutgoingContext(ctx, "fairlead-session", secret)
	a.inventory, err = client.Inventory(with)
	must(t, err)
	_, err = client.Operations(with)
	must(t, err)
	return a
}

func (a *agent) beat(ctx context.Context) {
	for n := uint64(1); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		if a.session.Send(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Heartbeat{Heartbeat: &linkv1.Heartbeat{Number: n}}}) != nil {
			return
		}
	}
}

func (a *agent) drainSession() {
	for {
		if _, err := a.session.Recv(); err != nil {
			return
		}
	}
}

// send sends changes and returns why each that was not stored was rejected, when all have been answered.
func (a *agent) send(changes []cats.Change) (rejected map[string]string, err error) {
	a.seq++
	batch := &linkv1.Batch{}
	for _, c := range changes {
		batch.Changes = append(batch.Changes, wire(c))
	}
	if err := a.inventory.Send(&linkv1.InventoryUp{Account: a.account, Epoch: a.epoch, Seq: a.seq, Step: &linkv1.InventoryUp_Batch{Batch: batch}}); err != nil {
		_, err = a.inventory.Recv()
		return nil, err
	}
	rejected = map[string]string{}
	for {
		frame, err := a.inventory.Recv()
		if err != nil {
			return nil, err
		}
		if r := frame.GetRejected(); r != nil {
			rejected[r.GetKey()] = r.GetReason()
		}
		if frame.GetAck().GetSeq() == a.seq {
			return rejected, nil
		}
	}
}

func wire(c cats.Change) *linkv1.Change {
	key := func(k cats.Key) *linkv1.Key { return &linkv1.Key{Type: string(k.Type), Scope: k.Scope, Name: k.Name} }
	link := &linkv1.Link{From: key(c.Link.From), To: key(c.Link.To)}
	switch c.Kind {
	case cats.PutRow:
		return &linkv1.Change{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: key(c.Key), Body: c.Body}}}
	case cats.DeleteRow:
		return &linkv1.Change{Change: &linkv1.Change_DeleteRow{DeleteRow: key(c.Key)}}
	case cats.PutLink:
		return &linkv1.Change{Change: &linkv1.Change_PutLink{PutLink: link}}
	case cats.DeleteLink:
		return &linkv1.Change{Change: &linkv1.Change_DeleteLink{DeleteLink: link}}
	}
	panic(fmt.Sprint(errors.New("a change of no kind"), c.Kind))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
