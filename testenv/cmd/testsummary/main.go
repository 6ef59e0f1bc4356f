// Command testsummary makes one story of several test runs and knows which tests may be skipped.
//
//	go test -json … | testsummary read REPORT          prints what go test would have, failures whole; adds to REPORT
//	testsummary surefire REPORT DIR                    adds the Java tests whose reports lie in DIR
//	testsummary finish REPORT ALLOWED                  prints the skips and the totals
//
// read ends with 1 if a test failed. finish ends with 1 if a test failed, if none ran, or, where CI is set, if one was
// skipped for a reason that ALLOWED does not list: each of its lines is the beginning of a reason ("needs docker").
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
}

func run(arguments []string, in io.Reader, out io.Writer) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "read":
		return read(in, out, arguments[1])
	case len(arguments) == 3 && arguments[0] == "surefire":
		return surefire(out, arguments[1], arguments[2])
	case len(arguments) == 3 && arguments[0] == "finish":
		return finish(out, arguments[1], arguments[2], os.Getenv("CI") != "")
	}
	return errors.New("usage: testsummary read REPORT | surefire REPORT DIR | finish REPORT ALLOWED")
}

// result is a line of a report.
type result struct {
	Name    string
	Outcome string // pass, fail or skip
	Reason  string `json:",omitempty"`
	Count   int
}

// report appends results to a file.
func report(path string, results []result) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, r := range results {
		line, err := json.Marshal(r)
		if err == nil {
			_, err = file.Write(append(line, '\n'))
		}
		if err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return file.Close()
}

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// read follows one go test.
func read(in io.Reader, out io.Writer, path string) error {
	lines := bufio.NewReader(in)
	output := map[string]*strings.Builder{} // of each test that has not ended
	var results []result
	failed := false
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				_, _ = out.Write(line) // go's own words, not a test's
			} else if r := follow(e, output, out); r != nil {
				failed = failed || r.Outcome == "fail"
				results = append(results, *r)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := report(path, results); err != nil {
		return err
	}
	if failed {
		return errors.New("there were failures")
	}
	return nil
}

// follow handles one event; it returns the result of a test that has ended.
func follow(e event, output map[string]*strings.Builder, out io.Writer) *result {
	name := e.Package + " " + e.Test
	if e.Test == "" {
		switch {
		case e.Action == "build-output":
			_, _ = io.WriteString(out, e.Output)
		case e.Action == "output" && !strings.HasPrefix(e.Output, "PASS") && !strings.HasPrefix(e.Output, "?"):
			_, _ = io.WriteString(out, e.Output)
		case e.Action == "fail":
			// A package that does not compile, or whose process ended early, has no failed test.
			return &result{Name: e.Package, Outcome: "fail", Count: 0}
		}
		return nil
	}
	switch e.Action {
	case "output":
		if output[name] == nil {
			output[name] = &strings.Builder{}
		}
		output[name].WriteString(e.Output)
		return nil
	case "pass", "fail", "skip":
	default:
		return nil
	}
	text := ""
	if output[name] != nil {
		text = output[name].String()
		delete(output, name)
	}
	r := &result{Name: name, Outcome: e.Action, Count: 1}
	switch e.Action {
	case "fail":
		_, _ = io.WriteString(out, text)
	case "skip":
		r.Reason = reason(text)
	}
	return r
}

var skipLine = regexp.MustCompile(`^\s+[^\s:]+\.go:\d+: (.*)$`)

// reason is what t.Skip was given.
func reason(output string) string {
	last := "no reason given"
	for _, line := range strings.Split(output, "\n") {
		if match := skipLine.FindStringSubmatch(line); match != nil {
			last = match[1]
		}
	}
	return last
}

var surefireLine = regexp.MustCompile(`Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)`)

// surefire adds Java tests.
func surefire(out io.Writer, path, directory string) error {
	files, err := filepath.Glob(filepath.Join(directory, "*.txt"))
	if err != nil {
		return err
	}
	var results []result
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		match := surefireLine.FindStringSubmatch(string(content))
		if match == nil {
			continue
		}
		var counts [4]int
		for i := range counts {
			if counts[i], err = strconv.Atoi(match[i+1]); err != nil {
				return err
			}
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		bad, skipped := counts[1]+counts[2], counts[3]
		for _, r := range []result{
			{Name: name, Outcome: "pass", Count: counts[0] - bad - skipped}, {Name: name, Outcome: "fail", Count: bad},
			{Name: name, Outcome: "skip", Reason: "skipped in Java", Count: skipped},
		} {
			if r.Count > 0 {
				results = append(results, r)
			}
		}
		_, _ = fmt.Fprintf(out, "%s: %s\n", name, match[0])
	}
	return report(path, results)
}

// finish sums up.
func finish(out io.Writer, path, allowedPath string, strict bool) error {
	allowed, err := readAllowed(allowedPath)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	var failures []string
	unlisted := 0
	for _, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		counts[r.Outcome] += r.Count
		switch r.Outcome {
		case "fail":
			failures = append(failures, r.Name)
		case "skip":
			note := ""
			if !allowed(r.Reason) {
				unlisted++
				note = " (not among the allowed skips)"
			}
			_, _ = fmt.Fprintf(out, "skipped%s: %s: %s\n", note, r.Name, r.Reason)
		}
	}
	for _, name := range failures {
		_, _ = fmt.Fprintf(out, "failed: %s\n", name)
	}
	failed := counts["fail"]
	if failed == 0 {
		failed = len(failures)
	}
	_, _ = fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", counts["pass"], failed, counts["skip"])
	switch {
	case failed > 0:
		return fmt.Errorf("%d tests failed", failed)
	case counts["pass"] == 0:
		return errors.New("no test ran")
	case unlisted > 0 && strict:
		return fmt.Errorf("%d tests were skipped for reasons that %s does not list", unlisted, allowedPath)
	}
	return nil
}

// readAllowed reads the beginnings of reasons for which a test may be skipped.
func readAllowed(path string) (func(reason string) bool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var beginnings []string
	for _, line := range strings.Split(string(content), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			beginnings = append(beginnings, line)
		}
	}
	return func(reason string) bool {
		for _, beginning := range beginnings {
			if strings.HasPrefix(reason, beginning) {
				return true
			}
		}
		return false
	}, nil
}
