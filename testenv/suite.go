package testenv

import (
	"context"
	"strings"
	"testing"
)

// UpForTest brings an environment up for one test, and down with it, however the test's process ends. If the test fails,
// the ends of the logs are shown. The test is skipped where the machine lacks a part.
func UpForTest(t testing.TB, options Options) *Env {
	t.Helper()
	if options.Dir == "" {
		options.Dir = t.TempDir()
	}
	options.DiesWithParent = true
	if options.Progress == nil {
		options.Progress = testLog{t}
	}
	env, err := Up(t.Context(), options)
	SkipMissing(t, "an environment", err)
	t.Cleanup(func() {
		if t.Failed() {
			env.showLogs(t)
		}
		if err := env.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return env
}

// showLogs shows the ends of the logs of what the project itself wrote, and of Clouddriver's.
func (e *Env) showLogs(t testing.TB) {
	t.Helper()
	var logs []string
	for _, bridge := range e.Bridges {
		logs = append(logs, bridge.Log)
	}
	for _, agent := range e.Agents {
		logs = append(logs, agent.Log)
	}
	for _, clouddriver := range e.Clouddrivers {
		logs = append(logs, clouddriver.Log)
	}
	for _, log := range logs {
		t.Logf("end of %s:\n%s", log, tailOf(log))
	}
}

// testLog writes to a test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(text []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(text), "\n"))
	return len(text), nil
}
