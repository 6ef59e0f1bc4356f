package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/proto/metricspage"
)

// typical are values of an agent with one account of 2,000 objects.
var typical = map[string]string{
	"fairlead_agent_accounts":                             "1 served",
	"fairlead_agent_batch_changes":                        "1 to 10; hundreds at a start",
	"fairlead_agent_certificate_expiry_timestamp_seconds": "up to 24 hours ahead",
	"fairlead_agent_credentials_reads_total":              "two a minute, unchanged",
	"fairlead_agent_changes_sent_total":                   "1 to 20 a second",
	"fairlead_agent_commit_seconds":                       "median 30 ms",
	"fairlead_agent_config_applied_timestamp_seconds":     "the last change",
	"fairlead_agent_config_reloads_total":                 "rises with each change of its files",
	"fairlead_agent_config_valid":                         "1",
	"fairlead_agent_connected":                            "1",
	"fairlead_agent_connections_total":                    "two an hour",
	"fairlead_agent_disconnections_total":                 "two an hour",
	"fairlead_agent_info":                                 "1",
	"fairlead_agent_kubernetes_requests_total":            "one every few seconds, 2xx",
	"fairlead_agent_ledger_bytes":                         "0",
	"fairlead_agent_ledger_results":                       "0 to 5",
	"fairlead_agent_objects":                              "2,000",
	"fairlead_agent_objects_rejected_total":               "0",
	"fairlead_agent_objects_unreadable_total":             "0",
	"fairlead_agent_operation_duration_seconds":           "20 to 200 ms",
	"fairlead_agent_operations_active":                    "0 to 5",
	"fairlead_agent_operations_total":                     "1 a second while somebody deploys",
	"fairlead_agent_outbox_blocked_seconds_total":         "does not rise",
	"fairlead_agent_outbox_bytes":                         "0 to 100 KiB",
	"fairlead_agent_outbox_changes":                       "0 to 20",
	"fairlead_agent_relisted_kinds":                       "0",
	"fairlead_agent_resumed_watches":                      "rises by one for each kind every five to ten minutes",
	"fairlead_agent_row_bytes_sent_total":                 "3 KiB a row",
	"fairlead_agent_rows_sent_total":                      "1 to 10 a second",
	"fairlead_agent_watch_ends_total":                     "does not rise",
	"fairlead_agent_watch_events_total":                   "1 to 50 a second, most of which change nothing",
	"fairlead_agent_watches":                              "12 live",
}

func gathered(t *testing.T, replacedNames bool) (*Agent, string) {
	t.Helper()
	dir := t.TempDir()
	token, file := filepath.Join(dir, "token"), filepath.Join(dir, "fairlead-agent.yml")
	text := fmt.Sprintf("clouddriver:\n  grpc: 127.0.0.1:1\n  tls: {pin: 'sha256:%s'}\n  auth: {tokenFile: %s}\nprometheus: {replacedNames: %t}\nkubernetes: {accounts: []}\n", strings.Repeat("ab", 32), token, replacedNames)
	for name, content := range map[string]string{token: "flt_x", file: text} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := config.Options{File: file}
	cfg, err := config.Load(source)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, Options{Source: source, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var families []*dto.MetricFamily
	if replacedNames {
		families, err = replaced{a.metrics}.Gather()
	} else {
		families, err = a.metrics.Gather()
	}
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			t.Fatal(err)
		}
	}
	return a, out.String()
}

func TestMetricsOfAnAgentAreDocumentedAndSound(t *testing.T) {
	a, shown := gathered(t, false)
	problems, err := promlint.New(strings.NewReader(shown)).Lint()
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	families, err := a.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	metricspage.Check(t, "../docs/metrics.md", "agent", families, typical)
	if strings.Contains(shown, "kubesvc_") {
		t.Error("names of the replaced product are there though nobody asked for them")
	}
	forwarded, err := text(a.metrics)
	if err != nil || bytes.Contains(forwarded, []byte("go_memstats")) || !bytes.Contains(forwarded, []byte("\nfairlead_agent_watches{state=\"live\"} 0\n")) || !bytes.Contains(forwarded, []byte("\nprocess_resident_memory_bytes ")) {
		t.Errorf("%v\n%s", err, forwarded)
	}
	if series := bytes.Count(forwarded, []byte("\n")) - bytes.Count(forwarded, []byte("\n#")); series > 250 {
		t.Errorf("%d series of an agent that does nothing: bridges take 500", series)
	}
}

func TestTheSevenNamesOfTheReplacedProductAreThereIfAskedFor(t *testing.T) {
	_, shown := gathered(t, true)
	for _, want := range []string{
		"# TYPE kubesvc_connection_count gauge\nkubesvc_connection_count 0\n", "# TYPE kubesvc_disconnection_total counter\nkubesvc_disconnection_total 0\n",
		"# TYPE kubesvc_events_sent_total counter\nkubesvc_events_sent_total{event_kind=\"pod\"} 0\n", "# TYPE kubesvc_events_bytes_sent_total counter\nkubesvc_events_bytes_sent_total{event_group=\"\"} 0\n",
		"# TYPE kubesvc_resource_agent_total gauge\nkubesvc_resource_agent_total 0\n", "# TYPE kubesvc_kubernetes_requests counter\nkubesvc_kubernetes_requests 0\n", "# TYPE kubesvc_watches gauge\nkubesvc_watches 0\n",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q", want)
		}
	}
	for kind, want := range map[string]string{"pod": "", "replicaSet": "apps", "CronTab.stable.example.com": "stable.example.com"} {
		if got := groupOf(kind); got != want {
			t.Errorf("%s: %q", kind, got)
		}
	}
}
