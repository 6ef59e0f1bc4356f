package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/bridge/internal/dynamic"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

const (
	// mostDynamic bounds one request.
	mostDynamic = 1000
	// longestWait bounds how long a request waits for what it began.
	longestWait = 2 * time.Minute
)

// Codes of results.
const (
	codeCreated  = "created"
	codeUpdated  = "updated"
	codeChanged  = "changed"
	codeExists   = "exists"
	codeInvalid  = "invalid"
	codeDenied   = "denied"
	codeUnknown  = "unknown"
	codeConflict = "conflict"
	codeFailed   = "failed"
)

// undone tells whether a result is none.
func undone(code string) bool {
	return code != codeCreated && code != codeUpdated && code != codeChanged
}

// putting is how accounts are to be stored.
type putting struct {
	source                       string
	createOnly, activate, dryRun bool
	wait                         time.Duration
}

var errDisabled = errors.New("accounts.dynamic.disabled is set: no account is added, changed or deleted at run time")

// putAccounts stores accounts, each for itself.
func (s *Server) putAccounts(ctx context.Context, definitions []json.RawMessage, p putting) ([]*adminv1.DynamicResult, error) {
	if err := s.mayChange(len(definitions)); err != nil {
		return nil, err
	}
	results := make([]*adminv1.DynamicResult, 0, len(definitions))
	for _, content := range definitions {
		results = append(results, s.putAccount(ctx, content, p))
	}
	return results, s.settle(ctx, results, p.wait, p.dryRun)
}

func (s *Server) mayChange(n int) error {
	switch {
	case s.o.Disabled:
		return connect.NewError(connect.CodeUnimplemented, errDisabled)
	case n == 0:
		return connect.NewError(connect.CodeInvalidArgument, errors.New("the list is empty: name at least one account"))
	case n > mostDynamic:
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d accounts are too many for one call, at most %d are taken", n, mostDynamic))
	}
	return nil
}

func (s *Server) putAccount(ctx context.Context, content []byte, p putting) *adminv1.DynamicResult {
	d, err := dynamic.Parse(content, s.o.Servers)
	result := &adminv1.DynamicResult{Name: d.Name}
	if !s.mayHave(ctx, d.Name) {
		return denied(d.Name)
	}
	if err != nil {
		result.Code, result.Reason = codeInvalid, err.Error()
		return result
	}
	w := dynamic.Wish{Who: caller(ctx).Name, Source: p.source, Try: p.dryRun}
	var row store.Dynamic
	created := true
	if p.createOnly {
		row, err = s.o.Dynamic.Add(ctx, w, d, p.activate)
	} else {
		row, created, err = s.o.Dynamic.Put(ctx, w, d, p.activate)
	}
	if err != nil {
		return notDone(result, err)
	}
	result.Code, result.Account = codeUpdated, shownDynamic(row)
	if created {
		result.Code = codeCreated
	}
	return result
}

func (s *Server) mayHave(ctx context.Context, name string) bool {
	return name == "" || caller(ctx).May(name)
}

func denied(name string) *adminv1.DynamicResult {
	return &adminv1.DynamicResult{Name: name, Code: codeDenied, Reason: fmt.Sprintf("account %q: this needs the role operator, or account-manager of it", name)}
}

// notDone words an error of the service as a result.
func notDone(r *adminv1.DynamicResult, err error) *adminv1.DynamicResult {
	r.Reason = err.Error()
	switch {
	case errors.Is(err, dynamic.ErrExists), errors.Is(err, dynamic.ErrTaken):
		r.Code = codeExists
	case errors.Is(err, dynamic.ErrUnknown):
		r.Code = codeUnknown
	case errors.Is(err, dynamic.ErrNotNow), errors.Is(err, dynamic.ErrOwn):
		r.Code = codeConflict
	default:
		r.Code = codeFailed
	}
	return r
}

// changeAccounts lets something happen to accounts, each for itself. names may be patterns.
func (s *Server) changeAccounts(ctx context.Context, names []string, kind dynamic.Kind, zone string, dryRun bool, wait time.Duration) ([]*adminv1.DynamicResult, error) {
	if err := s.mayChange(len(names)); err != nil {
		return nil, err
	}
	names, err := s.matching(names)
	if err != nil {
		return nil, err
	}
	var results []*adminv1.DynamicResult
	for _, name := range names {
		if !s.mayHave(ctx, name) {
			results = append(results, denied(name))
			continue
		}
		row, err := s.o.Dynamic.Wish(ctx, dynamic.Wish{Who: caller(ctx).Name, Try: dryRun}, name, kind, zone)
		result := &adminv1.DynamicResult{Name: name}
		if err != nil {
			results = append(results, notDone(result, err))
			continue
		}
		result.Code, result.Account = codeChanged, shownDynamic(row)
		results = append(results, result)
	}
	return results, s.settle(ctx, results, wait, dryRun)
}

// matching unfolds patterns.
func (s *Server) matching(names []string) ([]string, error) {
	rows, complete := s.o.Dynamic.List()
	if !complete {
		return nil, connect.NewError(connect.CodeUnavailable, dynamic.ErrNotYet)
	}
	var list []string
	for _, name := range names {
		if !strings.Contains(name, "*") {
			list = append(list, name)
			continue
		}
		for _, row := range rows {
			if identity.Matches(name, row.Name) && !slices.Contains(list, row.Name) {
				list = append(list, row.Name)
			}
		}
	}
	return list, nil
}

// settle waits for what was begun and shows how the accounts are then. It fails if the database did not let anything be done.
func (s *Server) settle(ctx context.Context, results []*adminv1.DynamicResult, wait time.Duration, dryRun bool) error {
	var names []string
	broken := ""
	for _, r := range results {
		if !undone(r.GetCode()) {
			names = append(names, r.GetName())
		} else if r.GetCode() == codeFailed {
			broken = r.GetReason()
		}
	}
	if broken != "" && len(names) == 0 {
		return connect.NewError(connect.CodeUnavailable, errors.New(broken))
	}
	if wait <= 0 || dryRun {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, min(wait, longestWait))
	defer cancel()
	s.o.Dynamic.Settle(waiting, names)
	for _, r := range results {
		if undone(r.GetCode()) {
			continue
		}
		if row, there := s.o.Dynamic.Get(r.GetName()); there {
			r.Account = shownDynamic(row)
		} else {
			r.Account = nil // it is deleted
		}
	}
	return nil
}

func shownDynamic(row store.Dynamic) *adminv1.DynamicAccount {
	return &adminv1.DynamicAccount{Name: row.Name, State: row.State, Reason: row.Reason, Zone: row.Zone, Place: row.Place, Agent: row.Agent, Labels: row.Labels, Definition: row.Definition,
		Revision: row.Revision, Failures: uint32(row.Failures), Source: row.Source, Created: moment(row.Created), Since: moment(row.Changed)} //nolint:gosec // a count
}

// ListDynamicAccounts implements the service.
func (s *Server) ListDynamicAccounts(_ context.Context, r *connect.Request[adminv1.ListDynamicAccountsRequest]) (*connect.Response[adminv1.ListDynamicAccountsResponse], error) {
	list, err := s.listDynamic(r.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.ListDynamicAccountsResponse{Accounts: list}), nil
}

func (s *Server) listDynamic(m *adminv1.ListDynamicAccountsRequest) ([]*adminv1.DynamicAccount, error) {
	rows, complete := s.o.Dynamic.List()
	if !complete {
		return nil, connect.NewError(connect.CodeUnavailable, dynamic.ErrNotYet)
	}
	var list []*adminv1.DynamicAccount
	for _, row := range rows {
		if row.Name <= m.GetAfter() || !filtered(row, m) {
			continue
		}
		list = append(list, shownDynamic(row))
		if n := int(m.GetLimit()); n > 0 && len(list) == n {
			break
		}
	}
	return list, nil
}

func filtered(row store.Dynamic, m *adminv1.ListDynamicAccountsRequest) bool {
	if len(m.GetNames()) > 0 && !slices.ContainsFunc(m.GetNames(), func(p string) bool { return identity.Matches(p, row.Name) }) {
		return false
	}
	for name, value := range m.GetLabels() {
		if row.Labels[name] != value {
			return false
		}
	}
	return (m.GetState() == "" || m.GetState() == row.State) && (m.GetZone() == "" || m.GetZone() == row.Zone)
}

// PutDynamicAccounts implements the service.
func (s *Server) PutDynamicAccounts(ctx context.Context, r *connect.Request[adminv1.PutDynamicAccountsRequest]) (*connect.Response[adminv1.PutDynamicAccountsResponse], error) {
	m := r.Msg
	definitions := make([]json.RawMessage, 0, len(m.GetDefinitions()))
	for _, d := range m.GetDefinitions() {
		definitions = append(definitions, json.RawMessage(d))
	}
	results, err := s.putAccounts(ctx, definitions, putting{source: "api", createOnly: m.GetCreateOnly(), activate: m.GetActivate(), dryRun: m.GetDryRun(), wait: milliseconds(m.GetWaitMs())})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.PutDynamicAccountsResponse{Results: results}), nil
}

func milliseconds(ms uint32) time.Duration { return time.Duration(ms) * time.Millisecond }

// ChangeDynamicAccounts implements the service.
func (s *Server) ChangeDynamicAccounts(ctx context.Context, r *connect.Request[adminv1.ChangeDynamicAccountsRequest]) (*connect.Response[adminv1.ChangeDynamicAccountsResponse], error) {
	m := r.Msg
	kind := dynamic.Kind(m.GetChange())
	if kind != dynamic.Activate && kind != dynamic.Deactivate && kind != dynamic.Delete {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("change: %q is none of activate, deactivate, delete", m.GetChange()))
	}
	results, err := s.changeAccounts(ctx, m.GetNames(), kind, m.GetZone(), m.GetDryRun(), milliseconds(m.GetWaitMs()))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.ChangeDynamicAccountsResponse{Results: results}), nil
}

// DisconnectAgent implements the service.
func (s *Server) DisconnectAgent(ctx context.Context, r *connect.Request[adminv1.DisconnectAgentRequest]) (*connect.Response[adminv1.DisconnectAgentResponse], error) {
	n, err := s.disconnect(ctx, r.Msg.GetAgent())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.DisconnectAgentResponse{Sessions: n}), nil
}

func (s *Server) disconnect(ctx context.Context, agent string) (uint32, error) {
	n, err := s.o.Dynamic.Disconnect(ctx, agent)
	if err != nil {
		return 0, unavailable(err)
	}
	if n == 0 {
		return 0, connect.NewError(connect.CodeNotFound, fmt.Errorf("agent %q is not connected to any bridge", agent))
	}
	return uint32(n), nil //nolint:gosec // a count
}

// statusOf is the HTTP code of an error.
func statusOf(err error) int {
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument:
		return http.StatusBadRequest
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeUnimplemented:
		return http.StatusNotImplemented
	case connect.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// say answers with an error's words.
func say(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": cmp.Or(reason, http.StatusText(status))}) // the caller is gone, if it fails
}

func sayError(w http.ResponseWriter, err error) {
	var c *connect.Error
	text := err.Error()
	if errors.As(err, &c) {
		text = c.Message()
	}
	say(w, statusOf(err), text)
}
