package bridgetest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/fairlead/fairlead/proto/cats"
	agentv1 "github.com/fairlead/fairlead/proto/gen/fairlead/agent/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/link"
)

// Agent says what an agent says on its session stream, and nothing on the others: no inventory, no operations. It is for what a real one
// cannot be made to say; everything else has a real agent.
type Agent struct {
	stream agentv1.AgentService_SessionClient
	frames chan *linkv1.SessionDown
	t      testing.TB
}

// Hello is what a good agent of this build says that serves some accounts.
func Hello(name string, accounts ...string) *linkv1.Hello {
	h := &linkv1.Hello{Capability: uint32(link.Current), MinimumCapability: uint32(link.Oldest), CatsFormat: cats.Format,
		Agent: &linkv1.Agent{Instance: name + "-1", Name: name, Version: "v1.0.0"}}
	for _, a := range accounts {
		h.Accounts = append(h.Accounts, &linkv1.Account{Name: a})
	}
	return h
}

// Agent connects one, with a token for all accounts; it goes with the test or by Leave.
func (b *Bridge) Agent(hello *linkv1.Hello) *Agent {
	b.t.Helper()
	_, body := b.Post("/fairlead.admin.v1.AdminService/CreateToken", `{"accounts":["*"]}`)
	var token struct{ Token string }
	if err := json.Unmarshal([]byte(body), &token); err != nil || token.Token == "" {
		b.t.Fatalf("token: %v %s", err, body)
	}
	conn, err := grpc.NewClient(b.Config.Agents.Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}))) //nolint:gosec // whom it talks to is known here
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	a := &Agent{t: b.t, frames: make(chan *linkv1.SessionDown, 100)}
	ended := make(chan struct{})
	b.t.Cleanup(func() {
		cancel()
		<-ended
		_ = conn.Close()
	})
	a.stream, err = agentv1.NewAgentServiceClient(conn).Session(metadata.AppendToOutgoingContext(ctx, "fairlead-token", token.Token), grpc.WaitForReady(true))
	if err != nil {
		close(ended)
		b.t.Fatal(err)
	}
	go func() {
		defer close(ended)
		defer close(a.frames)
		for {
			frame, err := a.stream.Recv()
			if err != nil {
				return
			}
			select {
			case a.frames <- frame:
			case <-ctx.Done():
				return
			}
		}
	}()
	a.Say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Hello{Hello: hello}})
	return a
}

// Say sends a frame.
func (a *Agent) Say(frame *linkv1.SessionUp) {
	a.t.Helper()
	if err := a.stream.Send(frame); err != nil {
		a.t.Fatal(err)
	}
}

// Hears waits for a frame that fits.
func (a *Agent) Hears(what string, fits func(*linkv1.SessionDown) bool) *linkv1.SessionDown {
	a.t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		select {
		case frame, open := <-a.frames:
			if !open {
				a.t.Fatalf("the session ended before %s came", what)
			}
			if fits(frame) {
				return frame
			}
		case <-limit.C:
			a.t.Fatalf("%s did not come", what)
		}
	}
}
