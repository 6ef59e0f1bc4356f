package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv"
)

// TestInterruptedRunLeavesNothing presses Ctrl-C while containers run.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	if *environment != "container" {
		t.Skip("is about containers; -env=container runs it")
	}
	if err := dockerMissing(t.Context()); err != nil {
		t.Skipf("needs Docker: %v", err)
	}
	run := fmt.Sprintf("interrupted.%d", os.Getpid())
	cmd := exec.CommandContext(t.Context(), "./run", "-env=container", "-run", "TestMainJobOnEachInstallPathInEachMode/Operator")
	cmd.Env = append(os.Environ(), "FAIRLEAD_RUN="+run)
	var output log
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err := testenv.Wait(within(t, 5*time.Minute), func(ctx context.Context) error {
		if len(ofRun(t, run)["containers"]) == 0 {
			return errors.New("no container runs yet")
		}
		return nil
	})
	must(t, cmd.Process.Signal(os.Interrupt))
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		must(t, cmd.Process.Kill())
		t.Errorf("the run does not end")
	}
	if err != nil {
		t.Fatalf("%v: %s", err, tail(output.String()))
	}
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130 as of a program that was interrupted: %s", code, tail(output.String()))
	}
	for what, left := range ofRun(t, run) {
		if len(left) > 0 {
			t.Errorf("%s are left: %v", what, left)
		}
	}
}

// ofRun is what there is of a run of the suite.
func ofRun(t *testing.T, run string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for what, command := range map[string][]string{
		"containers": {"ps", "-aq", "--filter", "label=fairlead.run=" + run},
		"networks":   {"network", "ls", "-q", "--filter", "label=fairlead.run=" + run},
		"images":     {"image", "ls", "-q", imagePrefix + "/*:" + run},
	} {
		out, err := exec.CommandContext(t.Context(), "docker", command...).Output()
		must(t, err)
		found[what] = strings.Fields(string(out))
	}
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	must(t, err)
	for _, file := range processes {
		if content, err := os.ReadFile(file); err == nil && strings.Contains(string(content), "FAIRLEAD_RUN="+run+"\x00") {
			found["processes"] = append(found["processes"], file)
		}
	}
	return found
}
