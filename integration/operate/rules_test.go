package operate_test

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

const ruleFile = "../../operator/monitoring/rules.yml"

// scenario is what Prometheus has scraped, once a minute, when all is well and when something is wrong. In the notation of its own tests "0x30"
// is thirty-one zeros, "0+3x30" rises by three a minute.
type scenario struct{ well, fault string }

func scenarios() map[string]scenario {
	return map[string]scenario{
		"FairleadBridgeDatabaseDown":   {`fairlead_bridge_database_up{instance="b"} 1x30`, `fairlead_bridge_database_up{instance="b"} 0x30`},
		"FairleadBridgeNotReady":       {`fairlead_bridge_ready{instance="b"} 1x30`, `fairlead_bridge_ready{instance="b"} 0x30`},
		"FairleadPluginNotCalling":     {"fairlead_bridge_ready{instance=\"b\"} 1x30\nfairlead_bridge_plugin_calling{instance=\"b\"} 1x30", "fairlead_bridge_ready{instance=\"b\"} 1x30\nfairlead_bridge_plugin_calling{instance=\"b\"} 0x30"},
		"FairleadAccountsWithoutAgent": {`fairlead_bridge_accounts_unwell{instance="b",why="agent_away"} 0x30`, `fairlead_bridge_accounts_unwell{instance="b",why="agent_away"} 2x30`},
		"FairleadAccountsUnwell":       {`fairlead_bridge_accounts_unwell{instance="b",why="problem"} 0x30`, `fairlead_bridge_accounts_unwell{instance="b",why="problem"} 2x30`},
		"FairleadAgentsRefused":        {`fairlead_bridge_agents_refused_total{instance="b",what="item"} 0+3x30`, `fairlead_bridge_agents_refused_total{instance="b",what="session"} 0+3x30`},
		"FairleadAgentsTooOld":         {`fairlead_bridge_agents_outdated{instance="b",served="yes"} 3x30`, `fairlead_bridge_agents_outdated{instance="b",served="no"} 1x30`},
		"FairleadAgentsFlapping":       {`fairlead_bridge_sessions_ended_total{instance="b",code="drained"} 0+20x30`, `fairlead_bridge_sessions_ended_total{instance="b",code="lost"} 0+2x30`},
		"FairleadCacheBehind":          {`fairlead_bridge_cache_queue_oldest_seconds{instance="b"} 1x30`, `fairlead_bridge_cache_queue_oldest_seconds{instance="b"} 31+60x30`},
		"FairleadCacheDiffers":         {`fairlead_bridge_comparisons_total{instance="b",result="differed"} 0+1x30`, `fairlead_bridge_comparisons_total{instance="b",result="gave_up"} 0x10 1x20`},
		"FairleadItemsRejected":        {`fairlead_bridge_cache_rejected_total{instance="b"} 7x30`, `fairlead_bridge_cache_rejected_total{instance="b"} 7x20 8x10`},
		"FairleadOperationsFailing": {"fairlead_bridge_operation_duration_seconds_count{instance=\"b\",outcome=\"succeeded\"} 0+90x30\nfairlead_bridge_operation_duration_seconds_count{instance=\"b\",outcome=\"failed\"} 0+30x30\nfairlead_bridge_operation_duration_seconds_count{instance=\"b\",outcome=\"absent\"} 0+1x30",
			"fairlead_bridge_operation_duration_seconds_count{instance=\"b\",outcome=\"succeeded\"} 0+90x30\nfairlead_bridge_operation_duration_seconds_count{instance=\"b\",outcome=\"absent\"} 0+10x30"},
		"FairleadHistoryDropped":     {`fairlead_bridge_history_dropped_total{instance="b"} 0x30`, `fairlead_bridge_history_dropped_total{instance="b"} 0x20 5x10`},
		"FairleadCertificateExpires": {`fairlead_bridge_certificate_expiry_timestamp_seconds{instance="b"} 2592000x30`, `fairlead_bridge_certificate_expiry_timestamp_seconds{instance="b"} 86400x30`},
		"FairleadAgentDisconnected":  {`fairlead_agent_connected{instance="a"} 1x30`, `fairlead_agent_connected{instance="a"} 0x30`},
		"FairleadAgentCredentials":   {`fairlead_agent_credentials_reads_total{instance="a",result="unchanged"} 0+2x30`, `fairlead_agent_credentials_reads_total{instance="a",result="failed"} 0+2x30`},
		"FairleadAgentWatchesDown":   {`fairlead_agent_watches{instance="a",state="live"} 10x30`, `fairlead_agent_watches{instance="a",state="forbidden"} 1x30`},
		"FairleadAgentConfigRefused": {`fairlead_agent_config_valid{instance="a"} 1x30`, `fairlead_agent_config_valid{instance="a"} 0x30`},
	}
}

// load reads the rules as Prometheus does.
func load(t *testing.T) []*rules.AlertingRule {
	t.Helper()
	manager := rules.NewManager(&rules.ManagerOptions{Context: t.Context(), Logger: slog.New(slog.DiscardHandler), NameValidationScheme: model.LegacyValidation, Parser: parser.NewParser(parser.Options{})})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, ruleFile)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var all []*rules.AlertingRule
	for _, g := range groups {
		for _, r := range g.Rules() {
			alert, ok := r.(*rules.AlertingRule)
			if !ok {
				t.Fatalf("%s is no alert", r.Name())
			}
			all = append(all, alert)
		}
	}
	return all
}

// firing evaluates a rule once a minute for half an hour, and tells after how many minutes it fired; -1: never.
func firing(t *testing.T, rule *rules.AlertingRule, series string) int {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n  "+strings.ReplaceAll(series, "\n", "\n  "))
	defer func() { _ = storage.Close() }()
	query := rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 5*time.Minute, 1_000_000), storage)
	for minute := range 31 {
		if _, err := rule.Eval(context.Background(), 0, time.Unix(0, 0).Add(time.Duration(minute)*time.Minute), query, &url.URL{}, 0); err != nil {
			t.Fatal(err)
		}
		for _, a := range rule.ActiveAlerts() {
			if a.State == rules.StateFiring {
				for _, text := range []string{"summary", "description"} {
					if said := a.Annotations.Get(text); said == "" || strings.Contains(said, "<error") || strings.Contains(said, "<no value>") {
						t.Errorf("%s: %q", text, said)
					}
				}
				return minute
			}
		}
	}
	return -1
}

func TestEachAlertFiresForItsFaultAndForNothingElse(t *testing.T) {
	cases := scenarios()
	for _, rule := range load(t) {
		c, ok := cases[rule.Name()]
		if !ok {
			t.Errorf("%s is not tried", rule.Name())
			continue
		}
		delete(cases, rule.Name())
		t.Run(rule.Name(), func(t *testing.T) {
			if at := firing(t, rule, c.well); at >= 0 {
				t.Errorf("it fires after %d minutes though all is well", at)
			}
		})
	}
	// A rule remembers: faults are tried on fresh ones.
	for _, rule := range load(t) {
		at := firing(t, rule, scenarios()[rule.Name()].fault)
		if at < 0 {
			t.Errorf("%s does not fire", rule.Name())
		}
		t.Logf("%s fires %d minutes after the first scrape of its series", rule.Name(), at)
	}
	for name := range cases {
		t.Errorf("%s is tried and not there", name)
	}
}

var metricName = regexp.MustCompile(`\b(fairlead_[a-z_]+)\b`)

// undocumented lists metrics of an expression that docs/metrics.md does not have.
func undocumented(t *testing.T, expression string) (list []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metricName.FindAllString(expression, -1) {
		base := name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if short, cut := strings.CutSuffix(name, suffix); cut && strings.Contains(string(page), "| `"+short+"` | histogram |") {
				base = short
			}
		}
		if !strings.Contains(string(page), "| `"+base+"` |") {
			list = append(list, name)
		}
	}
	return list
}

func TestEachAlertHasARunbookAndAsksForMetricsThatAreThere(t *testing.T) {
	for _, rule := range load(t) {
		page, err := os.ReadFile(filepath.Join("../../docs/runbooks", rule.Name()+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, part := range []string{"# " + rule.Name() + "\n", "## What it means", "## Look", "## Do"} {
			if !strings.Contains(string(page), part) {
				t.Errorf("runbook of %s has no %q", rule.Name(), part)
			}
		}
		if url := rule.Annotations().Get("runbook_url"); !strings.HasSuffix(url, "/docs/runbooks/"+rule.Name()+".md") {
			t.Errorf("%s: runbook_url %q", rule.Name(), url)
		}
		if left := undocumented(t, rule.Query().String()); len(left) > 0 {
			t.Errorf("%s asks for %v", rule.Name(), left)
		}
	}
}
