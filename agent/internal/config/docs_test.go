package config

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/agent-configuration.md anew")

const head = `# Configuration of the agent

` + "`fairlead-agent --config FILE`" + `, or one of the places where the replaced product looked: ` + "`/opt/fairlead/config/fairlead-agent.yml`, `/opt/armory/config/armory-agent.yml`, `/opt/spinnaker/config/kubesvc.yml`" + `, each with
a ` + "`-local`" + ` file laid over it. ` + "`fairlead-agent config check`" + ` reads it and says what is wrong.

The keys are those of the replaced product, and our own additions in the same style. Each is *used*, *accepted* (one line in the log says why it does
nothing) or *refused* (with what to do instead). Any other key is refused with file, line and the nearest key that is known. What is wrong with one
account refuses that account and leaves the others working.

A minimal file:

    clouddriver:
      grpc: bridge.spinnaker.example.com:9091
      tls: {pin: "sha256:…"}                      # CA PIN of ` + "`fairlead status`" + `
      auth: {tokenFile: /opt/armory/token}        # made by ` + "`fairlead token create --accounts prod-eu`" + `
    kubernetes:
      accounts:
        - name: prod-eu
          serviceAccount: true

| key | value | what becomes of it |
|---|---|---|
`

func TestDocumentationListsEveryKeyAsItIs(t *testing.T) {
	var page strings.Builder
	page.WriteString(head)
	rows(&page, "", keys())
	file := filepath.Join("..", "..", "..", "docs", "agent-configuration.md")
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
		t.Error("docs/agent-configuration.md is not what the table of keys says; go test ./agent/internal/config -update")
	}
}

func rows(page *strings.Builder, path string, all map[string]key) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		k := all[name]
		full := path + name
		if len(k.keys) > 0 && k.note == "" {
			if k.shape == sections {
				full += "[]"
			}
			rows(page, full+".", k.keys)
			continue
		}
		fate := "used"
		switch {
		case k.refuse != "":
			fate = "refused: " + k.refuse
		case k.note != "":
			fate = "accepted; " + k.note
		}
		value := k.shape.String()
		if k.secret {
			value += ", or a secret reference"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s |\n", full, value, strings.ReplaceAll(fate, "|", "\\|"))
	}
}
