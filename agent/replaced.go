package agent

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// replaced adds the seven metrics of the replaced product's agent under their names (prometheus.replacedNames), made of ours, so that dashboards that
// people have go on. Types are as there: what counts up is a counter, but for kubesvc_connection_count, which is a level.
type replaced struct{ ours prometheus.Gatherer }

// oldName is a metric of the replaced product.
type oldName struct {
	name, help string
	of         string
	kind       dto.MetricType
	// labelName is the one label that it has, "" if it has none; label words it.
	labelName string
	label     func(*dto.Metric) string
	// keep tells whether a series counts; nil: all do.
	keep func(*dto.Metric) bool
}

func value(label string) func(*dto.Metric) string {
	return func(m *dto.Metric) string {
		for _, l := range m.GetLabel() {
			if l.GetName() == label {
				return l.GetValue()
			}
		}
		return ""
	}
}

func oldNames() []oldName {
	kind, state := value("kind"), value("state")
	counter, gauge := dto.MetricType_COUNTER, dto.MetricType_GAUGE
	return []oldName{
		{name: "kubesvc_connection_count", help: "Connections to a bridge.", of: "fairlead_agent_connected", kind: gauge},
		{name: "kubesvc_disconnection_total", help: "Sessions that ended.", of: "fairlead_agent_disconnections_total", kind: counter},
		{name: "kubesvc_events_sent_total", help: "Rows that were sent, by kind.", of: "fairlead_agent_rows_sent_total", kind: counter, labelName: "event_kind", label: kind},
		{name: "kubesvc_events_bytes_sent_total", help: "Bytes of rows that were sent, by API group.", of: "fairlead_agent_row_bytes_sent_total", kind: counter,
			labelName: "event_group", label: func(m *dto.Metric) string { return groupOf(kind(m)) }},
		{name: "kubesvc_resource_agent_total", help: "Kinds that are watched.", of: "fairlead_agent_watches", kind: gauge},
		{name: "kubesvc_kubernetes_requests", help: "Requests to API servers.", of: "fairlead_agent_kubernetes_requests_total", kind: counter},
		{name: "kubesvc_watches", help: "Watches that are live.", of: "fairlead_agent_watches", kind: gauge, keep: func(m *dto.Metric) bool { return state(m) == "live" }},
	}
}

// groups are the API groups of kinds whose table types do not name them.
var groups = map[string]string{
	"deployment": "apps", "replicaSet": "apps", "statefulSet": "apps", "daemonSet": "apps", "job": "batch", "cronJob": "batch",
	"ingress": "networking.k8s.io", "networkPolicy": "networking.k8s.io", "horizontalpodautoscaler": "autoscaling", "podDisruptionBudget": "policy",
}

func groupOf(kind string) string {
	if _, group, custom := strings.Cut(kind, "."); custom {
		return group
	}
	return groups[kind]
}

// Gather implements prometheus.Gatherer.
func (r replaced) Gather() ([]*dto.MetricFamily, error) {
	families, err := r.ours.Gather()
	byName := map[string]*dto.MetricFamily{}
	for _, f := range families {
		byName[f.GetName()] = f
	}
	for _, old := range oldNames() {
		families = append(families, rename(old, byName[old.of]))
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return families, err
}

// rename sums series of ours into those of an old name.
func rename(old oldName, ours *dto.MetricFamily) *dto.MetricFamily {
	sums := map[string]float64{}
	if old.label == nil {
		sums[""] = 0
	}
	for _, m := range ours.GetMetric() {
		if old.keep != nil && !old.keep(m) {
			continue
		}
		at := ""
		if old.label != nil {
			at = old.label(m)
		}
		sums[at] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	f := &dto.MetricFamily{Name: proto.String(old.name), Help: proto.String(old.help), Type: old.kind.Enum()}
	for _, at := range slices.Sorted(maps.Keys(sums)) {
		m := &dto.Metric{}
		if old.label != nil {
			m.Label = []*dto.LabelPair{{Name: proto.String(old.labelName), Value: proto.String(at)}}
		}
		if old.kind == dto.MetricType_COUNTER {
			m.Counter = &dto.Counter{Value: proto.Float64(sums[at])}
		} else {
			m.Gauge = &dto.Gauge{Value: proto.Float64(sums[at])}
		}
		f.Metric = append(f.Metric, m)
	}
	return f
}
