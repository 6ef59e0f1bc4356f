package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/link"
	"github.com/fairlead/fairlead/proto/logs"
)

// GetAccount implements the service.
func (s *Server) GetAccount(ctx context.Context, r *connect.Request[adminv1.GetAccountRequest]) (*connect.Response[adminv1.GetAccountResponse], error) {
	name := r.Msg.GetName()
	list, err := s.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(list.Msg.GetAccounts(), func(a *adminv1.Account) bool { return a.GetName() == name })
	if at < 0 {
		return nil, unknownAccount(name)
	}
	response := &adminv1.GetAccountResponse{Account: list.Msg.GetAccounts()[at]}
	response.Findings = standing(response.GetAccount(), s.o.AgentsAddress)
	if known, ok := s.o.Accounts.Get(name); ok {
		text, err := protojson.MarshalOptions{Multiline: true}.Marshal(known.Declared)
		if err != nil {
			return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("declaration of account %q: %w", name, err))
		}
		response.Declaration = string(text)
	}
	return connect.NewResponse(response), nil
}

// standing says what is not as it should be with an account, why and what to do; address is where agents dial.
func standing(a *adminv1.Account, address string) (list []*adminv1.Finding) {
	found := func(check, level, text, fix string) {
		list = append(list, &adminv1.Finding{Check: check, Level: level, Text: text, Fix: fix, Since: a.GetSince()})
	}
	name := a.GetName()
	switch a.GetState() {
	case "released":
		found("released", "warning", "it was handed back to Clouddriver's own polling, and agents that declare it are refused", fmt.Sprintf("\"fairlead account resume %s\" takes it back", name))
		return list
	case "paused":
		found("paused", "warning", "its caching was paused: what Spinnaker shows of it stands still; deploys go on", fmt.Sprintf("\"fairlead account resume %s\" lets it go on", name))
	case "stale":
		who, reach := "no agent ever served it", "the bridges"
		if a.GetAgent() != "" {
			who = "its agent " + a.GetAgent() + " has no session with any bridge"
		}
		if address != "" {
			reach = address
		}
		found("agent-away", "fault", who+": Spinnaker shows what was known last, and deploys fail",
			fmt.Sprintf("look whether the agent's pod runs and what its log says (\"session\" in its /readyz): can it reach %s, and is its token good (\"fairlead token list\")? If the cluster is gone for good: \"fairlead account evict %s --yes\"", reach, name))
	}
	if problem := a.GetProblem(); problem != "" {
		found("problem", "fault", problem, remedy(problem))
	}
	if n := len(a.GetKindsPending()); n > 0 && a.GetState() == "connected" {
		found("kinds-pending", "warning", fmt.Sprintf("%d of %d kinds do not agree with the cluster yet: %s", n, n+len(a.GetKindsLive()), strings.Join(a.GetKindsPending(), ", ")),
			fmt.Sprintf("after a start this takes seconds to minutes. If it stays: \"fairlead account resync %s\" says of each what differs, and the agent's /watches which watch does not run", name))
	}
	return list
}

// remedy is what to do about an agent's words for what is wrong with a cluster. They are the API server's or client-go's.
func remedy(problem string) string {
	said := strings.ToLower(problem)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said, w) })
	}
	switch {
	case has("unauthorized", "401", "must be logged in", "credentials"):
		return "the API server does not take the account's credentials: look at the kubeconfig, token or Vault path of the account in its agent's file; a new one is read within seconds, without a restart"
	case has("forbidden", "403", "cannot list", "cannot watch"):
		return "the account's user lacks a right: give it the ClusterRole of agent/deploy, or narrow the account's kinds and namespaces to what it may"
	case has("x509", "certificate", "tls"):
		return "the API server's certificate does not fit: compare certificate-authority-data and the server's name in the account's kubeconfig with what the server shows"
	case has("refused", "timeout", "no such host", "no route", "unreachable", "deadline", "eof"):
		return "the agent cannot reach the API server: is it up, and may the agent's pod reach its address (network policy, firewall, proxy)?"
	}
	return "the agent's log has more, under the account's name; its /accounts shows the account as the agent sees it"
}

// ListAgents implements the service.
func (s *Server) ListAgents(ctx context.Context, r *connect.Request[adminv1.ListAgentsRequest]) (*connect.Response[adminv1.ListAgentsResponse], error) {
	list, err := s.o.Agents(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	if r.Msg.GetOutdated() {
		list = slices.DeleteFunc(list, func(a *adminv1.Agent) bool { return a.GetOutdated() == "" })
	}
	return connect.NewResponse(&adminv1.ListAgentsResponse{Agents: list, Version: s.o.Version, Capability: uint32(link.Current), MinimumCapability: uint32(link.Oldest)}), nil
}

// Diagnose implements the service.
func (s *Server) Diagnose(ctx context.Context, _ *connect.Request[adminv1.DiagnoseRequest]) (*connect.Response[adminv1.DiagnoseResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTime)
	defer cancel()
	response := &adminv1.DiagnoseResponse{AgentsAddress: s.o.AgentsAddress, CaPin: s.o.Pin()}
	for _, f := range s.o.Diagnose(ctx) {
		response.Findings = append(response.Findings, &adminv1.Finding{Check: f.Check, Level: string(f.Level), Text: f.Text, Fix: f.Fix})
	}
	response.Now = timestamppb.New(time.Now())
	return connect.NewResponse(response), nil
}

// diagnoseTime bounds all checks together: each has a limit of its own.
const diagnoseTime = time.Minute

// GetSupport implements the service.
func (s *Server) GetSupport(ctx context.Context, _ *connect.Request[adminv1.GetSupportRequest]) (*connect.Response[adminv1.GetSupportResponse], error) {
	return connect.NewResponse(&adminv1.GetSupportResponse{Files: s.o.Support(ctx)}), nil
}

// SetLogLevel implements the service.
func (s *Server) SetLogLevel(_ context.Context, r *connect.Request[adminv1.SetLogLevelRequest]) (*connect.Response[adminv1.SetLogLevelResponse], error) {
	control := logs.Of(s.o.Log)
	if r.Msg.GetLevel() == "" {
		return connect.NewResponse(&adminv1.SetLogLevelResponse{Level: control.Level(), Before: control.Level()}), nil
	}
	before, err := control.SetLevel(r.Msg.GetLevel())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	s.o.Log.Warn("log level changed", "from", before, "to", control.Level())
	return connect.NewResponse(&adminv1.SetLogLevelResponse{Level: control.Level(), Before: before}), nil
}
