package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func done(failures ...*linkv1.Failure) *linkv1.Outcome {
	return &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE, Failures: failures}
}

func TestACommandRunsOnItsAccountAndAnswersAsKubectl(t *testing.T) {
	var seen string
	e := serve(t, newRegistry(account("prod")), runner(func(ctx context.Context, account string, op *linkv1.Operation, mutation bool, output io.Writer) (*linkv1.Outcome, error) {
		deadline, _ := ctx.Deadline()
		seen = fmt.Sprint(account, " ", op.GetApply().GetServerSide(), " ", string(op.GetApply().GetManifests()), " ", mutation, " ", CallerOf(ctx), " ", time.Until(deadline) > 50*time.Second)
		_, _ = output.Write([]byte(`{"kind":"ConfigMap"}`))
		o := done()
		o.Warnings = []string{"careful"}
		return o, nil
	}))
	x := e.execute(map[string]any{"account": "prod", "arguments": []string{"apply", "--server-side=true", "-o", "json", "-f", "-"},
		"stdin": []byte("kind: ConfigMap"), "timeoutMs": "60000", "user": "ann", "execution": "01X"})
	if x != (execution{stdout: `{"kind":"ConfigMap"}`, stderr: "Warning: careful\n", exit: "code=<nil> killed=<nil>"}) {
		t.Errorf("%+v", x)
	}
	if want := "prod true kind: ConfigMap true {ann 01X} true"; seen != want {
		t.Errorf("the runner saw %q, want %q", seen, want)
	}
}

func TestFailuresAreTextAndExitCodeNotErrorsOfTheCall(t *testing.T) {
	outcomes := map[string]struct {
		outcome *linkv1.Outcome
		err     error
	}{
		"notfound": {done(&linkv1.Failure{Cause: linkv1.Failure_CAUSE_SERVER, Reason: "NotFound", Message: `pods "x" not found`}), nil},
		"absent":   {nil, &unstarted{errors.New(`agent for account "a" is not connected (last seen 4m12s ago at bridge b); waited 15s`)}},
		"broken":   {nil, errors.New("the stream broke")},
		"overdue":  {nil, fmt.Errorf("wait: %w", context.DeadlineExceeded)},
		"stopped":  {&linkv1.Outcome{State: linkv1.Outcome_STATE_CANCELLED, Reason: "deadline"}, nil},
	}
	e := serve(t, newRegistry(account("a")), runner(func(_ context.Context, _ string, op *linkv1.Operation, _ bool, _ io.Writer) (*linkv1.Outcome, error) {
		o := outcomes[op.GetGet().GetName()+op.GetDelete().GetName()]
		return o.outcome, o.err
	}))
	for _, test := range []struct{ line, stderr, exit string }{
		{"-o json get pod notfound", "Error from server (NotFound): pods \"x\" not found\n", "code=1 killed=<nil>"},
		{"-o json get pod absent", "error: agent for account \"a\" is not connected (last seen 4m12s ago at bridge b); waited 15s\n", "code=1 killed=true"},
		{"delete pod absent", "error: agent for account \"a\" is not connected (last seen 4m12s ago at bridge b); waited 15s\n", "code=1 killed=true"},
		{"delete pod broken", "error: the stream broke\n", "code=1 killed=<nil>"},
		{"-o json get pod overdue", "error: no result from account \"a\" within 1m0s\n", "code=1 killed=true"},
		{"--request-timeout=5 -o json get pod overdue", "error: no result from account \"a\" within 5s\n", "code=1 killed=true"},
		{"--request-timeout=5 delete pod overdue", "error: no result from account \"a\" within 1m0s; it may have changed the cluster: look at the object before you try again\n", "code=1 killed=<nil>"},
		{"delete pod stopped", "error: the operation was stopped before its end: deadline; it may have changed the cluster: look at the object before you try again\n", "code=1 killed=<nil>"},
		{"exec web", "error: exec is not supported on this account; supported are apply, create, delete, get, logs, patch, replace, rollout, scale, top\n", "code=1 killed=<nil>"},
	} {
		if x := e.execute(get("a", strings.Fields(test.line)...)); x != (execution{stderr: test.stderr, exit: test.exit}) {
			t.Errorf("%s: %+v", test.line, x)
		}
	}
}

func TestAnAccountThatNobodyServesIsNamed(t *testing.T) {
	r := newRegistry()
	e := serve(t, r, nil)
	if x := e.execute(get("ghost", "-o", "json", "get", "pod")); x.exit != "code=1 killed=<nil>" || !strings.Contains(x.stderr, `error: account "ghost" is not known to this bridge`) {
		t.Errorf("%+v", x)
	}
	r.set(false)
	if x := e.execute(get("ghost", "-o", "json", "get", "pod")); x.exit != "code=1 killed=true" || !strings.Contains(x.stderr, `account "ghost" is not known yet`) {
		t.Errorf("while the list is not complete: %+v", x)
	}
	if x := e.execute(get("")); !strings.HasPrefix(x.callError, "invalid_argument") {
		t.Errorf("no account: %+v", x)
	}
}

func TestNamespacesAreAnsweredWithoutTheAgent(t *testing.T) {
	unreachable := account("unreachable")
	unreachable.Facts = &linkv1.Facts{Problem: "dial tcp 10.0.0.1:443: i/o timeout"}
	e := serve(t, newRegistry(account("seen", "default", "demo"), account("new"), unreachable), runner(func(context.Context, string, *linkv1.Operation, bool, io.Writer) (*linkv1.Outcome, error) {
		t.Error("the agent was asked")
		return done(), nil
	}))
	x := e.execute(get("seen", "-o", "json", "get", "namespace"))
	var list struct {
		Kind  string
		Items []struct {
			Kind     string
			Metadata struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(x.stdout), &list); err != nil || x.exit != "code=<nil> killed=<nil>" {
		t.Fatalf("%v %+v", err, x)
	}
	if got := fmt.Sprintf("%+v", list); got != "{Kind:List Items:[{Kind:Namespace Metadata:{Name:default}} {Kind:Namespace Metadata:{Name:demo}}]}" {
		t.Error(got)
	}
	if x := e.execute(get("new", "-o", "json", "get", "namespace")); x.exit != "code=1 killed=true" || !strings.Contains(x.stderr, "has not reported") {
		t.Errorf("%+v", x)
	}
	if x := e.execute(get("unreachable", "-o", "json", "get", "namespace")); !strings.Contains(x.stderr, "i/o timeout") {
		t.Errorf("%+v", x)
	}
}

func TestOutputIsPassedOnWhileTheOperationRuns(t *testing.T) {
	first, rest := bytes.Repeat([]byte("a"), 10), bytes.Repeat([]byte("b"), 5*frameBytes/2)
	goOn := make(chan struct{})
	e := serve(t, newRegistry(account("a")), runner(func(_ context.Context, _ string, _ *linkv1.Operation, _ bool, output io.Writer) (*linkv1.Outcome, error) {
		_, _ = output.Write(first)
		<-goOn
		_, _ = output.Write(rest)
		return done(), nil
	}))
	response := e.stream(t.Context(), "Execute", get("a", "-o", "json", "get", "pod"))
	if f := next(t, response.Body); !bytes.Equal(f.Stdout, first) {
		t.Errorf("first frame %q", f.Stdout)
	}
	close(goOn)
	var got []byte
	for {
		f := next(t, response.Body)
		if f.Exit != nil {
			break
		}
		got = append(got, f.Stdout...)
	}
	if !bytes.Equal(got, rest) {
		t.Errorf("%d bytes of %d", len(got), len(rest))
	}
}

func TestACallerThatLeavesCancelsItsOperation(t *testing.T) {
	started, cancelled := make(chan struct{}), make(chan struct{})
	e := serve(t, newRegistry(account("a")), runner(func(ctx context.Context, _ string, _ *linkv1.Operation, _ bool, _ io.Writer) (*linkv1.Outcome, error) {
		close(started)
		<-ctx.Done()
		close(cancelled)
		return nil, ctx.Err()
	}))
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-started
		leave()
	}()
	message, _ := json.Marshal(get("a", "-o", "json", "get", "pod"))
	body := append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
	if response, err := e.client.Do(e.request(ctx, "POST", "Execute", "application/connect+json", body)); err == nil {
		response.Body.Close()
	}
	select {
	case <-cancelled:
	case <-time.After(10 * time.Second):
		t.Error("the operation goes on")
	}
}

func TestAPanicEndsTheCallAlone(t *testing.T) {
	e := serve(t, newRegistry(account("a")), runner(func(context.Context, string, *linkv1.Operation, bool, io.Writer) (*linkv1.Outcome, error) {
		panic("oh")
	}))
	if x := e.execute(get("a", "delete", "pod", "x")); x.exit != "code=1 killed=<nil>" || !strings.Contains(x.stderr, "it may have changed the cluster") {
		t.Errorf("%+v", x)
	}
	if x := e.execute(get("a", "logs")); x.exit != "code=1 killed=<nil>" {
		t.Errorf("%+v", x)
	}
}
