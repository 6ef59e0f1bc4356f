package admin

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestTheOpenAPIDocumentDescribesEveryRoute(t *testing.T) {
	var document struct {
		Paths map[string]map[string]struct {
			Summary   string
			Responses map[string]any
		}
	}
	if err := json.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	var described, served []string
	for path, methods := range document.Paths {
		for method, operation := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
			if operation.Summary == "" || len(operation.Responses) == 0 {
				t.Errorf("%s %s: no summary or no responses", method, path)
			}
		}
	}
	for _, r := range (&Server{}).accountRoutes() {
		served = append(served, r.pattern)
		if read := strings.HasPrefix(r.pattern, http.MethodGet); read == r.write {
			t.Errorf("%s: a GET reads, anything else writes", r.pattern)
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described %v\nserved %v", described, served)
	}
}
