package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// livez: the process answers.
func (s *Server) livez(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }

// readyz is the readiness of the Clouddriver pod. It waits for the first complete start and stays up afterwards, whatever the database
// does: operations go on without it. What does not go well meanwhile it says all the same. startupz is the same: a start is complete once.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if ready, reason := s.o.Ready(); !ready {
		plain(w, http.StatusServiceUnavailable, reason+"\n")
		return
	}
	var text strings.Builder
	text.WriteString("ok\n")
	for _, p := range s.o.Problems() {
		fmt.Fprintf(&text, "[-] %s\n", strings.ReplaceAll(p, "\n", " "))
	}
	plain(w, http.StatusOK, text.String())
}

// healthz says what is wrong. It is for people and alerts; it does not fail, so that nothing restarts a bridge for what a restart does
// not mend.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	health := struct {
		Status   string   `json:"status"`
		Problems []string `json:"problems"`
	}{Status: "ok", Problems: []string{}}
	if problems := s.o.Problems(); len(problems) > 0 {
		health.Status, health.Problems = "degraded", problems
	}
	if ready, reason := s.o.Ready(); !ready {
		health.Status, health.Problems = "starting", append(health.Problems, reason)
	}
	w.Header().Set("Content-Type", "application/json")
	// The caller went away: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(health)
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}
