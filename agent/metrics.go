package agent

import (
	"bytes"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// watches shows the kinds of all accounts, summed: by account they would be too many.
type watches struct {
	fleet *fleet

	states, objects, relists, resumes *prometheus.Desc
}

func newWatches(f *fleet) *watches {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("fairlead_agent_"+name, help, labels, nil)
	}
	return &watches{fleet: f,
		states:  desc("watches", "Kinds of all accounts, by the state of their watch.", "state"),
		objects: desc("objects", "Objects of the last complete listings of all kinds of all accounts."),
		relists: desc("relisted_kinds", "How often the kinds that are watched now were listed again, summed."),
		resumes: desc("resumed_watches", "How often the watches that there are now went on where the one before ended, summed."),
	}
}

// watchStates are those of cluster.KindStatus.
var watchStates = []string{"listing", "live", "waiting", "forbidden", "gone", "unknown"}

// Describe implements prometheus.Collector.
func (w *watches) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{w.states, w.objects, w.relists, w.resumes} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (w *watches) Collect(out chan<- prometheus.Metric) {
	states, objects, relists, resumes := map[string]int{}, 0, 0, 0
	for _, a := range w.fleet.all() {
		if a.served == nil {
			continue
		}
		for _, k := range a.served.Cluster.Status().Kinds {
			states[k.State]++
			objects += k.Listed
			relists += k.Relists
			resumes += k.Resumes
		}
	}
	for _, state := range watchStates {
		out <- prometheus.MustNewConstMetric(w.states, prometheus.GaugeValue, float64(states[state]), state)
	}
	out <- prometheus.MustNewConstMetric(w.objects, prometheus.GaugeValue, float64(objects))
	out <- prometheus.MustNewConstMetric(w.relists, prometheus.GaugeValue, float64(relists))
	out <- prometheus.MustNewConstMetric(w.resumes, prometheus.GaugeValue, float64(resumes))
}

// text is what a bridge gets: all that the agent measures, without the runtime's own details.
func text(metrics prometheus.Gatherer) ([]byte, error) {
	families, err := metrics.Gather()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, f := range families {
		if !forwarded(f) {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// forwarded tells whether a bridge gets a family.
func forwarded(f *dto.MetricFamily) bool {
	switch name := f.GetName(); name {
	case "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds", "go_goroutines":
		return true
	default:
		return len(name) > len(prefix) && name[:len(prefix)] == prefix
	}
}

const prefix = "fairlead_agent_"
