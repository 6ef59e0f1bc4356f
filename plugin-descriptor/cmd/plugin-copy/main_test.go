package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPluginReplacesTheOneOfAnEarlierVersionAndLeavesOthersAlone(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for file, content := range map[string]string{
		filepath.Join(from, "fairlead-clouddriver-plugin.jar"): "new", filepath.Join(to, "fairlead-clouddriver-plugin-0.0.9.jar"): "old",
		filepath.Join(to, "fairlead-clouddriver-plugin.jar"): "old", filepath.Join(to, "other.jar"): "other",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyPlugin(io.Discard, from, to); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 2 {
		t.Fatal(entries, err)
	}
	for name, want := range map[string]string{"fairlead-clouddriver-plugin.jar": "new", "other.jar": "other"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(to, "fairlead-clouddriver-plugin.jar")); err != nil || info.Mode().Perm() != 0o644 {
		t.Error(info.Mode(), err)
	}
}

func TestPluginThatCannotBeCopiedSaysWhatToMount(t *testing.T) {
	from := t.TempDir()
	if err := copyPlugin(io.Discard, from, t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds 0 jars") {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(from, "a.jar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyPlugin(io.Discard, from, filepath.Join(from, "nowhere")); err == nil || !strings.Contains(err.Error(), "mount the volume there") {
		t.Error(err)
	}
}
