package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Check is one thing that must be so.
type Check struct {
	// Name is short and stable: "session", "account prod".
	Name string
	// Problem in words for a person; "" when all is well.
	Problem string
}

// Version is the agent's build.
type Version struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	GoVersion string `json:"goVersion,omitempty"`
}

// Config is which configuration is in force.
type Config struct {
	// Files it was read from, when.
	Files   []string  `json:"files"`
	Applied time.Time `json:"applied"`
	// Problem is why what the files hold now is not in force; "": it is.
	Problem string `json:"problem,omitempty"`
	// AfterRestart lists sections whose changes take effect when the agent starts again.
	AfterRestart []string `json:"afterRestart,omitempty"`
}

// Account states are those of the replaced product's agent.
const (
	StateConfigLoaded   = "ConfigLoaded"
	StateHealthy        = "Healthy"
	StateDiscoveryError = "DiscoveryError"
)

// Account is one account. Its JSON has the field names that the replaced product's filters use.
type Account struct {
	Config AccountConfig `json:"Config"`
	State  AccountState  `json:"State"`
	// Kinds are watched, Server and Version are the API server's.
	Kinds   []string `json:"Kinds"`
	Server  string   `json:"Server,omitempty"`
	Version string   `json:"Version,omitempty"`
	Watches []Watch  `json:"-"`
}

// AccountConfig is what a person may see of an account's configuration.
type AccountConfig struct {
	Name       string   `json:"Name"`
	Dynamic    bool     `json:"Dynamic"`
	Namespaces []string `json:"Namespaces,omitempty"`
}

// AccountState is how an account fares.
type AccountState struct {
	Name  string `json:"Name"`
	Error string `json:"Error,omitempty"`
}

// Watch is one kind of an account.
type Watch struct {
	Kind string `json:"kind"`
	// State is listing, live, waiting, forbidden, gone or unknown.
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Objects int       `json:"objects"`
	Relists int       `json:"relists"`
	Resumes int       `json:"resumes"`
	Skipped int       `json:"skipped,omitempty"`
	Error   string    `json:"error,omitempty"`
	// DeniedNamespaces are left out because they are forbidden.
	DeniedNamespaces []string `json:"deniedNamespaces,omitempty"`
}

// Operation is one operation under way.
type Operation struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	// Verb and Target say what: "apply", "deployment default/web".
	Verb      string    `json:"verb"`
	Target    string    `json:"target,omitempty"`
	Started   time.Time `json:"started"`
	Deadline  time.Time `json:"deadline,omitzero"`
	Cancelled bool      `json:"cancelled,omitempty"`
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v) // the client went away; nobody is left to tell
}

// health answers with one line for each check, and 503 when one fails.
func (s *Server) health(sources ...func() []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var text strings.Builder
		status := http.StatusOK
		for _, source := range sources {
			if source == nil {
				continue
			}
			for _, c := range source() {
				if c.Problem == "" {
					fmt.Fprintf(&text, "[+] %s ok\n", c.Name)
					continue
				}
				status = http.StatusServiceUnavailable
				fmt.Fprintf(&text, "[-] %s: %s\n", c.Name, strings.ReplaceAll(c.Problem, "\n", " "))
			}
		}
		if status == http.StatusOK {
			text.WriteString("ok\n")
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text.String()))
	}
}

func (s *Server) all() []Account {
	if s.sources.Accounts == nil {
		return []Account{}
	}
	all := s.sources.Accounts()
	slices.SortFunc(all, func(a, b Account) int { return strings.Compare(a.Config.Name, b.Config.Name) })
	return all
}

func (s *Server) accounts(w http.ResponseWriter, r *http.Request) {
	selected, err := selectAccounts(s.all(), r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	write(w, selected)
}

// selectAccounts filters and pages. "offtset" is how the replaced product spells offset.
func selectAccounts(all []Account, query url.Values) ([]Account, error) {
	limit, offset := len(all), 0
	selected := all
	for name, values := range query {
		value := values[0]
		keep := func(Account) bool { return true }
		var err error
		switch name {
		case "Config.Name":
			keep = func(a Account) bool { return a.Config.Name == value }
		case "State.Name":
			keep = func(a Account) bool { return a.State.Name == value }
		case "Config.Dynamic":
			var dynamic bool
			dynamic, err = strconv.ParseBool(value)
			keep = func(a Account) bool { return a.Config.Dynamic == dynamic }
		case "limit":
			limit, err = strconv.Atoi(value)
		case "offset", "offtset":
			offset, err = strconv.Atoi(value)
		default:
			return nil, fmt.Errorf("unknown parameter %q; known are Config.Name, Config.Dynamic, State.Name, limit and offset", name)
		}
		if err != nil || limit < 0 || offset < 0 {
			return nil, fmt.Errorf("parameter %s: %q cannot be understood", name, value)
		}
		selected = slices.DeleteFunc(slices.Clone(selected), func(a Account) bool { return !keep(a) })
	}
	offset = min(offset, len(selected))
	return selected[offset:min(offset+limit, len(selected))], nil
}

func (s *Server) accountVersion(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	for _, a := range s.all() {
		if a.Config.Name != name {
			continue
		}
		if a.Version == "" {
			http.Error(w, fmt.Sprintf("the API server of account %q was not reached yet: %s", name, a.State.Error), http.StatusServiceUnavailable)
			return
		}
		write(w, map[string]string{"account": name, "version": a.Version})
		return
	}
	http.Error(w, fmt.Sprintf("this agent does not serve an account %q", name), http.StatusNotFound)
}

// watches groups by account and state.
func (s *Server) watches(w http.ResponseWriter, _ *http.Request) {
	grouped := map[string]map[string][]Watch{}
	for _, a := range s.all() {
		states := map[string][]Watch{}
		for _, watch := range a.Watches {
			states[watch.State] = append(states[watch.State], watch)
		}
		grouped[a.Config.Name] = states
	}
	write(w, grouped)
}

func (s *Server) operations(w http.ResponseWriter, _ *http.Request) {
	operations := []Operation{}
	if s.sources.Operations != nil {
		operations = append(operations, s.sources.Operations()...)
	}
	slices.SortFunc(operations, func(a, b Operation) int { return a.Started.Compare(b.Started) })
	write(w, operations)
}
