package identity

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// joins takes what "fairlead agent join" prints apart as kubectl and kustomize would, and starts an agent with it.
func joins(p *place) {
	out, err := p.run(p.cli, "--bridge", p.env.Bridges[0].Admin, "--token-file", p.env.Bridges[0].AdminTokenFile, "agent", "join", "--account", "prod-eu")
	if err == nil || !strings.Contains(out, "--address: is not set") || !strings.Contains(out, "agents.advertise") {
		p.t.Errorf("without an address: %v, %s", err, out)
	}
	out, err = p.run(p.cli, "--bridge", p.env.Bridges[0].Admin, "--token-file", p.env.Bridges[0].AdminTokenFile,
		"agent", "join", "--account", "prod-eu", "--address", p.env.Bridges[0].Agents)
	must(p.t, err)
	for _, want := range []string{"helm upgrade --install", "--set token.secretName=fairlead-agent-token", "kubectl apply -k .", "fairlead token revoke"} {
		if !strings.Contains(out, want) {
			p.t.Errorf("%q is not in\n%s", want, out)
		}
	}
	// No argument of any command holds the token: every user of a machine can read arguments.
	token := regexp.MustCompile(`flt_[A-Za-z0-9_-]+`).FindString(out)
	inside := ""
	for line := range strings.Lines(out) {
		switch {
		case inside != "" && strings.HasPrefix(line, "EOF"):
			inside = ""
		case inside == "" && strings.Contains(line, token):
			p.t.Errorf("the token is an argument: %s", line)
		case strings.Contains(line, "<<'EOF'"):
			inside = line
		}
	}
	var secret struct {
		StringData struct{ Token string } `yaml:"stringData"`
	}
	document(p, out, "kind: Secret", &secret)
	var configuration struct{ Data map[string]string }
	document(p, out, "kind: ConfigMap", &configuration)
	config := map[string]any{}
	must(p.t, yaml.Unmarshal([]byte(configuration.Data["fairlead-agent.yml"]), &config))
	a := p.agentOf(p.env.Bridges[0].Agents, func(into map[string]any) {
		for name, value := range section(config, "clouddriver") {
			section(into, "clouddriver")[name] = value
		}
		// Where the Secret would be mounted.
		section(into, "clouddriver", "auth")["tokenFile"] = write(p.t, p.t.TempDir(), "token", []byte(secret.StringData.Token))
	}, "prod-eu")
	a.says("msg=attached account=prod-eu")
	asDocumented(p, out+a.said())
}

// asDocumented compares the transcript of a first join in docs/identity.md, line by line, with what the programs said here.
func asDocumented(p *place, said string) {
	p.t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "identity.md"))
	must(p.t, err)
	_, section, _ := strings.Cut(string(page), "## A first join\n")
	section, _, _ = strings.Cut(section, "\n## ")
	differs := strings.NewReplacer("…", `[A-Za-z0-9_-]+`, `bridges\.example\.com:9091`, `\S+`, `spin-clouddriver-7d9f`, `\S+`)
	id := regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	lines := 0
	for line := range strings.Lines(section) {
		line, is := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !is || line == "" || line == "…" || strings.HasPrefix(line, "$ ") {
			continue
		}
		lines++
		pattern := id.ReplaceAllString(differs.Replace(regexp.QuoteMeta(line)), "[0-9a-f]{12}")
		at := regexp.MustCompile(pattern).FindStringIndex(said)
		if at == nil {
			p.t.Fatalf("the documentation's line %q was not said, or not in this order; what was left:\n%s", line, said)
		}
		said = said[at[1]:]
	}
	if lines < 15 {
		p.t.Errorf("only %d lines in the documentation", lines)
	}
}

// document reads the YAML document of the output that holds a line.
func document(p *place, out, holds string, into any) {
	p.t.Helper()
	at := strings.LastIndex(out, holds)
	if at < 0 {
		p.t.Fatalf("no %q in\n%s", holds, out)
	}
	from := strings.LastIndex(out[:at], "apiVersion")
	text, _, _ := strings.Cut(out[from:], "\nEOF")
	text, _, _ = strings.Cut(text, "\n---")
	must(p.t, yaml.Unmarshal([]byte(text), into))
}
