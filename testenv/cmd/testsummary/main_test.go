package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const events = `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestSkips","Output":"    a_test.go:7: needs docker: no dockerd\n"}
{"Action":"skip","Package":"p","Test":"TestSkips"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

const failing = `{"Action":"output","Package":"q","Test":"TestBad","Output":"    b_test.go:9: it is 2\n"}
{"Action":"fail","Package":"q","Test":"TestBad"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.1s\n"}
{"Action":"fail","Package":"q"}
{"ImportPath":"r","Action":"build-output","Output":"r.go:1: undefined: x\n"}
{"Action":"fail","Package":"r"}
not json
`

// tell runs the commands on one report and returns what they print.
func tell(t *testing.T, input, allowed string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	list := filepath.Join(dir, "allowed")
	if err := os.WriteFile(list, []byte("# comment\n\n"+allowed+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_ = run([]string{"read", filepath.Join(dir, "report")}, strings.NewReader(input), &out)
	err := run([]string{"finish", filepath.Join(dir, "report"), list}, nil, &out)
	return out.String(), err
}

func TestASkipThatIsNotListedFailsWhereCIRuns(t *testing.T) {
	t.Setenv("CI", "true")
	text, err := tell(t, events, "needs browser")
	if err == nil || !strings.Contains(text, "skipped (not among the allowed skips): p TestSkips: needs docker: no dockerd") {
		t.Errorf("%v:\n%s", err, text)
	}
	text, err = tell(t, events, "needs docker")
	if err != nil || !strings.HasSuffix(text, "1 passed, 0 failed, 1 skipped\n") {
		t.Errorf("%v:\n%s", err, text)
	}
	t.Setenv("CI", "")
	if text, err = tell(t, events, ""); err != nil {
		t.Errorf("on a developer's machine: %v:\n%s", err, text)
	}
}

func TestFailuresAreShownWholeAndCounted(t *testing.T) {
	text, err := tell(t, events+failing, "needs docker")
	if err == nil {
		t.Error("no error")
	}
	for _, want := range []string{"ok  \tp", "b_test.go:9: it is 2", "FAIL\tq", "undefined: x", "not json", "failed: q TestBad", "failed: r", "1 passed, 1 failed, 1 skipped"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "=== RUN   TestGood") {
		t.Errorf("a test that passed is shown:\n%s", text)
	}
}

func TestNothingRunIsAFailure(t *testing.T) {
	if _, err := tell(t, `{"Action":"start","Package":"p"}`+"\n", ""); err == nil {
		t.Error("no error")
	}
}

func TestJavaTestsCount(t *testing.T) {
	dir := t.TempDir()
	text := "Test set: io.fairlead.X\nTests run: 5, Failures: 1, Errors: 0, Skipped: 1, Time elapsed: 0.1 s\n"
	if err := os.WriteFile(filepath.Join(dir, "io.fairlead.X.txt"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report")
	var out bytes.Buffer
	if err := run([]string{"surefire", report, dir}, nil, &out); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "allowed")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"finish", report, list}, nil, &out); err == nil || !strings.Contains(out.String(), "3 passed, 1 failed, 1 skipped") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}
