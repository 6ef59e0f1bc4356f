package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/operations"
	"github.com/fairlead/fairlead/bridge/internal/store"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

const (
	defaultOperations = 100
	mostOperations    = 1000
	// mostOffset bounds how far a page may be: the database reads all before it.
	mostOffset = 100_000
)

// Record is the history of operations, and who has which (store.Store).
type Record interface {
	Operations(ctx context.Context, f store.OperationFilter) ([]store.Operation, error)
	Modes(ctx context.Context) ([]store.Mode, error)
}

// ListOperations implements the service.
func (s *Server) ListOperations(ctx context.Context, r *connect.Request[adminv1.ListOperationsRequest]) (*connect.Response[adminv1.ListOperationsResponse], error) {
	m := r.Msg
	if m.GetLimit() > mostOperations || m.GetOffset() > mostOffset {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("limit: %d, offset: %d; at most %d and %d: narrow it by account, user, execution or time", m.GetLimit(), m.GetOffset(), mostOperations, mostOffset))
	}
	limit := int(m.GetLimit())
	if limit == 0 {
		limit = defaultOperations
	}
	const year = 365 * 24 * time.Hour
	within := time.Duration(min(m.GetSinceSeconds(), uint64(100*year/time.Second))) * time.Second //nolint:gosec // bounded
	list, err := s.o.Record.Operations(ctx, store.OperationFilter{ID: m.GetId(), Account: m.GetAccount(), Verb: m.GetVerb(), Outcome: m.GetOutcome(), User: m.GetUser(),
		Execution: m.GetExecution(), Mutations: m.GetMutations(), Within: within, Limit: limit, Offset: int(m.GetOffset())})
	if err != nil {
		return nil, unavailable(err)
	}
	response := &adminv1.ListOperationsResponse{}
	for i := range list {
		response.Operations = append(response.Operations, shownOperation(&list[i]))
	}
	return connect.NewResponse(response), nil
}

func shownOperation(o *store.Operation) *adminv1.Operation {
	began := time.UnixMilli(o.Started)
	at := func(after time.Duration) *timestamppb.Timestamp {
		if after < 0 {
			return nil
		}
		return timestamppb.New(began.Add(after))
	}
	return &adminv1.Operation{
		Id: o.ID, Account: o.Account, Verb: o.Verb, Target: o.Target, Mutation: o.Mutation, User: o.User, Execution: o.Execution, Bridge: o.Bridge, Agent: o.Agent,
		Outcome: o.Outcome, Reason: o.Reason, Received: at(0), Sent: at(o.Waited), Started: at(o.Begun), Finished: at(o.Ended), Answered: at(o.Duration),
		ServerMs: uint64(max(o.Server.Milliseconds(), 0)), //nolint:gosec // not negative
	}
}

// ListOperationsModes implements the service.
func (s *Server) ListOperationsModes(ctx context.Context, _ *connect.Request[adminv1.ListOperationsModesRequest]) (*connect.Response[adminv1.ListOperationsModesResponse], error) {
	modes, err := s.o.Record.Modes(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	response := &adminv1.ListOperationsModesResponse{DefaultMode: s.o.Modes.Default()}
	for _, m := range modes {
		response.Modes = append(response.Modes, &adminv1.OperationsMode{Pattern: m.Pattern, Mode: m.Mode, Since: timestamppb.New(time.UnixMilli(m.Since))})
	}
	return connect.NewResponse(response), nil
}

// SetOperationsMode implements the service.
func (s *Server) SetOperationsMode(ctx context.Context, r *connect.Request[adminv1.SetOperationsModeRequest]) (*connect.Response[adminv1.SetOperationsModeResponse], error) {
	pattern, mode := r.Msg.GetPattern(), r.Msg.GetMode()
	if err := identity.CheckPatterns([]string{pattern}); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("pattern: %w", err))
	}
	if mode != "" && !operations.ValidMode(mode) {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("mode: %q is neither failover nor distributed", mode))
	}
	if err := s.o.Modes.Set(ctx, pattern, mode); err != nil {
		return nil, unavailable(err)
	}
	s.o.Log.Info("mode of operations was set", "accounts", pattern, "mode", mode)
	return connect.NewResponse(&adminv1.SetOperationsModeResponse{}), nil
}

// record is an operation as the replaced product's GET /armory/agent/operations shows it. Times are RFC 3339; a step that was not reached is left out.
type record struct {
	OperationID                 string     `json:"operationId"`
	OperationType               string     `json:"operationType"`
	Account                     string     `json:"account"`
	StartTime                   *time.Time `json:"startTime"`
	EndTime                     *time.Time `json:"endTime,omitempty"`
	TotalDurationMs             *int64     `json:"totalDurationMs,omitempty"`
	FinalOutcome                string     `json:"finalOutcome"`
	OpReceivedByClouddriver     *step      `json:"opReceivedByClouddriver"`
	OpProcessedByClouddriver    *step      `json:"opProcessedByClouddriver"`
	OpSentToAgent               *step      `json:"opSentToAgent,omitempty"`
	ResultReceivedFromAgent     *step      `json:"resultReceivedFromAgent,omitempty"`
	ResultReceivedByClouddriver *step      `json:"resultReceivedByClouddriver,omitempty"`
}

// step is one hop of it.
type step struct {
	ClouddriverID string      `json:"clouddriverId,omitempty"`
	AgentID       string      `json:"agentId,omitempty"`
	Time          *time.Time  `json:"time,omitempty"`
	Result        *stepResult `json:"result,omitempty"`
}

type stepResult struct {
	Status     string `json:"status"`
	DurationMs int64  `json:"durationMs"`
}

func replacedShape(o *store.Operation) record {
	began := time.UnixMilli(o.Started).UTC()
	at := func(after time.Duration) *time.Time {
		if after < 0 {
			return nil
		}
		t := began.Add(after)
		return &t
	}
	here := &step{ClouddriverID: o.Bridge, Time: &began}
	r := record{OperationID: o.ID, OperationType: o.Verb, Account: o.Account, StartTime: &began, FinalOutcome: o.Outcome, OpReceivedByClouddriver: here, OpProcessedByClouddriver: here}
	if o.Waited >= 0 {
		r.OpSentToAgent = &step{AgentID: o.Agent, Time: at(o.Waited)}
	}
	if o.Ended >= 0 {
		r.ResultReceivedFromAgent = &step{AgentID: o.Agent, ClouddriverID: o.Bridge, Time: at(o.Ended), Result: &stepResult{Status: o.Outcome, DurationMs: (o.Ended - o.Begun).Milliseconds()}}
	}
	if o.Duration >= 0 {
		ms := o.Duration.Milliseconds()
		r.EndTime, r.TotalDurationMs = at(o.Duration), &ms
		r.ResultReceivedByClouddriver = &step{ClouddriverID: o.Bridge, Time: r.EndTime}
	}
	return r
}

// restOperations answers GET /armory/agent/operations?items=&page=, pages from 0.
func (s *Server) restOperations(w http.ResponseWriter, r *http.Request) {
	items, err := number(r, "items", defaultOperations, mostOperations)
	page, err2 := number(r, "page", 0, mostOffset/max(items, 1))
	if err := errors.Join(err, err2); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	list, err := s.o.Record.Operations(r.Context(), store.OperationFilter{Limit: items, Offset: items * page})
	if err != nil {
		http.Error(w, "the database is away, try again: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	shown := make([]record, 0, len(list))
	for i := range list {
		shown = append(shown, replacedShape(&list[i]))
	}
	writeJSON(w, shown)
}

// restOperation answers GET /armory/agent/operations/{id}.
func (s *Server) restOperation(w http.ResponseWriter, r *http.Request) {
	list, err := s.o.Record.Operations(r.Context(), store.OperationFilter{ID: r.PathValue("id"), Limit: 1})
	switch {
	case err != nil:
		http.Error(w, "the database is away, try again: "+err.Error(), http.StatusServiceUnavailable)
	case len(list) == 0:
		http.Error(w, fmt.Sprintf("operation %q is not in the history", r.PathValue("id")), http.StatusNotFound)
	default:
		writeJSON(w, replacedShape(&list[0]))
	}
}

func number(r *http.Request, name string, otherwise, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s: %q is no number from 0 to %d", name, text, most)
	}
	return n, nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone, if it fails
}
