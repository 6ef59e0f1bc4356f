package session

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func begin(id string, mutation bool, credit, offset uint64) *linkv1.OperationDown {
	return &linkv1.OperationDown{Id: id, Frame: &linkv1.OperationDown_Start{Start: &linkv1.Start{Account: "a", DeadlineMs: 600_000, Mutation: mutation, OutputCredit: credit, OutputOffset: offset,
		Operation: &linkv1.Operation{Operation: &linkv1.Operation_Get{Get: &linkv1.Get{Kind: "pod", Name: "x"}}}}}}
}

func received(id string) *linkv1.OperationDown {
	return &linkv1.OperationDown{Id: id, Frame: &linkv1.OperationDown_Received{Received: &linkv1.Received{}}}
}

func ended(id string) func(*linkv1.OperationUp) bool {
	return func(f *linkv1.OperationUp) bool { return f.GetId() == id && f.GetOutcome() != nil }
}

func TestResultOfAnOperationWhoseStreamBrokeIsDeliveredInTheNextSession(t *testing.T) {
	b := newBridge(t)
	proceed, running := make(chan struct{}), make(chan struct{}, 10)
	var runs atomic.Int64
	a := start(t, b.address, func(_ *Config, s *scripted) {
		s.run = func(_ context.Context, _ *linkv1.Operation, output io.Writer) *linkv1.Outcome {
			runs.Add(1)
			_, _ = output.Write([]byte("before "))
			running <- struct{}{}
			<-proceed
			_, _ = output.Write([]byte("after"))
			return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE, DurationMs: 7}
		}
	})
	p := b.session()
	p.welcome(1 << 20)
	ops := next(t, "the operations stream", p.operations)
	ops.say(begin("op", true, 1<<20, 0))
	next(t, "the operation's start", running)
	if f := next(t, "output", ops.up); string(f.GetOutput().GetData()) != "before " {
		t.Fatalf("%v", f)
	}
	if list := a.Session.Operations(); len(list) != 1 || list[0].ID != "op" || list[0].Account != "a" {
		t.Errorf("operations under way: %v", list)
	}
	p.end()
	p = b.session()
	close(proceed)
	p.welcome(1 << 20)
	ops = next(t, "the operations stream", p.operations)
	ops.say(begin("op", true, 1<<20, uint64(len("before "))))
	var output bytes.Buffer
	outcome := until(t, "the outcome", ops.up, func(f *linkv1.OperationUp) bool {
		output.Write(f.GetOutput().GetData())
		return f.GetOutcome() != nil
	}).GetOutcome()
	if output.String() != "after" || outcome.GetDurationMs() != 7 || runs.Load() != 1 {
		t.Errorf("output %q, outcome %v, ran %d times", &output, outcome, runs.Load())
	}
}

func TestOutputWaitsForItsCallersCreditAndHoldsUpNobodyElse(t *testing.T) {
	b := newBridge(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	start(t, b.address, func(_ *Config, s *scripted) {
		s.run = func(_ context.Context, op *linkv1.Operation, output io.Writer) *linkv1.Outcome {
			if _, err := output.Write(content); err != nil {
				return &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED}
			}
			return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}
		}
	})
	p := b.session()
	p.welcome(1 << 20)
	ops := next(t, "the operations stream", p.operations)
	const credit = 128 << 10
	ops.say(begin("slow", false, credit, 0))
	var got []byte
	read := func(enough int) {
		t.Helper()
		for len(got) < enough {
			f := next(t, "output", ops.up)
			if f.GetId() != "slow" || f.GetOutput().GetOffset() != uint64(len(got)) {
				t.Fatalf("after %d bytes: %s at %d", len(got), f.GetId(), f.GetOutput().GetOffset())
			}
			got = append(got, f.GetOutput().GetData()...)
		}
	}
	read(credit)
	// Another one overtakes it.
	ops.say(begin("quick", false, 2<<20, 0))
	until(t, "the other operation's outcome", ops.up, func(f *linkv1.OperationUp) bool {
		if f.GetId() == "slow" {
			t.Fatal("output beyond its credit")
		}
		return f.GetOutcome() != nil
	})
	for len(got) < len(content) {
		ops.say(&linkv1.OperationDown{Id: "slow", Frame: &linkv1.OperationDown_OutputCredit{OutputCredit: credit}})
		read(min(len(got)+credit, len(content)))
	}
	until(t, "the outcome", ops.up, ended("slow"))
	if !bytes.Equal(got, content) {
		t.Error("the output is another one")
	}
}

func TestCancelledOperationStopsThoughItsOutputWaits(t *testing.T) {
	b := newBridge(t)
	start(t, b.address, func(_ *Config, s *scripted) {
		s.run = func(ctx context.Context, _ *linkv1.Operation, output io.Writer) *linkv1.Outcome {
			if _, err := output.Write(make([]byte, 4<<20)); err == nil || ctx.Err() == nil {
				return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}
			}
			return &linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED, Reason: "stopped"}
		}
	})
	p := b.session()
	p.welcome(1 << 20)
	ops := next(t, "the operations stream", p.operations)
	ops.say(begin("op", false, 64<<10, 0))
	next(t, "output", ops.up)
	ops.say(&linkv1.OperationDown{Id: "op", Frame: &linkv1.OperationDown_Cancel{Cancel: &linkv1.Cancel{Reason: "nobody waits"}}})
	// The output that was kept is told first, as far as there is credit for it.
	ops.say(&linkv1.OperationDown{Id: "op", Frame: &linkv1.OperationDown_OutputCredit{OutputCredit: 8 << 20}})
	if o := until(t, "the outcome", ops.up, ended("op")).GetOutcome(); o.GetState() != linkv1.Outcome_STATE_CANCELLED || o.GetReason() != "nobody waits" {
		t.Errorf("outcome %v", o)
	}
}
