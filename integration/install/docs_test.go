package install

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// guides are the pages whose commands are run, each page from its first block to its last.
var guides = []string{"docs/install.md", "halyard/README.md", "operator/README.md"}

// commands are a page's blocks for a shell that are to be run; each other one says why it is not.
func commands(page, text string) (blocks []string, err error) {
	var line, mark string
	in, run := false, false
	var block strings.Builder
	for next := range strings.Lines(text) {
		line = strings.TrimRight(next, "\n")
		switch {
		case in && line == "```":
			if run {
				blocks = append(blocks, block.String())
			}
			in = false
		case in:
			block.WriteString(next)
		case line == "```sh":
			reason, isReason := strings.CutPrefix(mark, "<!-- not run: ")
			run = mark == "<!-- run -->"
			if !run && (!isReason || strings.TrimSuffix(reason, "-->") == "") {
				return nil, fmt.Errorf("%s: a block of commands after %q says neither <!-- run --> nor <!-- not run: why -->", page, mark)
			}
			in = true
			block.Reset()
		case strings.HasPrefix(line, "```"):
			return nil, fmt.Errorf("%s: a block %q: commands are \"sh\", other text is indented", page, line)
		}
		if strings.TrimSpace(line) != "" {
			mark = line
		}
	}
	return blocks, nil
}

func TestEachBlockOfCommandsIsRunOrSaysWhyNot(t *testing.T) {
	run, all := 0, 0
	for _, page := range guides {
		text := read(t, filepath.Join("../..", page))
		blocks, err := commands(page, text)
		must(t, err)
		run += len(blocks)
		all += strings.Count(text, "\n```sh\n")
	}
	if said := fmt.Sprintf("Of the %d blocks of commands of this page and of the two that it leads to, %d are run", all, run); !strings.Contains(strings.Join(strings.Fields(read(t, testedFile)), " "), said) {
		t.Errorf("%s does not say: %s", testedFile, said)
	}
	for _, text := range []string{"```sh\nrm -rf /\n```\n", "<!-- not run: -->\n```sh\na\n```\n", "<!-- run -->\n\nText.\n```sh\na\n```\n"} {
		if _, err := commands("page", text); err == nil {
			t.Errorf("accepted: %s", text)
		}
	}
}

// documentation runs the guides.
func (x *agentWorld) documentation(t *testing.T) {
	x.shell(t, "kubectl -n spinnaker delete secret fairlead-keys --ignore-not-found")
	for _, page := range guides {
		blocks, err := commands(page, read(t, filepath.Join("../..", page)))
		must(t, err)
		script := "export DATABASE_PASSWORD=secret BRIDGES=" + x.bridge.Agents + " ACCOUNT=onefile\n" + strings.Join(blocks, "\n")
		t.Logf("%s: %d blocks\n%s", page, len(blocks), x.shell(t, here(t, script)))
	}
	for _, wanted := range []string{"prod-us", "join-"} {
		if !strings.Contains(x.shell(t, "kubectl get deployment -A; kubectl -n fairlead get configmap -o yaml"), wanted) {
			t.Errorf("no trace of %s in the cluster", wanted)
		}
	}
	if names := accountNames(t, x.admin); strings.Contains(strings.Join(names, " "), "onefile") {
		t.Errorf("the account that the guide removes is there: %v", names)
	}
}
