package execute

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// logs reads "POD" or "KIND/NAME" and kubectl's flags.
func logs(target string, flags ...string) step {
	o := &linkv1.Logs{Name: target}
	if kind, name, is := strings.Cut(target, "/"); is {
		o.Kind, o.Name = kind, name
	}
	for _, f := range flags {
		name, value, _ := strings.Cut(f, "=")
		var number int64
		_, _ = fmt.Sscan(value, &number)
		switch name {
		case "-c":
			o.Container = value
		case "--all-containers":
			o.AllContainers = true
		case "--previous":
			o.Previous = true
		case "--timestamps":
			o.Timestamps = true
		case "--tail":
			o.TailLines = &number
		case "--since":
			o.SinceSeconds = number
		case "--limit-bytes":
			o.LimitBytes = number
		case "--since-time":
			o.SinceTime = value
		}
	}
	return step{plain: true, arguments: append([]string{"logs", target}, flags...), op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_Logs{Logs: &linkv1.Logs{
			Kind: o.Kind, Namespace: ns, Name: o.Name, Container: o.Container, AllContainers: o.AllContainers, Previous: o.Previous, Timestamps: o.Timestamps,
			TailLines: o.TailLines, SinceSeconds: o.SinceSeconds, SinceTime: o.SinceTime, LimitBytes: o.LimitBytes,
		}}}
	}}
}

func topOf(pod, labels string, flags ...string) step {
	arguments := []string{"top", "po"}
	if pod != "" {
		arguments = append(arguments, pod)
	}
	if labels != "" {
		arguments = append(arguments, "-l="+labels)
	}
	containers := len(flags) > 0
	return step{plain: true, arguments: append(arguments, flags...), op: func(ns string) *linkv1.Operation {
		return &linkv1.Operation{Operation: &linkv1.Operation_Top{Top: &linkv1.Top{Namespace: ns, Pod: pod, LabelSelector: labels, Containers: containers}}}
	}}
}

// podOn is a pod that runs on a node.
func podOn(node, name, annotations string, containers ...string) string {
	all := ""
	for _, c := range containers {
		all += fmt.Sprintf(`,{"name":%q,"image":"i"}`, c)
	}
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"annotations":{%s}},"spec":{"nodeName":%q,"initContainers":[],"containers":[%s]}}`, name, annotations, node, all[1:])
}

func jobOn(node, name string, pods int) string {
	return fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":%q},"spec":{"parallelism":%d,"template":{"spec":{"restartPolicy":"Never","nodeName":%q,
"containers":[{"name":"main","image":"i"},{"name":"side","image":"i"}]}}}}`, name, pods, node)
}

func hasPods(count int) func(*world, string) bool {
	return func(w *world, ns string) bool {
		return strings.Count(w.kubectl(ns, "", "get", "pod", "-l=job-name", "-o=name").stdout, "\n") == count
	}
}

func TestLogsAreThoseOfKubectl(t *testing.T) {
	w := newWorld(t)
	node := w.node()
	chosen := `"kubectl.kubernetes.io/default-container":`
	several := jobOn(node, "job", 2)
	for i, s := range []step{
		create(podOn(node, "one", "", "main"), ""), create(podOn(node, "two", "", "main", "silent", "side"), ""), create(podOn(node, "bad", "", "broken", "waiting"), ""),
		create(podOn(node, "chosen", chosen+`"side"`, "main", "side"), ""), create(podOn(node, "wrong", chosen+`"absent"`, "main", "side"), ""), create(pod("unscheduled"), ""),
		logs("one", "-c=main"), logs("one"), logs("pod/one"), logs("po/one", "-c=main"), logs("two", "-c=side"), logs("two", "-c=silent"), logs("two"), logs("chosen"), logs("wrong"),
		logs("one", "-c=absent"), logs("two", "-c=absent"), logs("missing"), logs("missing", "-c=main"), logs("one", "--all-containers"), logs("bad", "-c=broken"), logs("bad", "-c=waiting"),
		logs("one", "--tail=5"), logs("one", "--tail=0"), logs("one", "--since=90s"), logs("one", "--previous"), logs("one", "--timestamps"), logs("one", "--limit-bytes=7"), logs("one", "--since-time=2026-01-02T03:04:05Z"),
		logs("unscheduled"), create(several, ""), {plain: true, until: hasPods(2), arguments: logs("job/job", "-c=main").arguments, op: logs("job/job", "-c=main").op},
		logs("job/job"), logs("Job.batch/job", "-c=side"), logs("job/job", "-c=absent"), logs("job/missing", "-c=main"), logs("nonsense/x"), create(configMap, ""), logs("cm/cm"), logs("deployment/missing"),
	} {
		w.compare(fmt.Sprintf("%d: %s", i+1, strings.Join(s.arguments, " ")), s)
	}
	// kubectl takes the containers in any order.
	out := w.run(logs("two", "--all-containers").op(w.ours))
	if want := "main was asked for \"\"\nünïcode \x1b[31mred\x1b[0m\n<no> & line end" + "side was asked for \"\"\nünïcode \x1b[31mred\x1b[0m\n<no> & line end"; out.stdout != want || out.exit != 0 {
		t.Errorf("%q, %s", out.stdout, out.stderr)
	}
}

// slowReader is a caller that takes its time, and looks at the memory.
type slowReader struct {
	bytes, writes, largest int
	peak                   uint64
}

func (s *slowReader) Write(p []byte) (int, error) {
	s.bytes += len(p)
	s.largest = max(s.largest, len(p))
	if s.writes++; s.writes%200 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s.peak = max(s.peak, m.HeapInuse)
		time.Sleep(time.Millisecond)
	}
	return len(p), nil
}

func TestAHundredMegabytesOfLogsDoNotRaiseMemory(t *testing.T) {
	w := newWorld(t)
	w.must(w.ours, podOn(w.node(), "one", "", "big"), "create", "-f", "-")
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	reader := &slowReader{}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if o := w.executor.Run(ctx, logs("one", "-c=big").op(w.ours), reader); len(o.GetFailures()) > 0 || o.GetState() != linkv1.Outcome_STATE_DONE {
		t.Fatal(o)
	}
	if reader.bytes != bigLog || reader.largest > logsBuffer {
		t.Errorf("%d bytes, the largest piece %d", reader.bytes, reader.largest)
	}
	grown := int64(reader.peak) - int64(before.HeapInuse) //nolint:gosec // bytes of memory
	t.Logf("memory grew by %d kB", grown>>10)
	if grown > 24<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
}

func TestLogsEndWithTheOperation(t *testing.T) {
	w := newWorld(t)
	w.must(w.ours, podOn(w.node(), "one", "", "endless"), "create", "-f", "-")
	ctx, cancel := context.WithCancelCause(t.Context())
	began := make(chan struct{})
	done := make(chan *linkv1.Outcome)
	go func() { done <- w.executor.Run(ctx, logs("one", "-c=endless").op(w.ours), &signalling{began: began}) }()
	<-began
	cancel(errors.New("the caller went away"))
	select {
	case o := <-done:
		if o.GetState() != linkv1.Outcome_STATE_CANCELLED || o.GetReason() != "the caller went away" {
			t.Error(o)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the log goes on")
	}
}

func TestWaitingForAPodOfAWorkloadEndsWithTheOperation(t *testing.T) {
	w := newWorld(t)
	w.must(w.ours, deployment("empty", "i", 0, ""), "create", "-f", "-")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	o := w.executor.Run(ctx, logs("deployment/empty").op(w.ours), &slowReader{})
	if took := time.Since(began); o.GetState() != linkv1.Outcome_STATE_CANCELLED || took > 5*time.Second {
		t.Errorf("after %s: %v", took, o)
	}
}

type signalling struct{ began chan struct{} }

func (s *signalling) Write(p []byte) (int, error) {
	if s.began != nil {
		close(s.began)
		s.began = nil
	}
	return len(p), nil
}

func TestTopPrintsTheTableOfKubectl(t *testing.T) {
	w := newWorld(t)
	absent := []step{topOf("", "", "--containers"), topOf("web-1", "", "--containers")}
	for _, s := range absent {
		w.compare("without a metrics API "+strings.Join(s.arguments, " "), s)
	}
	w.metricsAPI(w.stock, w.ours)
	for i, s := range []step{
		topOf("", "", "--containers"), topOf("web-1", "", "--containers"), topOf("", ""), topOf("web-1", ""), topOf("missing", "", "--containers"), topOf("", "a=b", "--containers"),
		create(pod("fresh"), ""), topOf("", "app=pods", "--containers"), topOf("", "a b", "--containers"), topOf("missing", ""),
	} {
		w.compare(fmt.Sprintf("%d: %s", i+1, strings.Join(s.arguments, " ")), s)
	}
}
