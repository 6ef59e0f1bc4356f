package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestTheProgramChecksItsConfigurationAndMakesKeys(t *testing.T) {
	dir := t.TempDir()
	key, file := filepath.Join(dir, "key"), filepath.Join(dir, "fairlead-bridge.yml")
	if _, err := execute(t, "key", "create", key); err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, "key", "create", key); err == nil || !strings.Contains(err.Error(), "stays as it is") {
		t.Errorf("made again: %v", err)
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("keyFile: " + key + "\ndatabase: {dsn: u@tcp(h)/d}\nplugin: {secretFile: s}\nadmin: {tokenFile: t}\n")
	if out, err := execute(t, "config", "check", "--config", file); err != nil || !strings.Contains(out, "is fine") {
		t.Errorf("%s, %v", out, err)
	}
	write("keyFiles: x\n")
	for _, args := range [][]string{{"config", "check", "--config", file}, {"--config", file}} {
		if _, err := execute(t, args...); err == nil || !strings.Contains(err.Error(), file+":1: keyFiles: no such key; did you mean keyFile?") {
			t.Errorf("%v: %v", args, err)
		}
	}
	if out, err := execute(t, "config", "keys"); err != nil || !strings.Contains(out, "FAIRLEAD_DATABASE_PASSWORD_FILE") {
		t.Errorf("%s, %v", out, err)
	}
}
