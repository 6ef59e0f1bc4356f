package admin

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bridge/internal/dynamic"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// openAPI describes what this file serves; a test compares the two.
//
//go:embed openapi.json
var openAPI []byte

// route is one method and path of the REST API for people's programs.
type route struct {
	pattern string
	// write: it changes something.
	write  bool
	handle func(http.ResponseWriter, *http.Request)
}

func (s *Server) accountRoutes() []route {
	return []route{
		{"GET /v1/accounts", false, s.restList},
		{"GET /v1/accounts/{name}", false, s.restGet},
		{"POST /v1/accounts", true, s.restPost},
		{"PUT /v1/accounts/{name}", true, s.restPut},
		{"POST /v1/accounts/{name}/activate", true, s.restWish(dynamic.Activate)},
		{"POST /v1/accounts/{name}/deactivate", true, s.restWish(dynamic.Deactivate)},
		{"DELETE /v1/accounts/{name}", true, s.restWish(dynamic.Delete)},
		{"GET /v1/openapi.json", false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(openAPI) // the caller is gone, if it fails
		}},
	}
}

func (s *Server) routeAccounts(mux *http.ServeMux) { s.route(mux, s.accountRoutes()) }

// route adds routes. Those that write are for operators and account-managers, bounded in size; which accounts is asked for each.
func (s *Server) route(mux *http.ServeMux, routes []route) {
	for _, r := range routes {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, request *http.Request) {
			if r.write {
				c := &change{action: "dynamic.call", target: request.Method + " " + request.URL.Path, may: caller(request.Context()).manages(), right: managerOnly}
				if err := s.allow(request.Context(), c); err != nil {
					sayError(w, err)
					return
				}
				request.Body = http.MaxBytesReader(w, request.Body, maximumRequestBytes)
			}
			r.handle(w, request)
		})
	}
}

// restList answers GET /v1/accounts?name=&state=&zone=&label=NAME=VALUE&limit=&after=.
func (s *Server) restList(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	limit, err := number(r, "limit", 0, 100_000)
	if err != nil {
		say(w, http.StatusBadRequest, err.Error())
		return
	}
	m := &adminv1.ListDynamicAccountsRequest{Names: query["name"], State: query.Get("state"), Zone: query.Get("zone"), After: query.Get("after"), Limit: uint32(limit), Labels: map[string]string{}} //nolint:gosec // bounded
	for _, label := range query["label"] {
		name, value, found := strings.Cut(label, "=")
		if !found {
			say(w, http.StatusBadRequest, fmt.Sprintf("label: %q: write label=NAME=VALUE", label))
			return
		}
		m.Labels[name] = value
	}
	list, err := s.listDynamic(m)
	if err != nil {
		sayError(w, err)
		return
	}
	writeProto(w, http.StatusOK, &adminv1.ListDynamicAccountsResponse{Accounts: list})
}

func (s *Server) restGet(w http.ResponseWriter, r *http.Request) {
	row, known := s.o.Dynamic.Get(r.PathValue("name"))
	if !known {
		say(w, http.StatusNotFound, fmt.Sprintf("account %q: %v", r.PathValue("name"), dynamic.ErrUnknown))
		return
	}
	writeProto(w, http.StatusOK, shownDynamic(row))
}

// options are what calls that change something may say: ?dryRun=true&activate=true&createOnly=true&wait=10s&zone=.
func options(r *http.Request) (putting, error) {
	p := putting{source: "api"}
	var errs []error
	for name, to := range map[string]*bool{"dryRun": &p.dryRun, "activate": &p.activate, "createOnly": &p.createOnly} {
		if text := r.URL.Query().Get(name); text != "" {
			var err error
			if *to, err = strconv.ParseBool(text); err != nil {
				errs = append(errs, fmt.Errorf("%s: %q is neither true nor false", name, text))
			}
		}
	}
	if text := r.URL.Query().Get("wait"); text != "" {
		var err error
		if p.wait, err = time.ParseDuration(text); err != nil || p.wait < 0 || p.wait > longestWait {
			errs = append(errs, fmt.Errorf("wait: %q is no duration up to %s; write 10s", text, longestWait))
		}
	}
	return p, errors.Join(errs...)
}

// restPost answers POST /v1/accounts with one account or a list.
func (s *Server) restPost(w http.ResponseWriter, r *http.Request) {
	definitions, _, err := readDefinitions(r)
	s.restStore(w, r, definitions, err)
}

// restPut answers PUT /v1/accounts/{name} with one account.
func (s *Server) restPut(w http.ResponseWriter, r *http.Request) {
	definitions, list, err := readDefinitions(r)
	if err == nil && (list || len(definitions) != 1) {
		err = errors.New("want one account; POST /v1/accounts takes a list")
	}
	if err == nil {
		var named struct{ Name string }
		name := r.PathValue("name")
		if json.Unmarshal(definitions[0], &named) == nil && named.Name != name {
			err = fmt.Errorf("name: %q in the body is not %q of the path", named.Name, name)
		}
	}
	s.restStore(w, r, definitions, err)
}

func (s *Server) restStore(w http.ResponseWriter, r *http.Request, definitions []json.RawMessage, err error) {
	p, err2 := options(r)
	if err = errors.Join(err, err2); err != nil {
		say(w, http.StatusBadRequest, err.Error())
		return
	}
	results, err := s.putAccounts(r.Context(), definitions, p)
	s.answer(w, results, err, p)
}

func (s *Server) restWish(kind dynamic.Kind) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := options(r)
		if err != nil {
			say(w, http.StatusBadRequest, err.Error())
			return
		}
		results, err := s.changeAccounts(r.Context(), []string{r.PathValue("name")}, kind, r.URL.Query().Get("zone"), p.dryRun, p.wait)
		s.answer(w, results, err, p)
	}
}

// answer is 200 when everything is done, 202 when it goes on, 207 when some accounts failed, and a code of its own when all did.
func (s *Server) answer(w http.ResponseWriter, results []*adminv1.DynamicResult, err error, p putting) {
	if err != nil {
		sayError(w, err)
		return
	}
	status, bad := http.StatusOK, 0
	for _, r := range results {
		switch {
		case undone(r.GetCode()):
			bad++
		case !p.dryRun && r.GetAccount() != nil && !dynamic.State(r.GetAccount().GetState()).Settled():
			status = http.StatusAccepted
		}
	}
	switch {
	case bad > 0 && bad < len(results):
		status = http.StatusMultiStatus
	case bad > 0:
		status = resultStatus[results[0].GetCode()]
	}
	writeProto(w, status, &adminv1.PutDynamicAccountsResponse{Results: results})
}

var resultStatus = map[string]int{codeInvalid: http.StatusBadRequest, codeDenied: http.StatusForbidden, codeUnknown: http.StatusNotFound, codeExists: http.StatusConflict,
	codeConflict: http.StatusConflict, codeFailed: http.StatusServiceUnavailable}

// readDefinitions reads a JSON object or a list of them.
func readDefinitions(r *http.Request) (definitions []json.RawMessage, list bool, err error) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, false, errors.New("the body cannot be read, or is too large")
	}
	content = bytes.TrimSpace(content)
	if len(content) > 0 && content[0] == '[' {
		if err := json.Unmarshal(content, &definitions); err != nil {
			return nil, true, errors.New("the body is no JSON") // its words may quote a credential
		}
		return definitions, true, nil
	}
	if !json.Valid(content) || len(content) == 0 || content[0] != '{' {
		return nil, false, errors.New("the body is no JSON object and no list of them")
	}
	return []json.RawMessage{content}, false, nil
}

func writeProto(w http.ResponseWriter, status int, m proto.Message) {
	text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		say(w, http.StatusInternalServerError, "the answer cannot be written")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the caller is gone, if it fails
}
