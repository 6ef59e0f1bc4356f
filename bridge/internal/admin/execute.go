package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/bridge/internal/kubectl"
	"github.com/fairlead/fairlead/bridge/internal/operations"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

const (
	frameBytes     = 64 << 10
	defaultTimeout = 10 * time.Minute
	maximumTimeout = 24 * time.Hour
)

// Execute implements the service: kubectl's text and exit code, as Clouddriver would see them.
func (s *Server) Execute(ctx context.Context, r *connect.Request[adminv1.ExecuteRequest], stream *connect.ServerStream[adminv1.ExecuteResponse]) error {
	m, out := r.Msg, &frames{stream: stream}
	c, err := s.changes(ctx, r.Spec().Procedure, m)
	if err == nil {
		err = s.allow(ctx, c)
	}
	if err != nil {
		return err
	}
	if m.GetAccount() == "" {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("account: is empty"))
	}
	if _, known := s.o.Accounts.Get(m.GetAccount()); !known && s.o.Accounts.Complete() {
		err := connect.NewError(connect.CodeNotFound, fmt.Errorf("account %q is not known; \"fairlead accounts list\" shows those that are", m.GetAccount()))
		s.audit(ctx, c, err)
		return err
	}
	op, mutation, err := kubectl.Parse(m.GetArguments(), m.GetStdin())
	if err != nil {
		stdout, stderr, exit := kubectl.Render(op, nil, err)
		c.detail = "a command line that is not one of Clouddriver's"
		s.audit(ctx, c, failed(exit))
		return out.end(stdout, stderr, exit)
	}
	verb, target := operations.Describe(op)
	c.detail = strings.TrimSpace(verb + " " + target)
	timeout := time.Duration(min(m.GetTimeoutMs(), uint64(maximumTimeout.Milliseconds()))) * time.Millisecond //nolint:gosec // bounded
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(timeout, defaultTimeout))
	defer cancel()
	began := time.Now()
	outcome, err := s.o.Runner.Run(ctx, m.GetAccount(), op, mutation, out)
	stdout, stderr, exit := kubectl.Render(op, outcome, err)
	s.audit(ctx, c, failed(exit))
	if out.err != nil {
		return out.err // the caller is gone
	}
	s.o.Log.Info("operator's command ended", "account", m.GetAccount(), "mutation", mutation, "exit", exit, "duration", time.Since(began))
	return out.end(stdout, stderr, exit)
}

// failed is what the audit trail says of an exit code. kubectl's own words may quote what was sent.
func failed(exit int) error {
	if exit == 0 {
		return nil
	}
	return fmt.Errorf("exit code %d", exit)
}

// frames writes output as frames. It is used by one goroutine at a time.
type frames struct {
	stream *connect.ServerStream[adminv1.ExecuteResponse]
	err    error
}

// Write sends standard output.
func (f *frames) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && f.err == nil; {
		n := min(len(rest), frameBytes)
		f.err = f.stream.Send(&adminv1.ExecuteResponse{Frame: &adminv1.ExecuteResponse_Stdout{Stdout: rest[:n]}})
		rest = rest[n:]
	}
	return len(p), f.err
}

func (f *frames) end(stdout, stderr string, exit int) error {
	if _, err := f.Write([]byte(stdout)); err != nil {
		return err
	}
	if stderr != "" {
		if err := f.stream.Send(&adminv1.ExecuteResponse{Frame: &adminv1.ExecuteResponse_Stderr{Stderr: []byte(stderr)}}); err != nil {
			return err
		}
	}
	return f.stream.Send(&adminv1.ExecuteResponse{Frame: &adminv1.ExecuteResponse_ExitCode{ExitCode: int32(exit)}}) //nolint:gosec // 0 or 1
}
