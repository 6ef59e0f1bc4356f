package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesAsPeopleHaveThem reads testdata/corpus: files shaped like those of installs of the replaced product and of ours, each with what becomes of
// it (-update writes that anew). DIR stands for the directory, in which kubeconfigs and a token lie.
func TestFilesAsPeopleHaveThem(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yml")
		if strings.HasSuffix(name, "-local") {
			continue
		}
		cases++
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t)
			if name == "no-identity" {
				delete(e.variables, "FAIRLEAD_TOKEN")
			}
			for _, made := range []string{"prod.kubeconfig", "dev.kubeconfig"} {
				e.write(made, "")
			}
			e.write("token", "flt_token-in-a-file\n")
			for _, suffix := range []string{"", "-local"} {
				if content, err := os.ReadFile(filepath.Join("testdata", "corpus", name+suffix+".yml")); err == nil {
					e.write("agent"+suffix+".yml", strings.ReplaceAll(string(content), "DIR", e.root))
				}
			}
			c, err := Load(Options{File: filepath.Join(e.root, "agent.yml"), Getenv: e.getenv})
			got := strings.ReplaceAll(outcome(c, err), e.root, "DIR")
			if strings.Contains(got, "flt_token") || strings.Contains(got, "hunter2") {
				t.Error("a secret is shown")
			}
			golden := filepath.Join("testdata", "corpus", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil { //nolint:gosec // test data
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != string(want) {
				t.Errorf("%v\ngot\n%s\nwant\n%s", err, got, want)
			}
		})
	}
	if cases < 20 {
		t.Errorf("only %d files", cases)
	}
}

func outcome(c *Config, err error) string {
	var b strings.Builder
	if err != nil {
		for _, e := range unjoin(err) {
			fmt.Fprintf(&b, "error   %v\n", e)
		}
		return b.String()
	}
	fmt.Fprintf(&b, "bridge  %s plaintext=%v\n", c.Clouddriver.Address, c.Clouddriver.Insecure)
	for _, a := range c.Accounts {
		from := a.KubeconfigFile
		switch {
		case a.ServiceAccount:
			from = "serviceAccount"
		case a.KubeconfigSecret != nil:
			from = a.KubeconfigSecret.String()
		}
		fmt.Fprintf(&b, "account %s from %s", a.Name, from)
		if len(a.Permissions) > 0 {
			fmt.Fprintf(&b, " permissions=%v", a.Permissions)
		}
		b.WriteString("\n")
	}
	for _, n := range c.Notes {
		word := "note   "
		if n.Warning {
			word = "warning"
		}
		fmt.Fprintf(&b, "%s %s\n", word, n)
	}
	for _, r := range c.Refused {
		for _, e := range unjoin(r.Err) {
			fmt.Fprintf(&b, "refused %s: %v\n", r.Name, e)
		}
	}
	return b.String()
}
