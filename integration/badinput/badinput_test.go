// Package badinput gives the programs what they cannot use, and asserts that they say which field, which value and what to do, and that
// everything else goes on.
package badinput

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv"
)

// program builds one of the project's programs.
func program(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// output collects what a program says while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// ends runs a program that must end by itself with exit code 1, and returns what it said.
func ends(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, arguments...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("ended with %v, want exit code 1", err)
	}
	return string(out)
}

// says runs a program that goes on, until it has said all parts, then ends it.
func says(t *testing.T, parts []string, name string, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	said := &output{}
	command := exec.CommandContext(ctx, name, arguments...)
	command.Stdout, command.Stderr = said, said
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	err := testenv.Wait(ctx, func(context.Context) error { return missing(said.String(), parts) })
	cancel()
	_ = command.Wait() // it was told to end
	if err != nil {
		t.Errorf("%v\nit said:\n%s", err, said)
	}
}

func missing(text string, parts []string) error {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return errors.New("does not say " + part)
		}
	}
	return nil
}

func want(t *testing.T, text string, parts ...string) {
	t.Helper()
	if err := missing(text, parts); err != nil {
		t.Errorf("%v:\n%s", err, text)
	}
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
