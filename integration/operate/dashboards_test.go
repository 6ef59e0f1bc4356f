package operate_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

type dashboard struct {
	Title, UID string
	Panels     []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

func TestDashboardsAskForMetricsThatAreThere(t *testing.T) {
	for _, name := range []string{"fleet", "account", "operations", "bridge", "agent"} {
		content, err := os.ReadFile(filepath.Join("../../operator/monitoring/dashboards", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(content, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d.UID != "fairlead-"+name || len(d.Panels) < 4 {
			t.Errorf("%s: uid %q, %d panels", name, d.UID, len(d.Panels))
		}
		for _, p := range d.Panels {
			if len(p.Targets) == 0 || p.Title == "" {
				t.Errorf("%s: a panel without title or query", name)
			}
			for _, target := range p.Targets {
				// Grafana replaces its variables before Prometheus sees the query.
				query := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$agent", ".*", "$account", ".*").Replace(target.Expr)
				if _, err := parser.NewParser(parser.Options{}).ParseExpr(query); err != nil {
					t.Errorf("%s, %s: %v", name, p.Title, err)
				}
				if left := undocumented(t, query); len(left) > 0 {
					t.Errorf("%s, %s asks for %v", name, p.Title, left)
				}
			}
		}
	}
}
