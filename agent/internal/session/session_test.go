package session

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestAgentOpensItsStreamsWithTheSecretOfItsWelcome(t *testing.T) {
	b := newBridge(t)
	b.token = "flt_of_the_test"
	a := start(t, b.address, nil)
	if s := a.State(); s.Connected || s.Problem == "" {
		t.Errorf("before it connected: %+v", s)
	}
	p := b.session()
	p.welcome(1 << 20)
	next(t, "the inventory stream", p.inventory)
	next(t, "the operations stream", p.operations)
	eventually(t, "it says that it is connected", func() bool { s := a.State(); return s.Connected && s.Problem == "" })
	p.say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Verdict{Verdict: &linkv1.AccountVerdict{Account: "a", Reason: "not yours"}}})
	eventually(t, "it says which account was refused", func() bool { return a.State().Refused["a"] == "not yours" })
	p.attach(1)
	eventually(t, "it says that it no longer is", func() bool { return len(a.State().Refused) == 0 })
}

func TestAgentThatIsNotLetInSaysWhyAndReadsItsTokenForEachTry(t *testing.T) {
	b := newBridge(t)
	b.token = "right"
	var reads atomic.Int64
	rotated := make(chan struct{})
	a := start(t, b.address, func(cfg *Config, _ *scripted) {
		cfg.Token = func() (string, error) {
			select {
			case <-rotated:
				return "right", nil
			default:
			}
			if reads.Add(1) == 1 {
				return "", errBroken
			}
			return "wrong", nil
		}
	})
	eventually(t, "it says that it is not let in", func() bool {
		return strings.Contains(a.State().Problem, "does not accept this agent: the token is not known")
	})
	if !strings.Contains(a.log.String(), "enrolment token: "+errBroken.Error()) {
		t.Error("that the token could not be read was not said")
	}
	close(rotated)
	b.session().welcome(1 << 20)
	eventually(t, "it is connected", func() bool { return a.State().Connected })
}

func TestPausesGrowToTheirBoundAndAreRandomAfterASessionThatWorked(t *testing.T) {
	p := Pauses{Reconnect: 8 * time.Second, Base: time.Second, Max: 10 * time.Second, Multiplier: 2, Jitter: 0.1}
	for tries, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		for range 100 {
			if got := p.after(tries, false); got < want*9/10 || got > want*11/10 {
				t.Fatalf("after %d tries: %s, want %s ±10 %%", tries, got, want)
			}
		}
	}
	seen := map[time.Duration]bool{}
	for range 100 {
		got := p.after(5, true)
		if got < 0 || got > 8*time.Second {
			t.Fatalf("after a session that worked: %s", got)
		}
		seen[got] = true
	}
	if len(seen) < 50 {
		t.Error("pauses after a session that worked are not random")
	}
}

func TestWhatABridgeSaysLastIsTheReasonThoughItsStreamEndsWithIt(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	for i := range 30 {
		reason := "reason " + string(rune('a'+i))
		p := b.session()
		p.welcome(1 << 20)
		p.close(linkv1.Close_CODE_RETRY, reason)
		eventually(t, "it says "+reason, func() bool { return strings.Contains(a.log.String(), `reason="`+reason+`"`) })
	}
}

func TestAgentThatIsRefusedTriesAsRarelyAsItMay(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, func(cfg *Config, _ *scripted) { cfg.Pauses.Max = time.Hour })
	p := b.session()
	p.welcome(1 << 20)
	p.close(linkv1.Close_CODE_REFUSED, "upgrade it")
	eventually(t, "it says so as an error, with its next try", func() bool {
		log := a.log.String()
		return strings.Contains(log, "level=ERROR") && strings.Contains(log, `reason="upgrade it" next_try=1h0m0s`)
	})
}

func TestBridgeThatAcceptsAndDropsAnAgentIsAskedMoreAndMoreRarely(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, func(cfg *Config, _ *scripted) {
		cfg.Pauses = Pauses{Base: time.Millisecond, Max: time.Hour, Multiplier: 4}
	})
	for _, pause := range []string{"1ms", "4ms", "16ms", "64ms"} {
		p := b.session()
		p.welcome(1 << 20)
		p.err = status.Error(codes.Unavailable, "dropped")
		p.end()
		eventually(t, "it pauses for "+pause, func() bool { return strings.Contains(a.log.String(), " next_try="+pause) })
	}
}

func TestDrainedAgentGoesWhereItIsSentAndComesBackWhenThatFails(t *testing.T) {
	first, second := newBridge(t), newBridge(t)
	a := start(t, first.address, nil)
	p := first.session()
	p.welcome(1 << 20)
	p.say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Drain{Drain: &linkv1.Drain{GraceMs: 60_000, Reason: "moving", Addresses: []string{"no port", second.address}}}})
	until(t, "goodbye", p.up, func(f *linkv1.SessionUp) bool { return f.GetGoodbye() != nil })
	p.end()
	moved := second.session()
	moved.welcome(1 << 20)
	eventually(t, "it is connected", func() bool { return a.State().Connected })
	if log := a.log.String(); !strings.Contains(log, `address="no port"`) || strings.Contains(log, "level=ERROR") {
		t.Errorf("an address of a bridge that cannot be is not only skipped:\n%s", log)
	}
	moved.end()
	first.session()
}

func TestAgentThatStopsSaysGoodbyeAndWaitsUntilItIsRead(t *testing.T) {
	b := newBridge(t)
	a := start(t, b.address, nil)
	p := b.session()
	p.welcome(1 << 20)
	next(t, "the operations stream", p.operations)
	a.stop()
	bye := until(t, "goodbye", p.up, func(f *linkv1.SessionUp) bool { return f.GetGoodbye() != nil })
	if bye.GetGoodbye().GetReason() == "" {
		t.Error("goodbye gives no reason")
	}
	p.end()
	a.leave()
	if strings.Contains(a.log.String(), "took too long") {
		t.Error("the goodbye was not read in time")
	}
}

func TestAgentThatStopsLetsRunningOperationsEnd(t *testing.T) {
	b := newBridge(t)
	proceed, running := make(chan struct{}), make(chan struct{})
	a := start(t, b.address, func(_ *Config, s *scripted) {
		s.run = func(context.Context, *linkv1.Operation, io.Writer) *linkv1.Outcome {
			close(running)
			<-proceed
			return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}
		}
	})
	p := b.session()
	p.welcome(1 << 20)
	p.attach(1)
	ops := next(t, "the operations stream", p.operations)
	ops.say(begin("op", true, 1<<20, 0))
	next(t, "the operation's start", running)
	a.stop()
	ops.say(begin("late", true, 1<<20, 0))
	if o := until(t, "the late operation's answer", ops.up, ended("late")).GetOutcome(); o.GetState() != linkv1.Outcome_STATE_NOT_STARTED {
		t.Errorf("an operation that came after the goodbye: %v", o)
	}
	ops.say(received("late"))
	close(proceed)
	if o := until(t, "the outcome", ops.up, ended("op")).GetOutcome(); o.GetState() != linkv1.Outcome_STATE_DONE {
		t.Errorf("outcome %v", o)
	}
	ops.say(received("op"))
	until(t, "goodbye", p.up, func(f *linkv1.SessionUp) bool { return f.GetGoodbye() != nil })
	p.end()
}

func TestAgentThatStopsDoesNotWaitForABridgeThatDoesNotAnswer(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts by its backlog, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	dialled := make(chan struct{})
	a := start(t, listener.Addr().String(), func(cfg *Config, _ *scripted) {
		cfg.Token = func() (string, error) { close(dialled); return "flt_of_the_test", nil }
	})
	next(t, "a try", dialled)
	a.leave()
	if strings.Contains(a.log.String(), "took too long") {
		t.Error("it waited for a bridge that it was not connected to")
	}
}
