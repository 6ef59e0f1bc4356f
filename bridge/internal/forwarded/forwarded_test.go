package forwarded_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/fairlead/fairlead/bridge/internal/forwarded"
)

func show(t *testing.T, s *forwarded.Store) string {
	t.Helper()
	families, err := s.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestAgentsMetricsAreShownWithTheirNameUntilTheyGo(t *testing.T) {
	s := forwarded.New(nil)
	const text = "# HELP fairlead_agent_x_total Help.\n# TYPE fairlead_agent_x_total counter\nfairlead_agent_x_total{kind=\"pod\"} 3 1700000000000\n" +
		"# TYPE fairlead_agent_s histogram\nfairlead_agent_s_bucket{le=\"1\"} 2\nfairlead_agent_s_bucket{le=\"+Inf\"} 2\nfairlead_agent_s_sum 1\nfairlead_agent_s_count 2\n# TYPE go_goroutines gauge\ngo_goroutines 7\n"
	for i, name := range []string{"one", "two"} {
		if err := s.Put(fmt.Sprint(i), name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	got := show(t, s)
	for _, want := range []string{`fairlead_agent_x_total{agent="one",kind="pod"} 3` + "\n", `fairlead_agent_x_total{agent="two",kind="pod"} 3`, `fairlead_agent_s_bucket{agent="one",le="1"} 2`, `go_goroutines{agent="two"} 7`,
		"# HELP fairlead_agent_x_total Help."} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	s.Drop("0")
	if got := show(t, s); strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Error(got)
	}
	if err := s.Put("3", "two", []byte(text)); err != nil {
		t.Fatal(err)
	}
	if got := show(t, s); strings.Count(got, `fairlead_agent_x_total{agent="two"`) != 1 {
		t.Errorf("series of two agents of one name stand twice:\n%s", got)
	}
}

func TestWhatAnAgentMayNotSayIsLeftOut(t *testing.T) {
	many := &strings.Builder{}
	many.WriteString("# TYPE fairlead_agent_many gauge\n")
	for i := range 600 {
		fmt.Fprintf(many, "fairlead_agent_many{n=\"%d\"} 1\n", i)
	}
	for name, text := range map[string]string{
		"a bridge's metric":  "# TYPE fairlead_bridge_sessions gauge\nfairlead_bridge_sessions 9\n",
		"anybody's metric":   "# TYPE up gauge\nup 1\n",
		"its own name":       "# TYPE fairlead_agent_x gauge\nfairlead_agent_x{agent=\"other\"} 1\n",
		"too many series":    many.String(),
		"a long label":       "# TYPE fairlead_agent_x gauge\nfairlead_agent_x{l=\"" + strings.Repeat("x", 500) + "\"} 1\n",
		"a summary":          "# TYPE fairlead_agent_x summary\nfairlead_agent_x_sum 1\nfairlead_agent_x_count 1\n",
		"series that repeat": "# TYPE fairlead_agent_x gauge\nfairlead_agent_x{l=\"a\"} 1\nfairlead_agent_x{l=\"a\"} 2\n",
		"no metrics at all":  "<html>",
		"too much":           "# " + strings.Repeat("x", 200<<10),
	} {
		s := forwarded.New(nil)
		if err := s.Put("1", "agent", []byte(text)); err == nil {
			t.Errorf("%s: nobody said anything", name)
		}
		if got := show(t, s); got != "" {
			t.Errorf("%s: %.200s", name, got)
		}
	}
	s := forwarded.New(nil)
	if err := s.Put("1", "a", []byte("# TYPE fairlead_agent_x gauge\nfairlead_agent_x 1\n")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("2", "b", []byte("# TYPE fairlead_agent_x counter\nfairlead_agent_x 1\n")); err == nil {
		t.Error("one name has two types")
	}
}

func FuzzNothingThatAnAgentSaysBreaksTheBridgesMetrics(f *testing.F) {
	f.Add([]byte("# TYPE fairlead_agent_x gauge\nfairlead_agent_x{l=\"a\"} NaN\n"), "agent")
	f.Add([]byte("fairlead_agent_x{l=\"\\n\"} 1e999\n\x00"), "\xff")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		s := forwarded.New(nil)
		_ = s.Put("1", name, text) // whatever it says of it
		_ = s.Put("2", name+"x", text)
		shown := show(t, s)
		if shown != "" {
			parser := expfmt.NewTextParser(model.LegacyValidation)
			if _, err := parser.TextToMetricFamilies(strings.NewReader(shown)); err != nil {
				t.Errorf("%v\n%s", err, shown)
			}
		}
	})
}
