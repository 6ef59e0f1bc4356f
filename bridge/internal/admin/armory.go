package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/fairlead/fairlead/bridge/internal/accounts"
	"github.com/fairlead/fairlead/bridge/internal/dynamic"
	"github.com/fairlead/fairlead/bridge/internal/store"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Stored reads the accounts that Clouddriver itself has stored (store.Store).
type Stored interface {
	StoredAccount(ctx context.Context, name string) (store.Stored, bool, error)
}

// armoryRoutes are the public REST API of the replaced product, which scripts found on Clouddriver's port 7002. Codes and bodies are the
// documented ones; docs/dynamic-accounts.md says what was decided where documents contradict each other.
func (s *Server) armoryRoutes() []route {
	return []route{
		{"GET /armory/accounts", false, s.armoryList},
		{"GET /armory/accounts/{name}", false, s.armoryGet},
		{"POST /armory/accounts", true, s.armoryCopy},
		{"PATCH /armory/accounts", true, s.armoryPatch},
		{"DELETE /armory/accounts", true, s.armoryDelete},
		{"DELETE /armory/accounts/{name}", true, s.armoryDeleteOne},
		{"POST /armory/accounts/dynamic", true, s.armoryPost},
		{"PUT /armory/accounts/dynamic", true, s.armoryPut},
		{"PATCH /armory/accounts/dynamic", true, s.armoryPatch},
		{"GET /agents/kubernetes/accounts/{name}", false, s.armoryAccount},
		{"GET /agents/kubernetes/accounts/{name}/namespaces", false, s.armoryNamespaces},
		{"GET /armory/agents", false, s.armoryAgents},
		{"GET /armory/agents/{agent}", false, s.armoryAgent},
		{"GET /armory/clouddrivers", false, s.armoryBridges},
		{"GET /armory/clouddrivers/{id}", false, s.armoryBridge},
		{"GET /armory/clouddrivers/sql/pool/settings", false, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, []map[string]any{s.o.Pool()}) }},
		{"POST /armory/agent/{agent}/disconnect", true, s.armoryDisconnect},
		{"POST /armory/agent/operations", true, notServed},
		{"POST /armory/agent/operationresults", true, notServed},
		{"POST /armory/agent/operations/database", true, notServed},
		{"POST /armory/agent/assignments", true, notServed},
	}
}

func (s *Server) routeArmory(mux *http.ServeMux) { s.route(mux, s.armoryRoutes()) }

// notServed answers what the replaced product's instances called among themselves.
func notServed(w http.ResponseWriter, _ *http.Request) {
	say(w, http.StatusNotImplemented, "this was internal to the replaced product: bridges pass operations on by themselves, and agents agree by fences on who caches an account")
}

// armoryShown is an account of GET /armory/accounts.
type armoryShown struct {
	Name              string          `json:"name"`
	Type              string          `json:"type"`
	Source            string          `json:"source"`
	Status            string          `json:"status"`
	Config            json.RawMessage `json:"config"`
	ZoneID            string          `json:"zoneId"`
	Agents            []armoryServing `json:"agents"`
	LastAssignmentMsg string          `json:"lastAssignmentMsg"`
}

type armoryServing struct {
	AgentID string `json:"agentId"`
	Caching bool   `json:"caching"`
}

// armoryAll lists dynamic accounts and those of agents' files, by name.
func (s *Server) armoryAll() []armoryShown {
	known, _, _ := s.o.Accounts.List()
	served := map[string]accounts.Account{}
	for _, a := range known {
		served[a.Declared.GetName()] = a
	}
	var list []armoryShown
	rows, _ := s.o.Dynamic.List()
	for _, row := range rows {
		shown := armoryShown{Name: row.Name, Type: "kubernetes", Source: "clouddriver", Status: row.State, Config: json.RawMessage(row.Definition), ZoneID: zoneOf(row), LastAssignmentMsg: row.Reason}
		shown.Agents = serving(served[row.Name])
		delete(served, row.Name)
		list = append(list, shown)
	}
	for name, a := range served {
		config, err := protojson.Marshal(a.Declared)
		if err != nil {
			config = []byte("{}")
		}
		list = append(list, armoryShown{Name: name, Type: "kubernetes", Source: "static-agent-config", Status: staticStatus(a), Config: config, Agents: serving(a), LastAssignmentMsg: a.Facts.GetProblem()})
	}
	slices.SortFunc(list, func(a, b armoryShown) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// zoneOf is the zone that an account was asked to be in, or is in.
func zoneOf(row store.Dynamic) string {
	if zone, is := strings.CutPrefix(row.Place, "zone "); is && row.Zone == "" {
		return zone
	}
	return row.Zone
}

func serving(a accounts.Account) []armoryServing {
	if a.Declared == nil || !a.Connected() {
		return []armoryServing{}
	}
	return []armoryServing{{AgentID: a.Agent, Caching: true}}
}

func staticStatus(a accounts.Account) string {
	if a.Connected() {
		return string(dynamic.Active)
	}
	return string(dynamic.Orphaned)
}

// armoryList answers GET /armory/accounts?page=1&limit=100; pages begin with 1.
func (s *Server) armoryList(w http.ResponseWriter, r *http.Request) {
	page, err := number(r, "page", 1, 1_000_000)
	limit, err2 := number(r, "limit", 100, 10_000)
	if err = errors.Join(err, err2); err != nil || page < 1 || limit < 1 {
		say(w, http.StatusBadRequest, "page and limit are numbers from 1 on")
		return
	}
	all := s.armoryAll()
	from := min((page-1)*limit, len(all))
	writeJSON(w, map[string]any{"items": append([]armoryShown{}, all[from:min(from+limit, len(all))]...), "page": page, "limit": limit, "total": len(all)})
}

func (s *Server) armoryGet(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	for _, a := range s.armoryAll() {
		if a.Name == name {
			writeJSON(w, a)
			return
		}
	}
	say(w, http.StatusNotFound, fmt.Sprintf("account %q is not known", name))
}

// armoryWish is an entry of POST and PATCH /armory/accounts.
type armoryWish struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	ZoneID string `json:"zoneId"`
	File   string `json:"kubeconfigFile"`
}

func readWishes(r *http.Request) ([]armoryWish, error) {
	content, list, err := readDefinitions(r)
	if err != nil {
		return nil, err
	}
	if !list || len(content) == 0 {
		return nil, errors.New("want a list of accounts that is not empty: [{\"name\": …}]")
	}
	wishes := make([]armoryWish, len(content))
	for i, c := range content {
		if err := json.Unmarshal(c, &wishes[i]); err != nil || wishes[i].Name == "" {
			return nil, fmt.Errorf("entry %d: want an object with a name", i)
		}
		if wishes[i].File != "" {
			return nil, fmt.Errorf("account %q: kubeconfigFile: a dynamic account's kubeconfig is no file", wishes[i].Name)
		}
	}
	return wishes, nil
}

// armoryCopy answers POST /armory/accounts: accounts that Clouddriver has stored become dynamic ones, INACTIVE.
func (s *Server) armoryCopy(w http.ResponseWriter, r *http.Request) {
	wishes, err := readWishes(r)
	if err != nil {
		say(w, http.StatusBadRequest, err.Error())
		return
	}
	var definitions []json.RawMessage
	var absent []*adminv1.DynamicResult
	for _, wish := range wishes {
		stored, found, err := s.o.Stored.StoredAccount(r.Context(), wish.Name)
		if err != nil {
			sayError(w, unavailable(err))
			return
		}
		if !found {
			absent = append(absent, &adminv1.DynamicResult{Name: wish.Name, Code: codeUnknown, Reason: "Clouddriver has no stored account of that name; POST /armory/accounts/dynamic takes a whole definition"})
			continue
		}
		definitions = append(definitions, dynamic.InZone(stored.Body, wish.ZoneID))
	}
	var results []*adminv1.DynamicResult
	if len(definitions) > 0 || s.o.Disabled {
		if results, err = s.putAccounts(r.Context(), definitions, putting{source: "armory", createOnly: true}); err != nil {
			sayError(w, err)
			return
		}
	}
	armoryAnswer(w, append(results, absent...))
}

// armoryAnswer is 202 with an empty list; 409 with the names that are there already, 403, 400 and 404 with the reasons. Whatever was right
// has been done.
func armoryAnswer(w http.ResponseWriter, results []*adminv1.DynamicResult) {
	exists, reasons, status := []string{}, []string{}, 0
	for _, r := range results {
		if !undone(r.GetCode()) {
			continue
		}
		if r.GetCode() == codeExists {
			exists = append(exists, r.GetName())
			continue
		}
		reasons = append(reasons, r.GetName()+": "+r.GetReason())
		if status == 0 || r.GetCode() == codeDenied {
			status = resultStatus[r.GetCode()]
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case len(reasons) > 0:
		say(w, status, strings.Join(append(reasons, already(exists)...), "; "))
	case len(exists) > 0:
		w.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(w).Encode(exists) // the caller is gone, if it fails
	default:
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("[]\n")) // the caller is gone, if it fails
	}
}

func already(names []string) (reasons []string) {
	for _, name := range names {
		reasons = append(reasons, name+": is there already")
	}
	return reasons
}

// armoryPatch answers PATCH /armory/accounts: ACTIVE and INACTIVE are what is wanted.
func (s *Server) armoryPatch(w http.ResponseWriter, r *http.Request) {
	wishes, err := readWishes(r)
	for _, wish := range wishes {
		if wish.State != string(dynamic.Active) && wish.State != string(dynamic.Inactive) {
			err = errors.Join(err, fmt.Errorf("account %q: state: %q is neither ACTIVE nor INACTIVE", wish.Name, wish.State))
		}
	}
	if err != nil {
		say(w, http.StatusBadRequest, err.Error())
		return
	}
	var results []*adminv1.DynamicResult
	for _, wish := range wishes {
		kind := dynamic.Activate
		if wish.State == string(dynamic.Inactive) {
			kind = dynamic.Deactivate
		}
		done, err := s.changeAccounts(r.Context(), []string{wish.Name}, kind, wish.ZoneID, false, 0)
		if err != nil {
			sayError(w, err)
			return
		}
		results = append(results, done...)
	}
	armoryDone(w, results, http.StatusAccepted)
}

// armoryDone answers without a body, or with the reasons why not.
func armoryDone(w http.ResponseWriter, results []*adminv1.DynamicResult, status int) {
	if slices.ContainsFunc(results, func(r *adminv1.DynamicResult) bool { return undone(r.GetCode()) }) {
		armoryAnswer(w, results)
		return
	}
	w.WriteHeader(status)
}

// armoryDelete answers DELETE /armory/accounts with a list of names.
func (s *Server) armoryDelete(w http.ResponseWriter, r *http.Request) {
	var names []string
	if err := json.NewDecoder(r.Body).Decode(&names); err != nil {
		say(w, http.StatusBadRequest, `want a list of names: ["prod-eu"]`)
		return
	}
	s.armoryDeletes(w, r, names, http.StatusAccepted)
}

func (s *Server) armoryDeleteOne(w http.ResponseWriter, r *http.Request) {
	s.armoryDeletes(w, r, []string{r.PathValue("name")}, http.StatusNoContent)
}

func (s *Server) armoryDeletes(w http.ResponseWriter, r *http.Request, names []string, status int) {
	if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, "*") }) {
		say(w, http.StatusBadRequest, "names hold no *")
		return
	}
	results, err := s.changeAccounts(r.Context(), names, dynamic.Delete, "", false, 0)
	if err != nil {
		sayError(w, err)
		return
	}
	armoryDone(w, results, status)
}

// armoryPost answers POST /armory/accounts/dynamic: new accounts, INACTIVE.
func (s *Server) armoryPost(w http.ResponseWriter, r *http.Request) {
	definitions, _, err := readDefinitions(r)
	if err != nil {
		say(w, http.StatusBadRequest, err.Error())
		return
	}
	results, err := s.putAccounts(r.Context(), definitions, putting{source: "armory", createOnly: true})
	if err != nil {
		sayError(w, err)
		return
	}
	armoryAnswer(w, results)
}

// armoryPut answers PUT /armory/accounts/dynamic: one account, new or changed.
func (s *Server) armoryPut(w http.ResponseWriter, r *http.Request) {
	definitions, list, err := readDefinitions(r)
	if err == nil && list {
		err = errors.New("want one account, not a list")
	}
	if err != nil {
		say(w, http.StatusBadRequest, err.Error())
		return
	}
	results, err := s.putAccounts(r.Context(), definitions, putting{source: "armory"})
	if err != nil {
		sayError(w, err)
		return
	}
	armoryAnswer(w, results)
}

// armoryAccount answers GET /agents/kubernetes/accounts/{name}, which scripts poll for the state; {} if there is none.
func (s *Server) armoryAccount(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	known, there := s.o.Accounts.Get(name)
	row, given := s.o.Dynamic.Get(name)
	if !there && !given {
		writeJSON(w, struct{}{})
		return
	}
	shown := map[string]any{"name": name, "dynamic": given, "connections": len(known.Sessions) + len(known.Elsewhere), "kubeVersion": known.Facts.GetServerVersion(), "permissions": permissions(known.Declared),
		"certFingerprint": "", "kubeHost": ""}
	for _, c := range known.Declared.GetCluster() {
		if authority, is := strings.CutPrefix(c, "ca:"); is {
			shown["certFingerprint"] = authority
		} else if host, is := strings.CutPrefix(c, "host:"); is {
			shown["kubeHost"] = host
		}
	}
	if given {
		shown["status"], shown["zoneId"], shown["errorMessage"], shown["retryCount"] = row.State, zoneOf(row), row.Reason, row.Failures
		shown["definition"], shown["lastUpdated"] = json.RawMessage(row.Definition), row.Changed
	} else {
		shown["status"], shown["errorMessage"] = staticStatus(known), known.Facts.GetProblem()
	}
	writeJSON(w, shown)
}

func permissions(d *linkv1.Account) map[string][]string {
	shown := map[string][]string{}
	for authorization, roles := range d.GetPermissions() {
		shown[authorization] = roles.GetRoles()
	}
	return shown
}

func (s *Server) armoryNamespaces(w http.ResponseWriter, r *http.Request) {
	known, _ := s.o.Accounts.Get(r.PathValue("name"))
	writeJSON(w, append([]string{}, known.Facts.GetNamespaces()...))
}

// armoryAgentShown is an agent of GET /armory/agents.
type armoryAgentShown struct {
	AgentID        string    `json:"agentId"`
	Type           string    `json:"type"`
	ClouddriverID  string    `json:"clouddriverId"`
	LastConnection time.Time `json:"lastConnection"`
	Caching        bool      `json:"caching"`
	ZoneID         string    `json:"zoneId"`
	Version        string    `json:"version"`
	Accounts       []string  `json:"accounts"`
}

func (s *Server) armoryAgentsShown() []armoryAgentShown {
	known, _, _ := s.o.Accounts.List()
	list := []armoryAgentShown{}
	for _, g := range s.o.Dynamic.Agents() {
		shown := armoryAgentShown{AgentID: g.Agent, Type: "kubernetes", ClouddriverID: g.Bridge, LastConnection: time.UnixMilli(g.Since).UTC(), ZoneID: g.Zone, Version: g.Version, Accounts: []string{}}
		for _, a := range known {
			if a.Agent == g.Agent && (slices.Contains(a.Sessions, g.Session) || slices.Contains(a.Elsewhere, g.Bridge)) {
				shown.Accounts = append(shown.Accounts, a.Declared.GetName())
			}
		}
		shown.Caching = len(shown.Accounts) > 0
		list = append(list, shown)
	}
	return list
}

func (s *Server) armoryAgents(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, s.armoryAgentsShown())
}

func (s *Server) armoryAgent(w http.ResponseWriter, r *http.Request) {
	for _, g := range s.armoryAgentsShown() {
		if g.AgentID == r.PathValue("agent") {
			writeJSON(w, g)
			return
		}
	}
	say(w, http.StatusNotFound, fmt.Sprintf("agent %q is not connected to any bridge", r.PathValue("agent")))
}

// armoryBridgeShown is a bridge, where the replaced product had a Clouddriver.
type armoryBridgeShown struct {
	ID          string    `json:"id"`
	BaseURL     string    `json:"baseUrl"`
	Ready       bool      `json:"ready"`
	LastUpdated time.Time `json:"lastUpdated"`
}

// aliveFor is how long after its last heartbeat a bridge counts as ready.
const aliveFor = 30 * time.Second

func (s *Server) armoryBridgesShown(ctx context.Context) ([]armoryBridgeShown, error) {
	bridges, err := s.o.Bridges(ctx)
	list := []armoryBridgeShown{}
	for _, b := range bridges {
		age := time.Duration(b.Age) * time.Millisecond
		list = append(list, armoryBridgeShown{ID: b.Name, Ready: age < aliveFor, LastUpdated: time.Now().Add(-age).UTC()})
	}
	return list, err
}

func (s *Server) armoryBridges(w http.ResponseWriter, r *http.Request) {
	list, err := s.armoryBridgesShown(r.Context())
	if err != nil {
		sayError(w, unavailable(err))
		return
	}
	writeJSON(w, list)
}

func (s *Server) armoryBridge(w http.ResponseWriter, r *http.Request) {
	list, err := s.armoryBridgesShown(r.Context())
	if err != nil {
		sayError(w, unavailable(err))
		return
	}
	for _, b := range list {
		if b.ID == r.PathValue("id") {
			writeJSON(w, b)
			return
		}
	}
	say(w, http.StatusNotFound, fmt.Sprintf("bridge %q is not running", r.PathValue("id")))
}

// armoryDisconnect answers POST /armory/agent/{agent}/disconnect. The body, which the replaced product's instances told each other more by, is not needed.
func (s *Server) armoryDisconnect(w http.ResponseWriter, r *http.Request) {
	c := &change{action: "agent.disconnect", target: r.PathValue("agent"), may: caller(r.Context()).isOperator(), right: operatorOnly}
	if err := s.allow(r.Context(), c); err != nil {
		sayError(w, err)
		return
	}
	_, err := s.disconnect(r.Context(), r.PathValue("agent"))
	s.audit(r.Context(), c, err)
	if err != nil {
		sayError(w, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}
