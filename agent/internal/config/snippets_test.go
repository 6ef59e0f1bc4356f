package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSnippetsOfTheDocumentationAreRead loads every piece of configuration that the operators' pages show.
func TestSnippetsOfTheDocumentationAreRead(t *testing.T) {
	read := 0
	for _, page := range []string{"accounts.md", "credentials.md"} {
		content, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks(string(content)) {
			if !strings.HasPrefix(block, "kubernetes:") && !strings.HasPrefix(block, "secrets:") {
				continue
			}
			read++
			e := newEnvironment(t)
			e.write("opt/fairlead/kubeconfigs/prod-eu", "")
			c, err := e.load(strings.ReplaceAll(block, "/opt/fairlead", "ROOT/opt/fairlead"))
			if err != nil || len(c.Refused) > 0 || len(c.Accounts) == 0 || len(c.Notes) > 0 {
				t.Errorf("%s\n%s\n%v %+v", page, block, err, c)
			}
		}
	}
	if read < 7 {
		t.Errorf("only %d snippets", read)
	}
}

// blocks returns a page's indented blocks.
func blocks(page string) []string {
	var all []string
	var block strings.Builder
	for line := range strings.Lines(page + "\nend\n") {
		if code, is := strings.CutPrefix(line, "    "); is {
			block.WriteString(code)
			continue
		}
		if block.Len() > 0 {
			all = append(all, block.String())
			block.Reset()
		}
	}
	return all
}
