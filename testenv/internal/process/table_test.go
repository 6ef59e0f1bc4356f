package process

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperVariable makes the test binary a program that starts a process in the directory it names and stays.
const helperVariable = "PROCESS_TEST_HELPER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperVariable); dir != "" {
		helper(dir)
		return
	}
	os.Exit(m.Run())
}

func helper(dir string) {
	table, err := OpenTable(dir)
	if err != nil {
		panic(err)
	}
	p, err := table.Start(Spec{Name: "child", Args: []string{"/bin/sleep", "300"}, Dir: "/", Log: filepath.Join(dir, "log"), DiesWithParent: true})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.PID)
	time.Sleep(time.Minute)
}

func open(t *testing.T) (*Table, string) {
	t.Helper()
	dir := t.TempDir()
	table, err := OpenTable(filepath.Join(dir, "processes"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.End(context.Background(), time.Second); err != nil {
			t.Error(err)
		}
	})
	return table, dir
}

func start(t *testing.T, table *Table, dir, name string, arguments ...string) *Process {
	t.Helper()
	p, err := table.Start(Spec{Name: name, Args: arguments, Dir: dir, Log: filepath.Join(dir, "log"), Env: []string{"OWN=1"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestEndLeavesNoDescendantBehind(t *testing.T) {
	table, dir := open(t)
	// The grandchild leaves its group and session, and its parent ignores SIGTERM.
	p := start(t, table, dir, "tree", "/bin/sh", "-c", "trap '' TERM; setsid sleep 300 & sleep 300")
	eventually(t, "three processes run", func() bool { return len(table.marked()) >= 3 })
	if err := table.End(t.Context(), 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if left := table.marked(); len(left) > 0 {
		t.Errorf("%d processes are left", len(left))
	}
	if p.Alive() {
		t.Error("the process is alive")
	}
	if all, err := table.List(); err != nil || len(all) > 0 {
		t.Errorf("the table still remembers %d processes (%v)", len(all), err)
	}
}

func TestEndDoesNotTouchAProcessThatGotTheIdOfAnEndedOne(t *testing.T) {
	stranger := exec.Command("/bin/sleep", "300")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	table, dir := open(t)
	p := start(t, table, dir, "gone", "/bin/sleep", "300")
	path := filepath.Join(dir, "processes", "gone.json")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	taken := strings.Replace(string(content), strconv.Itoa(p.PID), strconv.Itoa(stranger.Process.Pid), 1)
	if err := os.WriteFile(path, []byte(taken), 0o600); err != nil {
		t.Fatal(err)
	}
	remembered, err := table.Get("gone")
	if err != nil || remembered.PID != stranger.Process.Pid {
		t.Fatalf("remembered %v (%v)", remembered, err)
	}
	if remembered.Alive() {
		t.Error("takes the stranger for the ended process")
	}
	if err := table.End(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the stranger was ended: %v", err)
	}
}

func TestTablesDoNotEndEachOthersProcesses(t *testing.T) {
	one, dirOne := open(t)
	two, dirTwo := open(t)
	start(t, one, dirOne, "same", "/bin/sleep", "300")
	other := start(t, two, dirTwo, "same", "/bin/sleep", "300")
	if err := one.End(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if !other.Alive() {
		t.Error("the other table's process was ended")
	}
}

func TestStopKillsWhatDoesNotEndByItself(t *testing.T) {
	table, dir := open(t)
	p := start(t, table, dir, "stubborn", "/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
	time.Sleep(100 * time.Millisecond) // for the trap
	began := time.Now()
	if err := p.Stop(t.Context(), 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if p.Alive() || time.Since(began) < 300*time.Millisecond {
		t.Errorf("alive %v after %s", p.Alive(), time.Since(began))
	}
}

func TestANameIsFreeAgainWhenItsProcessHasEnded(t *testing.T) {
	table, dir := open(t)
	p := start(t, table, dir, "one", "/bin/sleep", "300")
	if _, err := table.Start(p.Spec); err == nil {
		t.Error("started a second process of the same name")
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := table.Start(p.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if again.PID == p.PID || !again.Alive() {
		t.Errorf("process %d after %d", again.PID, p.PID)
	}
}

func TestProcessesInheritNothingFromTheEnvironment(t *testing.T) {
	t.Setenv("KUBECONFIG", "/somebody/elses")
	table, dir := open(t)
	p := start(t, table, dir, "env", "/bin/sh", "-c", "env; sleep 300")
	eventually(t, "the log has content", func() bool { content, _ := os.ReadFile(p.Log); return strings.Contains(string(content), "OWN=1") })
	content, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), "KUBECONFIG") || !strings.Contains(string(content), "HOME="+dir) {
		t.Errorf("environment:\n%s", content)
	}
}

func TestProcessesDieWithTheProgramThatStartedThem(t *testing.T) {
	dir := t.TempDir()
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), helperVariable+"="+dir)
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	table, err := OpenTable(dir)
	if err != nil {
		t.Fatal(err)
	}
	child, err := table.Get("child")
	if err != nil || strconv.Itoa(child.PID) != strings.TrimSpace(line) || !child.Alive() {
		t.Fatalf("child %v, printed %q: %v", child, line, err)
	}
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait()
	eventually(t, "the child has ended", func() bool { return !child.Alive() })
}
