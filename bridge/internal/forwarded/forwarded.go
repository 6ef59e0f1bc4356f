// Package forwarded holds the latest metrics of agents that nobody can scrape, as their sessions sent them, and shows them to Prometheus with a label
// that names the agent.
//
// What agents say is not believed: only their own metrics are taken, of each agent so many series, with short labels; of a name the first type
// that was seen holds; times are the bridge's. What does not fit is left out and counted. An agent's metrics go with its session.
package forwarded

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
)

// Bounds of what one agent may have.
const (
	MaximumBytes  = 128 << 10
	maximumSeries = 500
	maximumLabel  = 128
	maximumHelp   = 512
	// maximumAgents is how many agents' metrics a bridge holds.
	maximumAgents = 5000
)

// own are the metrics that agents may have beside fairlead_agent_*.
var own = []string{"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds", "go_goroutines"}

// Store holds the metrics. Its methods may be called from any goroutine.
type Store struct {
	refused prometheus.Counter

	mu sync.Mutex
	// sessions by their ids.
	sessions map[string]agent
	// types and helps by name, as they were first seen.
	types map[string]dto.MetricType
	helps map[string]string
}

type agent struct {
	name     string
	families []*dto.MetricFamily
}

// New makes a store; r, if not nil, gets its own metric.
func New(r prometheus.Registerer) *Store {
	s := &Store{sessions: map[string]agent{}, types: map[string]dto.MetricType{}, helps: map[string]string{},
		refused: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "bridge", Name: "forwarded_metrics_refused_total",
			Help: "Metrics that agents sent and that were not taken: too many, too large, not theirs, or not to be read."})}
	if r != nil {
		r.MustRegister(s.refused)
	}
	return s
}

// Put replaces the metrics of a session's agent. It returns why something of it was left out.
func (s *Store) Put(session, name string, text []byte) error {
	if len(text) > MaximumBytes {
		s.refused.Inc()
		return fmt.Errorf("%d bytes of metrics; at most %d are taken", len(text), MaximumBytes)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		s.refused.Inc()
		return fmt.Errorf("metrics cannot be read: %w", err)
	}
	families := make([]*dto.MetricFamily, 0, len(parsed))
	for _, f := range parsed {
		families = append(families, f)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.sessions[session]; !known && len(s.sessions) >= maximumAgents {
		s.refused.Inc()
		return fmt.Errorf("metrics of %d agents are held already", maximumAgents)
	}
	kept, left, series := make([]*dto.MetricFamily, 0, len(families)), 0, 0
	for _, f := range families {
		if !s.takes(f) || series+count(f) > maximumSeries {
			left++
			continue
		}
		series += count(f)
		kept = append(kept, f)
	}
	s.sessions[session] = agent{name: clean(name), families: kept}
	if left > 0 {
		s.refused.Add(float64(left))
		return fmt.Errorf("%d of %d metrics were not taken", left, len(families))
	}
	return nil
}

// count is how many series a family has for Prometheus.
func count(f *dto.MetricFamily) (n int) {
	for _, m := range f.GetMetric() {
		n++
		if h := m.GetHistogram(); h != nil {
			n += len(h.GetBucket()) + 1
		}
	}
	return n
}

// takes checks a family and makes it harmless. The lock is held.
func (s *Store) takes(f *dto.MetricFamily) bool {
	name := f.GetName()
	if !strings.HasPrefix(name, "fairlead_agent_") && !slices.Contains(own, name) || len(name) > maximumLabel {
		return false
	}
	if t := f.GetType(); t != dto.MetricType_COUNTER && t != dto.MetricType_GAUGE && t != dto.MetricType_HISTOGRAM {
		return false
	}
	if first, known := s.types[name]; known && first != f.GetType() {
		return false
	}
	seen := map[string]bool{}
	for _, m := range f.GetMetric() {
		m.TimestampMs = nil
		var key strings.Builder
		for _, l := range m.GetLabel() {
			// "agent" is the bridge's word, and would stand twice.
			if l.GetName() == agentLabel || len(l.GetValue()) > maximumLabel || !utf8.ValidString(l.GetValue()) {
				return false
			}
			fmt.Fprintf(&key, "%q=%q,", l.GetName(), l.GetValue())
		}
		if seen[key.String()] || len(m.GetLabel()) > 4 {
			return false
		}
		seen[key.String()] = true
	}
	if _, known := s.types[name]; !known {
		if len(s.types) >= maximumSeries {
			return false
		}
		help := strings.ToValidUTF8(f.GetHelp(), "")
		s.types[name], s.helps[name] = f.GetType(), help[:min(len(help), maximumHelp)]
	}
	return true
}

const agentLabel = "agent"

func clean(name string) string {
	name = strings.ToValidUTF8(name, "")
	if len(name) > maximumLabel {
		name = strings.ToValidUTF8(name[:maximumLabel], "")
	}
	return name
}

// Drop forgets a session.
func (s *Store) Drop(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session)
}

// Agents is how many agents' metrics there are.
func (s *Store) Agents() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Gather implements prometheus.Gatherer. Of two agents of one name only one is shown.
func (s *Store) Gather() ([]*dto.MetricFamily, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*dto.MetricFamily{}
	shown := map[string]bool{}
	ids := make([]string, 0, len(s.sessions))
	for id := range s.sessions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		a := s.sessions[id]
		if shown[a.name] {
			continue
		}
		shown[a.name] = true
		for _, f := range a.families {
			merged := all[f.GetName()]
			if merged == nil {
				t := s.types[f.GetName()]
				merged = &dto.MetricFamily{Name: f.Name, Help: proto.String(s.helps[f.GetName()]), Type: &t}
				all[f.GetName()] = merged
			}
			for _, m := range f.GetMetric() {
				labelled := &dto.Metric{Counter: m.GetCounter(), Gauge: m.GetGauge(), Histogram: m.GetHistogram()}
				labelled.Label = append([]*dto.LabelPair{{Name: proto.String(agentLabel), Value: proto.String(a.name)}}, m.GetLabel()...)
				slices.SortFunc(labelled.Label, func(x, y *dto.LabelPair) int { return cmp.Compare(x.GetName(), y.GetName()) })
				merged.Metric = append(merged.Metric, labelled)
			}
		}
	}
	list := make([]*dto.MetricFamily, 0, len(all))
	for _, f := range all {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return list, nil
}
