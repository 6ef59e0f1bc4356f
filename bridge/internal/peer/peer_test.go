package peer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/operations"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestOperationsBetweenBridges(t *testing.T) {
	server := storetest.Start(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, here, there *node)
	}{
		{"an operation is done by the agent of another bridge", forwarded},
		{"an agent that comes to another bridge in the middle is asked there by the same id", agentMoves},
		{"a relay that breaks in the middle is opened again, and the result comes", relayBreaks},
		{"what ended while the relay was cut is answered and not repeated", endedWhileCut},
		{"a caller that is gone cancels at the agent", cancelled},
		{"an agent that stops serving the account says that it did not begin", withdrawn},
		{"a bridge that drains takes nothing new", draining},
		{"an entry of a session that is gone ends as absent", stale},
		{"frames for operations of the bridge in between are refused", foreignID},
		{"agents of all bridges share an account's operations where they are distributed, and only there", shared},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, k := server.Database(t), key(t)
			test.run(t, newNode(t, d, k, "here", 20*time.Second), newNode(t, d, k, "there", 20*time.Second))
		})
	}
	t.Run("nobody but the bridge of that name is called, and nobody but a bridge may call", func(t *testing.T) { strangers(t, server) })
}

func forwarded(t *testing.T, here, there *node) {
	a := there.connect("s", "i")
	until(t, "the account is known here", func() bool { _, known := here.registry.Get("a"); return known })
	for _, mutation := range []bool{false, true, true} {
		var output bytes.Buffer
		ended := here.begin(t.Context(), mutation, &output)
		id, start := a.started("the operation")
		if start.GetAccount() != "a" || start.GetMutation() != mutation || start.GetOperation().GetGet().GetName() != "x" || start.GetDeadlineMs() == 0 {
			t.Errorf("started as %v", start)
		}
		text := strings.Repeat("output ", 10_000)
		a.output(id, 0, text[:1000])
		a.output(id, 1000, text[1000:])
		a.done(id)
		succeeded(t, "the operation", ended)
		if output.String() != text {
			t.Errorf("%d bytes of output arrived, want %d", output.Len(), len(text))
		}
	}
	// Output flows by the caller's credit.
	var output bytes.Buffer
	ended := here.begin(t.Context(), false, &output)
	id, start := a.started("the operation")
	piece := strings.Repeat("x", 1<<20)
	credit := start.GetOutputCredit()
	for sent := uint64(0); sent < 12<<20; sent += 1 << 20 {
		for credit < sent+1<<20 {
			f := a.next("credit")
			credit += f.GetOutputCredit()
		}
		a.output(id, sent, piece)
	}
	a.done(id)
	succeeded(t, "the long output", ended)
	if output.Len() != 12<<20 {
		t.Errorf("%d bytes arrived", output.Len())
	}
}

func shared(t *testing.T, here, there *node) {
	near, far := here.connect("near", "i"), there.connect("far", "j")
	until(t, "the other bridge's session is known here", func() bool { a, _ := here.registry.Get("a"); return len(a.Elsewhere) == 1 })
	for range 3 {
		ended := here.begin(t.Context(), true, io.Discard)
		id, _ := near.started("a change that is not shared")
		near.done(id)
		succeeded(t, "the change", ended)
	}
	here.spread.Store(true)
	// The first ones find the way; from then on each goes to the agent that has the fewest.
	first := here.begin(t.Context(), true, io.Discard)
	id, _ := near.started("the first change")
	for shared, late := false, time.After(patience); !shared; {
		ended := here.begin(t.Context(), true, io.Discard)
		for answered := false; !answered; {
			for _, a := range []agent{near, far} {
				if f := a.Next(); f.GetStart() != nil {
					a.done(f.GetId())
					answered, shared = true, a == far
				}
			}
			if answered {
				break
			}
			select {
			case <-near.Wake:
			case <-far.Wake:
			case <-late:
				t.Fatal("waited in vain for a change at the other bridge's agent")
			}
		}
		succeeded(t, "a change", ended)
	}
	near.done(id)
	succeeded(t, "the first change", first)
}

func agentMoves(t *testing.T, here, there *node) {
	a := there.connect("s", "i")
	until(t, "the account is known here", func() bool { _, known := here.registry.Get("a"); return known })
	var output bytes.Buffer
	ended := here.begin(t.Context(), true, &output)
	id, _ := a.started("the change")
	a.output(id, 0, "begun, ")
	until(t, "output arrived", func() bool { return here.router.Busy("there/s") })
	a.disconnect()
	b := here.connect("s2", "i")
	again, start := b.started("the change, again")
	if again != id || start.GetOutputOffset() > 7 {
		t.Fatalf("asked again as %s from %d", again, start.GetOutputOffset())
	}
	b.output(id, start.GetOutputOffset(), "begun, "[start.GetOutputOffset():])
	b.output(id, 7, "done")
	b.done(id)
	succeeded(t, "the change", ended)
	if output.String() != "begun, done" {
		t.Errorf("output %q", output.String())
	}
}

func relayBreaks(t *testing.T, here, there *node) {
	a := there.connect("s", "i")
	until(t, "the account is known here", func() bool { _, known := here.registry.Get("a"); return known })
	ended := here.begin(t.Context(), true, io.Discard)
	id, _ := a.started("the change")
	there.hangUp()
	until(t, "the relay is lost", func() bool { return !here.router.Busy("there/s") })
	there.listen(there.address)
	again, _ := a.started("the change, again")
	if again != id {
		t.Errorf("asked again as %s, not as %s", again, id)
	}
	a.done(id)
	succeeded(t, "the change", ended)
}

func endedWhileCut(t *testing.T, here, there *node) {
	a := there.connect("s", "i")
	until(t, "the account is known here", func() bool { _, known := here.registry.Get("a"); return known })
	ended := here.begin(t.Context(), true, io.Discard)
	id, _ := a.started("the change")
	there.hangUp()
	until(t, "the relay is lost", func() bool { return !here.router.Busy("there/s") })
	a.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}})
	if f := a.Next(); f != nil {
		t.Fatalf("a result that nobody took is answered with %v: the agent would forget it", f)
	}
	there.listen(there.address)
	if again, _ := a.started("the change, again"); again != id {
		t.Errorf("asked again as %s, not as %s", again, id)
	}
	a.done(id)
	succeeded(t, "the change", ended)
}

func cancelled(t *testing.T, here, there *node) {
	a := there.connect("s", "i")
	until(t, "the account is known here", func() bool { _, known := here.registry.Get("a"); return known })
	ctx, cancel := context.WithCancel(t.Context())
	ended := here.begin(ctx, true, io.Discard)
	id, _ := a.started("the change")
	cancel()
	if f := a.next("the cancellation"); f.GetId() != id || f.GetCancel() == nil {
		t.Errorf("got %v", f)
	}
	a.say(&linkv1.OperationUp{Id: id, Frame: &linkv1.OperationUp_Outcome{Outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED}}})
	if r := wait(t, "the end", ended); r.outcome.GetState() != linkv1.Outcome_STATE_CANCELLED {
		t.Errorf("%v, %v", r.outcome, r.err)
	}
}

func withdrawn(t *testing.T, here, there *node) {
	a := there.connect("s", "i")
	until(t, "the account is known here", func() bool { _, known := here.registry.Get("a"); return known })
	there.router.Withdraw("s", "a")
	r := wait(t, "the refusal", here.begin(t.Context(), true, io.Discard))
	if r.outcome.GetState() != linkv1.Outcome_STATE_NOT_STARTED || !strings.Contains(r.outcome.GetReason(), "no longer serves") {
		t.Errorf("%v, %v", r.outcome, r.err)
	}
	if f := a.Next(); f != nil {
		t.Errorf("the agent got %v", f)
	}
}

func draining(t *testing.T, here, there *node) {
	a := there.connect("s", "i")
	until(t, "the account is known here", func() bool { _, known := here.registry.Get("a"); return known })
	first := here.begin(t.Context(), true, io.Discard)
	id, _ := a.started("the change before")
	there.router.Drain("s")
	a.done(id)
	succeeded(t, "the change before", first)
	second := here.begin(t.Context(), true, io.Discard)
	// The agent goes where it was told, and gets it there.
	a.disconnect()
	b := here.connect("s2", "i")
	id, _ = b.started("the change after")
	b.done(id)
	succeeded(t, "the change after", second)
	if f := a.Next(); f != nil {
		t.Errorf("the session that drains got %v", f)
	}
}

func stale(t *testing.T, here, there *node) {
	there.connect("s", "i")
	until(t, "the account is known here", func() bool { _, known := here.registry.Get("a"); return known })
	there.router.Lost("s") // the directory still has it
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var absent *operations.AbsentError
	if r := wait(t, "the refusal", here.begin(ctx, true, io.Discard)); !errors.As(r.err, &absent) || !absent.NotStarted() {
		t.Errorf("%v, %v", r.outcome, r.err)
	}
}

func foreignID(t *testing.T, _, there *node) {
	a := there.connect("s", "i")
	ended := there.begin(t.Context(), true, io.Discard)
	id, _ := a.started("its own change")
	relay, err := there.router.Relay("s")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	if err := relay.Received(&linkv1.OperationDown{Id: id, Frame: &linkv1.OperationDown_Cancel{Cancel: &linkv1.Cancel{}}}); err == nil {
		t.Error("another bridge cancelled an operation of this one")
	}
	a.done(id)
	succeeded(t, "its own change", ended)
}

func strangers(t *testing.T, server *storetest.Server) {
	d := server.Database(t)
	k := key(t)
	there := newNode(t, d, k, "there", time.Second)
	dial := func(config *tls.Config) error {
		conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", there.address)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		// With TLS 1.3 the server's refusal comes with the first read.
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	if err := dial(there.authority.PeerClientConfig("here", "there")); err != nil {
		t.Errorf("a bridge is refused: %v", err)
	}
	if err := dial(there.authority.PeerClientConfig("here", "another")); err == nil || !strings.Contains(err.Error(), `bridge "there", not of "another"`) {
		t.Errorf("the bridge of another name is called: %v", err)
	}
	anonymous := there.authority.PeerClientConfig("here", "there")
	anonymous.GetClientCertificate = nil
	if err := dial(anonymous); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a caller without a certificate: %v", err)
	}
	agents := there.authority.ServerConfig([]string{"localhost"})
	notABridge := there.authority.PeerClientConfig("here", "there")
	notABridge.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return agents.GetCertificate(nil) }
	if err := dial(notABridge); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a caller with another certificate of the authority: %v", err)
	}
	other := newNode(t, server.Database(t), key(t), "there", time.Second)
	if err := dial(other.authority.PeerClientConfig("here", "there")); err == nil {
		t.Error("a bridge of another authority is trusted")
	}
}
