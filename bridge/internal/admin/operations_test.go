package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/fairlead/fairlead/bridge/internal/store"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// history is a store that notes what was asked for: the real one is tested with a database.
type history struct {
	asked store.OperationFilter
	list  []store.Operation
	err   error
}

func (h *history) Operations(_ context.Context, f store.OperationFilter) ([]store.Operation, error) {
	h.asked = f
	return h.list, h.err
}

func (h *history) Modes(context.Context) ([]store.Mode, error) { return nil, h.err }

// ended is an operation that came back; lost one whose bridge died.
func ended() store.Operation {
	return store.Operation{ID: "7f", Account: "prod", Verb: "apply", Target: "web/Deployment x", Mutation: true, User: "ada", Bridge: "bridge-0", Agent: "i", Started: 1_800_000_000_000,
		Waited: 2 * time.Millisecond, Begun: 5 * time.Millisecond, Ended: 45 * time.Millisecond, Duration: 50 * time.Millisecond, Server: 30 * time.Millisecond, Outcome: "succeeded"}
}

func lost() store.Operation {
	return store.Operation{ID: "8a", Account: "prod", Verb: "scale", Bridge: "bridge-0", Started: 1_800_000_000_000, Waited: -1, Begun: -1, Ended: -1, Duration: -1, Outcome: "running"}
}

func ask(h *history, path string) *httptest.ResponseRecorder {
	s := &Server{o: Options{Record: h}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /armory/agent/operations", s.restOperations)
	mux.HandleFunc("GET /armory/agent/operations/{id}", s.restOperation)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestHistoryHasTheReplacedProductsShape(t *testing.T) {
	h := &history{list: []store.Operation{ended(), lost()}}
	w := ask(h, "/armory/agent/operations?items=20&page=3")
	const want = `[{"operationId":"7f","operationType":"apply","account":"prod","startTime":"2027-01-15T08:00:00Z","endTime":"2027-01-15T08:00:00.05Z","totalDurationMs":50,"finalOutcome":"succeeded",` +
		`"opReceivedByClouddriver":{"clouddriverId":"bridge-0","time":"2027-01-15T08:00:00Z"},"opProcessedByClouddriver":{"clouddriverId":"bridge-0","time":"2027-01-15T08:00:00Z"},` +
		`"opSentToAgent":{"agentId":"i","time":"2027-01-15T08:00:00.002Z"},` +
		`"resultReceivedFromAgent":{"clouddriverId":"bridge-0","agentId":"i","time":"2027-01-15T08:00:00.045Z","result":{"status":"succeeded","durationMs":40}},` +
		`"resultReceivedByClouddriver":{"clouddriverId":"bridge-0","time":"2027-01-15T08:00:00.05Z"}},` +
		`{"operationId":"8a","operationType":"scale","account":"prod","startTime":"2027-01-15T08:00:00Z","finalOutcome":"running",` +
		`"opReceivedByClouddriver":{"clouddriverId":"bridge-0","time":"2027-01-15T08:00:00Z"},"opProcessedByClouddriver":{"clouddriverId":"bridge-0","time":"2027-01-15T08:00:00Z"}}]`
	if diff := cmp.Diff(want, strings.TrimSpace(w.Body.String())); diff != "" || w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, diff)
	}
	if h.asked.Limit != 20 || h.asked.Offset != 60 {
		t.Errorf("asked for %+v", h.asked)
	}
	h.list = nil
	if w := ask(h, "/armory/agent/operations"); strings.TrimSpace(w.Body.String()) != "[]" || h.asked.Limit != defaultOperations {
		t.Errorf("%s, asked for %+v", w.Body, h.asked)
	}
	if w := ask(h, "/armory/agent/operations/none"); w.Code != http.StatusNotFound || h.asked.ID != "none" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, path := range []string{"?items=-1", "?items=1001", "?page=x", "?items=1000&page=101", "?items=0&page=99999999"} {
		if w := ask(h, "/armory/agent/operations"+path); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	h.err = errors.New("no connection")
	if w := ask(h, "/armory/agent/operations"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", w.Code)
	}
}

func TestListedOperationLeavesOutTimesThatAreNotKnown(t *testing.T) {
	h := &history{list: []store.Operation{ended(), lost()}}
	s := &Server{o: Options{Record: h}}
	response, err := s.ListOperations(t.Context(), connect.NewRequest(&adminv1.ListOperationsRequest{Account: "prod", SinceSeconds: 1 << 63, Mutations: true, Offset: 5}))
	if err != nil {
		t.Fatal(err)
	}
	list := response.Msg.GetOperations()
	if first := list[0]; first.GetStarted().AsTime().Sub(first.GetReceived().AsTime()) != 5*time.Millisecond || first.GetServerMs() != 30 || first.GetUser() != "ada" {
		t.Errorf("%v", first)
	}
	if second := list[1]; second.GetSent() != nil || second.GetStarted() != nil || second.GetFinished() != nil || second.GetAnswered() != nil {
		t.Errorf("%v", second)
	}
	if h.asked.Within <= 0 || h.asked.Offset != 5 || !h.asked.Mutations || h.asked.Limit != defaultOperations {
		t.Errorf("asked for %+v", h.asked)
	}
	if _, err := s.ListOperations(t.Context(), connect.NewRequest(&adminv1.ListOperationsRequest{Limit: mostOperations + 1})); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Error(err)
	}
	for _, r := range []*adminv1.SetOperationsModeRequest{{Pattern: "prod-*", Mode: "sometimes"}, {Pattern: "", Mode: "failover"}} {
		if _, err := s.SetOperationsMode(t.Context(), connect.NewRequest(r)); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%v: %v", r, err)
		}
	}
}
