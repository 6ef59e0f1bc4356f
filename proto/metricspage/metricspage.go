// Package metricspage keeps docs/metrics.md true: a section of it is what a registry has, with its types, labels and meanings, and with typical values
// that a person has written beside each.
package metricspage

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

var update = flag.Bool("update-metrics", false, "write the section of docs/metrics.md anew")

// Check compares a section of the page with what was gathered. Typical values are by name; each metric must have one, and none may be left over.
// Metrics of the runtime (go_*, process_*, promhttp_*) are Prometheus' own and not listed.
func Check(t *testing.T, file, section string, families []*dto.MetricFamily, typical map[string]string) {
	t.Helper()
	typical = maps.Clone(typical)
	var rows strings.Builder
	rows.WriteString("| metric | type | labels | meaning | typical |\n|---|---|---|---|---|\n")
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	for _, f := range families {
		name := f.GetName()
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "promhttp_") {
			continue
		}
		value, told := typical[name]
		if !told {
			t.Errorf("metric %s: no typical value is given", name)
		}
		delete(typical, name)
		fmt.Fprintf(&rows, "| `%s` | %s | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), labels(f), strings.ReplaceAll(f.GetHelp(), "|", "\\|"), value)
	}
	for name := range typical {
		t.Errorf("metric %s is documented and not there", name)
	}
	begin, end := "<!-- "+section+" -->\n", "<!-- end of "+section+" -->\n"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), begin)
	have, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no section %q", file, section)
	}
	if *update && have != rows.String() {
		if err := os.WriteFile(file, []byte(before+begin+rows.String()+end+after), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
		return
	}
	if have != rows.String() {
		t.Errorf("%s is not what the registry has; go test with -update-metrics writes it. Wanted:\n%s", file, rows.String())
	}
}

func labels(f *dto.MetricFamily) string {
	names := map[string]bool{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			names[l.GetName()] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
