package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/bridge/internal/kubectl"
	clouddriverv1 "github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

const (
	// frameBytes is the largest frame of output, as the contract says.
	frameBytes = 64 << 10
	// defaultTimeout is Clouddriver's default of jobs.local.timeout-minutes.
	defaultTimeout = 10 * time.Minute
	maximumTimeout = 24 * time.Hour
)

// Execute implements the service.
func (s *Server) Execute(ctx context.Context, request *connect.Request[clouddriverv1.ExecuteRequest], stream *connect.ServerStream[clouddriverv1.ExecuteResponse]) error {
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
	default:
		return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d commands are running already, this one was not started", maximumOperations))
	}
	m, out := request.Msg, &frames{stream: stream}
	if m.GetAccount() == "" {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("account: is empty"))
	}
	started := time.Now()
	op, mutation, err := kubectl.Parse(m.GetArguments(), m.GetStdin())
	if err != nil {
		return s.end(m, out, started, result{op: op, err: err})
	}
	account, known := s.o.Accounts.Get(m.GetAccount())
	if !known {
		return s.end(m, out, started, result{op: op, err: s.unknown(m.GetAccount())})
	}
	if namespaces(op) {
		return s.end(m, out, started, answerNamespaces(account, op, out))
	}
	limit := timeLimit(m, mutation)
	ctx, cancel := context.WithTimeout(WithCaller(ctx, Caller{User: m.GetUser(), Execution: m.GetExecution()}), limit)
	defer cancel()
	outcome, err := s.run(ctx, m.GetAccount(), op, mutation, out)
	if err != nil && out.err != nil {
		return out.err // the caller is gone, nobody is left to be told
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = &overdue{account: m.GetAccount(), after: limit, mutation: mutation, err: err}
	}
	return s.end(m, out, started, result{op: op, mutation: mutation, outcome: outcome, err: err})
}

// run is the Runner without its panics: an error of the call would say that nothing began.
func (s *Server) run(ctx context.Context, account string, op *linkv1.Operation, mutation bool, out *frames) (outcome *linkv1.Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.o.Log.Error("panic in an operation", "account", account, "operation", operationName(op), "panic", p, "stack", string(debug.Stack()))
			outcome, err = &linkv1.Outcome{State: linkv1.Outcome_STATE_UNKNOWN, Reason: "the bridge failed on it, see its log"}, nil
		}
	}()
	return s.o.Runner.Run(ctx, account, op, mutation, out)
}

// timeLimit is how long the operation may take. kubectl's --request-timeout bounds each of its requests; for a read that is the
// whole of it, a mutation may need several and must not be cut in between.
func timeLimit(m *clouddriverv1.ExecuteRequest, mutation bool) time.Duration {
	given := maximumTimeout
	if ms := m.GetTimeoutMs(); ms < uint64(maximumTimeout.Milliseconds()) { //nolint:gosec // positive
		given = time.Duration(ms) * time.Millisecond //nolint:gosec // bounded above
	}
	given = cmp.Or(given, defaultTimeout)
	if request := kubectl.RequestTimeout(m.GetArguments()); request > 0 && !mutation {
		given = min(given, request)
	}
	return given
}

// result is how a command went.
type result struct {
	op       *linkv1.Operation
	mutation bool
	outcome  *linkv1.Outcome
	err      error
}

// end sends what kubectl would have printed, and the exit.
func (s *Server) end(m *clouddriverv1.ExecuteRequest, out *frames, started time.Time, r result) error {
	stdout, stderr, code := kubectl.Render(r.op, r.outcome, r.err)
	exit := &clouddriverv1.Exit{Code: int32(code), Killed: code != 0 && kubectl.Killed(r.mutation, r.outcome, notStarted(r.err))} //nolint:gosec // 0 or 1
	s.o.Log.Debug("command ended", "account", m.GetAccount(), "operation", operationName(r.op), "exit", code, "killed", exit.Killed,
		"duration", time.Since(started), "user", m.GetUser(), "execution", m.GetExecution())
	if err := out.text(stdout, stderr); err != nil {
		return err
	}
	return out.stream.Send(&clouddriverv1.ExecuteResponse{Frame: &clouddriverv1.ExecuteResponse_Exit{Exit: exit}})
}

// unknown words that no agent serves an account. While the bridge does not know all accounts, that proves nothing, and
// Clouddriver may try again.
func (s *Server) unknown(account string) error {
	if _, complete := s.o.Accounts.List(); !complete {
		return &unstarted{fmt.Errorf("account %q is not known yet: the bridge has just started or cannot reach its database", account)}
	}
	return fmt.Errorf("account %q is not known to this bridge: no agent declares it (see \"fairlead accounts\")", account)
}

// unstarted is an error that proves that nothing began.
type unstarted struct{ error }

func (*unstarted) NotStarted() bool { return true }

func notStarted(err error) bool {
	var n interface{ NotStarted() bool }
	return errors.As(err, &n) && n.NotStarted()
}

// overdue is a command without a result when its time was over.
type overdue struct {
	account  string
	after    time.Duration
	mutation bool
	err      error
}

func (o *overdue) Error() string {
	text := fmt.Sprintf("no result from account %q within %s", o.account, o.after)
	if o.mutation {
		text += "; it may have changed the cluster: look at the object before you try again"
	}
	return text
}

func (o *overdue) Unwrap() error { return o.err }

// NotStarted is true for reads: they may be repeated whether they began or not.
func (o *overdue) NotStarted() bool { return !o.mutation || notStarted(o.err) }

// namespaces tells whether op is the question that Clouddriver asks for each account at load and in its health check.
func namespaces(op *linkv1.Operation) bool {
	l := op.GetList()
	return l != nil && len(l.GetKinds()) == 1 && l.GetLabelSelector() == "" && l.GetFieldSelector() == "" &&
		(l.GetKinds()[0] == "namespace" || l.GetKinds()[0] == "namespaces" || l.GetKinds()[0] == "ns")
}

// answerNamespaces answers from what an agent last reported, however long ago. An account of which nothing was ever seen fails
// at once: an empty list would make Clouddriver believe that it has no namespaces.
func answerNamespaces(a Account, op *linkv1.Operation, out *frames) result {
	r := result{op: op, outcome: &linkv1.Outcome{State: linkv1.Outcome_STATE_DONE}}
	if len(a.Facts.GetNamespaces()) == 0 {
		reason := cmp.Or(a.Facts.GetProblem(), "its agent has not reported the cluster's namespaces yet")
		r.outcome, r.err = nil, &unstarted{fmt.Errorf("account %q: %s", a.Declared.GetName(), reason)}
		return r
	}
	type meta struct {
		Name string `json:"name"`
	}
	type namespace struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   meta   `json:"metadata"`
	}
	items := make([]namespace, 0, len(a.Facts.GetNamespaces()))
	for _, name := range a.Facts.GetNamespaces() {
		items = append(items, namespace{APIVersion: "v1", Kind: "Namespace", Metadata: meta{Name: name}})
	}
	body, err := json.MarshalIndent(map[string]any{"apiVersion": "v1", "items": items, "kind": "List", "metadata": map[string]any{"resourceVersion": ""}}, "", "    ")
	if err == nil {
		_, err = out.Write(append(body, '\n'))
	}
	r.err = err
	return r
}

func operationName(op *linkv1.Operation) string {
	if op == nil {
		return ""
	}
	m := op.ProtoReflect()
	if set := m.WhichOneof(m.Descriptor().Oneofs().ByName("operation")); set != nil {
		return string(set.Name())
	}
	return ""
}

// frames writes output as frames. It is used by one goroutine at a time.
type frames struct {
	stream *connect.ServerStream[clouddriverv1.ExecuteResponse]
	err    error // the first failure to send: the caller is gone
}

// Write sends standard output.
func (f *frames) Write(p []byte) (int, error) {
	return len(p), f.send(p, func(b []byte) *clouddriverv1.ExecuteResponse {
		return &clouddriverv1.ExecuteResponse{Frame: &clouddriverv1.ExecuteResponse_Stdout{Stdout: b}}
	})
}

func (f *frames) text(stdout, stderr string) error {
	_, err := f.Write([]byte(stdout))
	if err != nil {
		return err
	}
	return f.send([]byte(stderr), func(b []byte) *clouddriverv1.ExecuteResponse {
		return &clouddriverv1.ExecuteResponse{Frame: &clouddriverv1.ExecuteResponse_Stderr{Stderr: b}}
	})
}

func (f *frames) send(p []byte, frame func([]byte) *clouddriverv1.ExecuteResponse) error {
	for len(p) > 0 && f.err == nil {
		n := min(len(p), frameBytes)
		f.err = f.stream.Send(frame(p[:n]))
		p = p[n:]
	}
	return f.err
}
