package admin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// GetStatus implements the service.
func (s *Server) GetStatus(context.Context, *connect.Request[adminv1.GetStatusRequest]) (*connect.Response[adminv1.GetStatusResponse], error) {
	totals, keys := s.o.Totals(), s.o.Keys()
	problems := s.o.Problems()
	if ready, reason := s.o.Ready(); !ready {
		problems = append(problems, reason)
	}
	return connect.NewResponse(&adminv1.GetStatusResponse{
		Version: s.o.Version, Bridge: s.o.Bridge, Started: timestamppb.New(s.o.Started), CaPin: s.o.Pin(),
		Sessions: s.o.Sessions(), Problems: problems,
		RowsWritten: totals.Rows, LinksWritten: totals.Links, Operations: totals.Operations,
		AgentsAddress: s.o.AgentsAddress, SealingKey: keys[len(keys)-1], FormerKeys: keys[:len(keys)-1],
	}), nil
}

// ListAccounts implements the service.
func (s *Server) ListAccounts(ctx context.Context, _ *connect.Request[adminv1.ListAccountsRequest]) (*connect.Response[adminv1.ListAccountsResponse], error) {
	all, _, complete := s.o.Accounts.List()
	if !complete {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("the accounts are not known yet: the bridge has just started or cannot reach its database"))
	}
	ask, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// An epoch of 0 says that it is not known: the list is worth more than its epochs.
	epochs, err := s.o.Epochs(ask)
	if err != nil {
		s.o.Log.Debug("epochs could not be read", "error", err)
	}
	list := make([]*adminv1.Account, 0, len(all))
	for _, a := range all {
		account := s.account(a)
		account.Epoch = epochs[account.Name]
		list = append(list, account)
	}
	s.pauses(list)
	for _, a := range s.released() {
		if !slices.ContainsFunc(list, func(listed *adminv1.Account) bool { return listed.GetName() == a.GetName() }) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *adminv1.Account) int { return strings.Compare(a.GetName(), b.GetName()) })
	return connect.NewResponse(&adminv1.ListAccountsResponse{Accounts: list}), nil
}

func (s *Server) account(a accounts.Account) *adminv1.Account {
	m := &adminv1.Account{
		Name: a.Declared.GetName(), State: "stale", Agent: a.Agent,
		ServerVersion: a.Facts.GetServerVersion(), Problem: a.Facts.GetProblem(), Namespaces: uint32(len(a.Facts.GetNamespaces())), //nolint:gosec // namespaces
	}
	if a.Connected() {
		m.State = "connected"
	}
	if !a.LastSeen.IsZero() {
		m.LastSeen = timestamppb.New(a.LastSeen)
	}
	switch {
	case m.State == "stale":
		m.Since = m.LastSeen
	case !a.ProblemSince.IsZero():
		m.Since = timestamppb.New(a.ProblemSince)
	}
	m.Bridges = a.Elsewhere
	if len(a.Sessions) > 0 {
		m.Bridges = append(slices.Clone(a.Elsewhere), s.o.Bridge)
	}
	m.KindsLive, m.KindsPending = s.o.Kinds(m.Name)
	return m
}

// RemoveAccount implements the service.
func (s *Server) RemoveAccount(ctx context.Context, r *connect.Request[adminv1.RemoveAccountRequest]) (*connect.Response[adminv1.RemoveAccountResponse], error) {
	name := r.Msg.GetName()
	if _, given := s.o.Dynamic.Get(name); given {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("account %q was given to its agent at run time: \"fairlead account delete %s\" takes it out", name, name))
	}
	deleted, found, err := s.o.Accounts.Remove(ctx, name)
	if err != nil {
		return nil, unavailable(err)
	}
	if !found {
		return nil, unknownAccount(name)
	}
	return connect.NewResponse(&adminv1.RemoveAccountResponse{RowsDeleted: uint64(deleted)}), nil //nolint:gosec // a count
}

// CreateToken implements the service.
func (s *Server) CreateToken(ctx context.Context, r *connect.Request[adminv1.CreateTokenRequest]) (*connect.Response[adminv1.CreateTokenResponse], error) {
	m := r.Msg
	if m.GetTtlSeconds() > math.MaxInt64/uint64(time.Second) {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("ttl_seconds: %d is too long", m.GetTtlSeconds()))
	}
	wanted := identity.NewToken{Patterns: m.GetAccounts(), TTL: time.Duration(m.GetTtlSeconds()) * time.Second, //nolint:gosec // bounded above
		Description: m.GetDescription(), Uses: int(m.GetUses()), Role: identity.Role(m.GetRole())}
	if err := wanted.Check(); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	id, text, err := s.o.Tokens.Make(ctx, wanted)
	if err != nil {
		return nil, unavailable(err)
	}
	return connect.NewResponse(&adminv1.CreateTokenResponse{Id: id, Token: text, CaPin: s.o.Pin()}), nil
}

// ListTokens implements the service.
func (s *Server) ListTokens(ctx context.Context, _ *connect.Request[adminv1.ListTokensRequest]) (*connect.Response[adminv1.ListTokensResponse], error) {
	tokens, err := s.o.Tokens.List(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	response := &adminv1.ListTokensResponse{}
	for _, t := range tokens {
		response.Tokens = append(response.Tokens, &adminv1.Token{
			Id: t.ID, Accounts: t.Patterns, Description: t.Description, Revoked: t.Revoked != 0,
			Uses: uint32(t.Uses), Used: uint32(t.Used), Role: t.Role, //nolint:gosec // counts
			Created: moment(t.Created), Expires: moment(t.Expires), LastUsed: moment(t.LastUsed),
		})
	}
	return connect.NewResponse(response), nil
}

// moment is a time of the database; none if it is 0.
func moment(ms int64) *timestamppb.Timestamp {
	if ms == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(ms))
}

// RevokeToken implements the service.
func (s *Server) RevokeToken(ctx context.Context, r *connect.Request[adminv1.RevokeTokenRequest]) (*connect.Response[adminv1.RevokeTokenResponse], error) {
	err := s.o.Tokens.Revoke(ctx, r.Msg.GetId())
	if errors.Is(err, identity.ErrNoToken) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("%w; \"fairlead token list\" shows those that are there", err))
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return connect.NewResponse(&adminv1.RevokeTokenResponse{}), nil
}

// IssuePluginCertificate implements the service.
func (s *Server) IssuePluginCertificate(ctx context.Context, r *connect.Request[adminv1.IssuePluginCertificateRequest]) (*connect.Response[adminv1.IssuePluginCertificateResponse], error) {
	life := r.Msg.GetTtlSeconds()
	if life > math.MaxInt64/uint64(time.Second) {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("ttl_seconds: %d is too long", life))
	}
	id, certificate, ca, err := s.o.IssueForPlugin(ctx, r.Msg.GetCsr(), time.Duration(life)*time.Second, r.Msg.GetDescription()) //nolint:gosec // bounded above
	if errors.Is(err, identity.ErrUnauthenticated) {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return connect.NewResponse(&adminv1.IssuePluginCertificateResponse{Id: id, Certificate: certificate, Ca: ca}), nil
}

// unavailable is how a failure of the database reads.
func unavailable(err error) error {
	if errors.Is(err, context.Canceled) {
		return connect.NewError(connect.CodeCanceled, err)
	}
	return connect.NewError(connect.CodeUnavailable, err)
}
