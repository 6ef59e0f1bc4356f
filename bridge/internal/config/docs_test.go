package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/bridge-configuration.md anew")

func TestDocumentationListsEveryKeyAsItIs(t *testing.T) {
	var page strings.Builder
	page.WriteString("# Configuration of the bridge\n\n`fairlead-bridge --config fairlead-bridge.yml`; `fairlead-bridge config check` reads it and says what is wrong. " +
		"Every key may also be given as an environment variable, which wins over the file. Unknown keys are refused.\n\n| key | variable | default | |\n|---|---|---|---|\n")
	for _, k := range Keys() {
		value := k.Default
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&page, "| `%s` | `%s` | %s | %s |\n", k.Path, k.Environment(), value, strings.ReplaceAll(k.Doc, "|", "\\|"))
	}
	page.WriteString("\nFiles that hold secrets are readable by their owner alone; the key file must never be stored beside a dump of the database.\n")
	file := filepath.Join("..", "..", "..", "docs", "bridge-configuration.md")
	if *update {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page.String() {
		t.Error("docs/bridge-configuration.md is not what the table of keys says; go test ./bridge/internal/config -update")
	}
}
