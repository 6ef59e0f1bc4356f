package cache_test

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/bridge/internal/cache"
)

func TestDocumentationNamesEveryMetric(t *testing.T) {
	content, err := os.ReadFile("../../../docs/caching.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	cache.New(cache.Options{Metrics: metrics})
	families, err := metrics.Gather()
	if err != nil || len(families) < 10 {
		t.Fatal(len(families), err)
	}
	for _, f := range families {
		if !strings.Contains(string(content), "`"+f.GetName()+"`") {
			t.Errorf("docs/caching.md does not name %s: %s", f.GetName(), f.GetHelp())
		}
	}
}
