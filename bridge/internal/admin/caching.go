package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// resyncTime bounds a resync that somebody waits for; comparing goes on without them.
const resyncTime = 2 * time.Minute

// Resyncer compares what is cached of an account with its agent's records (session.Service, through the bridge).
type Resyncer func(ctx context.Context, account, kind string) ([]*adminv1.ResyncedGroup, error)

// ReleaseAccount implements the service.
func (s *Server) ReleaseAccount(ctx context.Context, r *connect.Request[adminv1.ReleaseAccountRequest]) (*connect.Response[adminv1.ReleaseAccountResponse], error) {
	name := r.Msg.GetName()
	deleted, found, err := s.o.Accounts.Release(ctx, name)
	if err != nil {
		return nil, unavailable(fmt.Errorf("account %q is being released and its rows are not all gone yet; the bridge goes on, or say it again: %w", name, err))
	}
	if !found {
		return nil, unknownAccount(name)
	}
	return connect.NewResponse(&adminv1.ReleaseAccountResponse{RowsDeleted: uint64(deleted)}), nil //nolint:gosec // a count
}

// PauseAccount implements the service.
func (s *Server) PauseAccount(ctx context.Context, r *connect.Request[adminv1.PauseAccountRequest]) (*connect.Response[adminv1.PauseAccountResponse], error) {
	name := r.Msg.GetName()
	found, err := s.o.Accounts.Pause(ctx, name)
	if err != nil {
		return nil, unavailable(err)
	}
	if !found {
		return nil, unknownAccount(name)
	}
	return connect.NewResponse(&adminv1.PauseAccountResponse{}), nil
}

// pauses says of accounts that they are paused.
func (s *Server) pauses(list []*adminv1.Account) {
	paused := s.o.Accounts.Paused()
	for _, a := range list {
		if since, is := paused[a.GetName()]; is && a.GetState() == "connected" {
			a.State, a.Since = "paused", timestamppb.New(since)
		}
	}
}

// ResumeAccount implements the service.
func (s *Server) ResumeAccount(ctx context.Context, r *connect.Request[adminv1.ResumeAccountRequest]) (*connect.Response[adminv1.ResumeAccountResponse], error) {
	name := r.Msg.GetName()
	found, err := s.o.Accounts.Resume(ctx, name)
	if err != nil {
		return nil, unavailable(err)
	}
	if !found {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("account %q is not released and not paused; \"fairlead accounts list\" shows those that are", name))
	}
	return connect.NewResponse(&adminv1.ResumeAccountResponse{}), nil
}

// ResyncAccount implements the service.
func (s *Server) ResyncAccount(ctx context.Context, r *connect.Request[adminv1.ResyncAccountRequest]) (*connect.Response[adminv1.ResyncAccountResponse], error) {
	name, kind := r.Msg.GetName(), r.Msg.GetKind()
	if err := s.maySync(name, kind); err != nil {
		return nil, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, resyncTime)
	defer cancel()
	groups, err := s.o.Resync(ctx, name, kind)
	s.o.Log.Info("account compared on demand", "account", name, "kind", kind, "groups", len(groups), "took", time.Since(began).Round(time.Millisecond).String(), "error", message(err))
	if err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("account %q: %w", name, err))
	}
	slices.SortFunc(groups, func(a, b *adminv1.ResyncedGroup) int {
		return strings.Compare(a.GetKind()+" "+a.GetLinkedKind(), b.GetKind()+" "+b.GetLinkedKind())
	})
	return connect.NewResponse(&adminv1.ResyncAccountResponse{Groups: groups}), nil
}

// maySync says why an account cannot be compared, in words that tell where it can.
func (s *Server) maySync(name, kind string) error {
	if strings.ContainsAny(kind, " /\t\n") {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("kind: %q is none of Clouddriver's; write pod, replicaSet or Kind.group, as \"fairlead accounts list -o json\" shows them", kind))
	}
	if since, released := s.o.Accounts.Released()[name]; released {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"account %q has been released to Clouddriver's own polling since %s; \"fairlead accounts resume %s\" takes it back", name, since.UTC().Format(time.RFC3339), name))
	}
	if since, paused := s.o.Accounts.Paused()[name]; paused {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"account %q is paused since %s; \"fairlead accounts resume %s\" lets its caching go on", name, since.UTC().Format(time.RFC3339), name))
	}
	account, known := s.o.Accounts.Get(name)
	switch {
	case !known:
		return unknownAccount(name)
	case len(account.Sessions) > 0:
		return nil
	case len(account.Elsewhere) > 0:
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("account %q is served by another bridge (%v): ask that one (--bridge)", name, account.Elsewhere[0]))
	}
	return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("account %q has no agent at the moment: all of it is compared when one connects", name))
}

func unknownAccount(name string) error {
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("account %q is not known; \"fairlead accounts list\" shows those that are", name))
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// released lists the released accounts as people see them.
func (s *Server) released() (list []*adminv1.Account) {
	for name, since := range s.o.Accounts.Released() {
		list = append(list, &adminv1.Account{Name: name, State: "released", LastSeen: timestamppb.New(since)})
	}
	return list
}
