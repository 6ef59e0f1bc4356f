package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv"
)

// asProgram makes the test binary the program itself.
const asProgram = "TESTENV_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(os.Args[0], arguments...)
	command.Env = append(os.Environ(), asProgram+"=1")
	return command
}

// processesOf lists the command lines of processes that have dir in theirs.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil && bytes.Contains(content, []byte(dir)) && !strings.Contains(file, "/self/") {
			found = append(found, strings.ReplaceAll(string(content), "\x00", " "))
		}
	}
	return found
}

// smallUp is the command line of an environment with database and cluster only.
func smallUp(dir string, more ...string) []string {
	return append([]string{"up", "--dir", dir, "--clouddriver", testenv.NoClouddriver, "--without-fairlead"}, more...)
}

// upAndSignal starts up in dir, sends the signal when line appears on its output, and returns its exit code.
func upAndSignal(t *testing.T, dir, line string, signal syscall.Signal, more ...string) int {
	t.Helper()
	needParts(t)
	t.Cleanup(func() { _ = testenv.Down(context.Background(), dir) })
	command := program(t, smallUp(dir, more...)...)
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(reader)
		found := false
		for lines.Scan() {
			t.Log(lines.Text())
			if !found && strings.Contains(lines.Text(), line) {
				found = true
				_ = command.Process.Signal(signal)
			}
		}
		seen <- found
	}()
	_ = command.Wait()
	_ = writer.Close()
	if !<-seen {
		t.Fatalf("%q never appeared", line)
	}
	return command.ProcessState.ExitCode()
}

// needParts skips the test where the machine lacks a part, and builds them before a test that measures time.
func needParts(t *testing.T) {
	t.Helper()
	testenv.MySQL(t)
	testenv.Kube(t)
}

func TestCtrlCWhileItStartsLeavesNothingBehind(t *testing.T) {
	for name, line := range map[string]string{"database": "mysql        makes", "cluster": "etcd, API server", "nodes": "cluster demo ready"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "env")
			if code := upAndSignal(t, dir, line, syscall.SIGINT); code != 130 {
				t.Errorf("exit code %d, want 130", code)
			}
			if left := processesOf(t, dir); len(left) > 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}

func TestCtrlCInTheForegroundEndsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "env")
	if code := upAndSignal(t, dir, "Ctrl-C ends it", syscall.SIGINT, "--foreground"); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if left := processesOf(t, dir); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if _, err := os.Stat(filepath.Join(dir, "env.json")); err == nil {
		t.Error("env.json is still there")
	}
}

func TestWhatRunsInTheForegroundDiesWithIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "env")
	upAndSignal(t, dir, "Ctrl-C ends it", syscall.SIGKILL, "--foreground")
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for len(processesOf(t, dir)) > 0 {
		if ctx.Err() != nil {
			t.Fatalf("left behind:\n%s", strings.Join(processesOf(t, dir), "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := testenv.Down(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

func TestAnEnvironmentRunsDetachedUntilDown(t *testing.T) {
	needParts(t)
	dir := filepath.Join(t.TempDir(), "env")
	do := func(want int, arguments ...string) string {
		t.Helper()
		command := program(t, arguments...)
		output, _ := command.CombinedOutput()
		if code := command.ProcessState.ExitCode(); code != want {
			t.Fatalf("%v: exit code %d, want %d:\n%s", arguments, code, want, output)
		}
		return string(output)
	}
	do(0, smallUp(dir)...)
	t.Cleanup(func() { _ = testenv.Down(context.Background(), dir) })
	if status := do(0, "status", "--dir", dir); strings.Count(status, "healthy") != 3 {
		t.Errorf("status:\n%s", status)
	}
	if again := do(1, smallUp(dir)...); !strings.Contains(again, "down") {
		t.Errorf("a second up: %s", again)
	}

	before, err := testenv.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	do(0, "restart", "--dir", dir, "mysql", "--kill")
	after, err := testenv.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if before.MySQL.PID == after.MySQL.PID || before.MySQL.DSN != after.MySQL.DSN {
		t.Errorf("before %v, after %v: want another process at the same place", before.MySQL, after.MySQL)
	}
	if text := do(1, "restart", "--dir", dir, "agent"); !strings.Contains(text, "has no agent") {
		t.Errorf("restart of an agent: %s", text)
	}

	if err := after.Stop(t.Context(), "mysql", 0, true); err != nil {
		t.Fatal(err)
	}
	if status := do(1, "status", "--dir", dir); !strings.Contains(status, "not healthy: mysql") {
		t.Errorf("status without a database:\n%s", status)
	}
	do(0, "down", "--dir", dir)
	if left := processesOf(t, dir); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	do(0, "down", "--dir", dir)
}
