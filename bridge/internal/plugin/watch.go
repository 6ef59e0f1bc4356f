package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	clouddriverv1 "github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1"
)

// WatchAccounts implements the service: the whole list at once, at each change, and every repeatEvery.
func (s *Server) WatchAccounts(ctx context.Context, _ *connect.Request[clouddriverv1.WatchAccountsRequest], stream *connect.ServerStream[clouddriverv1.WatchAccountsResponse]) error {
	for {
		changed := s.o.Accounts.Changed() // before the list is read, so that no change falls between
		list, err := s.list()
		if err != nil {
			return connect.NewError(connect.CodeInternal, err)
		}
		if err := stream.Send(list); err != nil {
			return err
		}
		// Changes come in herds (a bridge starts and hundreds of agents connect): one list for many.
		if !s.pause(ctx, calmFor, nil) || !s.pause(ctx, repeatEvery, changed) {
			return connect.NewError(connect.CodeUnavailable, fmt.Errorf("the stream of accounts ends: %w", context.Cause(ctx)))
		}
	}
}

// HoldNewAccounts implements the service: the whole list once, as the database has it, and no new accounts until the caller goes.
func (s *Server) HoldNewAccounts(ctx context.Context, _ *connect.Request[clouddriverv1.HoldNewAccountsRequest], stream *connect.ServerStream[clouddriverv1.HoldNewAccountsResponse]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-stopped }()
	err := s.o.Accounts.HoldNew(ctx, func() error {
		list, err := s.list()
		if err != nil {
			return err
		}
		return stream.Send(&clouddriverv1.HoldNewAccountsResponse{Complete: list.GetComplete(), Accounts: list.GetAccounts()})
	})
	if err != nil {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return nil
}

// pause waits for the first of d, wake and the end of the stream; false means the end.
func (s *Server) pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-wake:
		return true
	case <-ctx.Done():
		return false
	case <-s.stopping:
		return false
	}
}

// list is the accounts as the plugin gets them. An account that cannot be told is left out of an incomplete list, so that the
// plugin keeps what it knows of it.
func (s *Server) list() (*clouddriverv1.WatchAccountsResponse, error) {
	all, complete := s.o.Accounts.List()
	list := &clouddriverv1.WatchAccountsResponse{Complete: complete, Accounts: make([]*clouddriverv1.Account, 0, len(all))}
	for _, a := range all {
		m, err := message(a)
		if err != nil {
			s.o.Log.Error("account cannot be told to Clouddriver", "account", a.Declared.GetName(), "error", err)
			list.Complete = false
			continue
		}
		list.Accounts = append(list.Accounts, m)
	}
	var err error
	list.Revision, err = revision(list)
	return list, err
}

// revision digests what the list says, so that it also holds across restarts and bridges.
func revision(list *clouddriverv1.WatchAccountsResponse) (string, error) {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("encode the accounts: %w", err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8]), nil
}
