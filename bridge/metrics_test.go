package bridge_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/fairlead/fairlead/bridge/internal/bridgetest"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
	"github.com/fairlead/fairlead/proto/metricspage"
)

// typical are values of a bridge with 500 accounts, most of them idle.
var typical = map[string]string{
	"fairlead_bridge_account_unwell_seconds":               "none",
	"fairlead_bridge_accounts":                             "500 connected",
	"fairlead_bridge_accounts_unwell":                      "0 to 5",
	"fairlead_bridge_agents_outdated":                      "0; some while agents are upgraded",
	"fairlead_bridge_agents_refused_total":                 "does not rise",
	"fairlead_bridge_attaches_total":                       "a few a minute, continued: sessions are renewed every half hour",
	"fairlead_bridge_cache_deletes_total":                  "1 to 50 a second",
	"fairlead_bridge_cache_failed_total":                   "0",
	"fairlead_bridge_cache_fenced_total":                   "rises when accounts move",
	"fairlead_bridge_cache_links_put_total":                "5 to 200 a second",
	"fairlead_bridge_cache_queue_blocked_seconds_total":    "does not rise",
	"fairlead_bridge_cache_queue_bytes":                    "below 1 MiB",
	"fairlead_bridge_cache_queue_changes":                  "0 to 500",
	"fairlead_bridge_cache_queue_oldest_seconds":           "below 0.1",
	"fairlead_bridge_cache_queue_saturation_ratio":         "below 0.05",
	"fairlead_bridge_cache_queue_writes":                   "0 to 20",
	"fairlead_bridge_cache_rejected_total":                 "does not rise",
	"fairlead_bridge_cache_retries_total":                  "a few an hour",
	"fairlead_bridge_cache_rows_put_total":                 "5 to 200 a second",
	"fairlead_bridge_cache_transaction_duration_seconds":   "median 5 ms",
	"fairlead_bridge_cache_transaction_writes":             "1 to 4",
	"fairlead_bridge_cache_verified_total":                 "up to 1,000 a second (`cache.verifyRowsPerSecond`)",
	"fairlead_bridge_cache_workers":                        "4",
	"fairlead_bridge_cache_workers_busy":                   "0 to 1",
	"fairlead_bridge_certificate_expiry_timestamp_seconds": "10 to 30 days ahead",
	"fairlead_bridge_comparisons_total":                    "agreed: tens a second; differed: 0",
	"fairlead_bridge_database_up":                          "1",
	"fairlead_bridge_directory_errors_total":               "does not rise",
	"fairlead_bridge_forwarded_agents":                     "as many as sessions",
	"fairlead_bridge_forwarded_metrics_refused_total":      "0",
	"fairlead_bridge_history_dropped_total":                "0",
	"fairlead_bridge_history_waiting":                      "0 to 10",
	"fairlead_bridge_info":                                 "1",
	"fairlead_bridge_operation_duration_seconds":           "get 20 to 50 ms, apply 50 to 200 ms",
	"fairlead_bridge_operation_hop_seconds":                "wait and way: milliseconds; agent: most of it",
	"fairlead_bridge_operations_open":                      "0 to 20",
	"fairlead_bridge_operations_total":                     "1 to 10 a second",
	"fairlead_bridge_operations_unserved_accounts":         "0",
	"fairlead_bridge_plugin_calling":                       "1",
	"fairlead_bridge_plugin_refused_total":                 "0",
	"fairlead_bridge_ready":                                "1",
	"fairlead_bridge_session_age_seconds":                  "half an hour",
	"fairlead_bridge_sessions":                             "100 to 500",
	"fairlead_bridge_sessions_ended_total":                 "drained: some a minute; the others do not rise",
	"fairlead_bridge_sessions_opened_total":                "some a minute",
}

func TestMetricsOfABridgeAreDocumentedAndSound(t *testing.T) {
	d := storetest.Start(t).Database(t)
	b := bridgetest.Run(t, bridgetest.Configure(t, d.DSN))
	b.UntilReady()
	agent := b.Agent(bridgetest.Hello("agent-1", "prod", "ill"))
	agent.Hears("the attach of prod", func(f *linkv1.SessionDown) bool { return f.GetAttached().GetAccount() == "prod" })
	agent.Say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Facts{Facts: &linkv1.Facts{Account: "ill", Problem: "no route"}}})
	agent.Say(&linkv1.SessionUp{Frame: &linkv1.SessionUp_Metrics{Metrics: &linkv1.Metrics{Text: []byte("# HELP fairlead_agent_connected Help.\n# TYPE fairlead_agent_connected gauge\nfairlead_agent_connected 1\n")}}})
	url := "http://" + b.Config.Metrics.Address + "/metrics"
	b.Until("the unwell account shows", func() bool {
		_, text := b.Get(url)
		return strings.Contains(text, `fairlead_bridge_account_unwell_seconds{account="ill",why="problem"}`) && strings.Contains(text, "\nfairlead_bridge_forwarded_agents 1\n")
	})
	if _, text := b.Get(url + "/agents"); !strings.Contains(text, `fairlead_agent_connected{agent="agent-1"} 1`) {
		t.Errorf("the agent's metrics are not shown:\n%s", text)
	}
	code, text := b.Get(url)
	if code != http.StatusOK {
		t.Fatal(code, text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var list []*dto.MetricFamily
	for _, f := range families {
		list = append(list, f)
	}
	metricspage.Check(t, "../docs/metrics.md", "bridge", list, typical)
}
