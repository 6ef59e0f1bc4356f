package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestManyAccountsAreFollowedByOneAgent has 2,000 accounts, each with a kubeconfig of its own, and adds one.
func TestManyAccountsAreFollowedByOneAgent(t *testing.T) {
	const many = 2000
	p := newPlace(t)
	var file strings.Builder
	file.WriteString("kubernetes:\n  accounts:\n")
	past := time.Now().Add(-time.Hour)
	for n := range many {
		name := fmt.Sprintf("account-%04d", n)
		p.kubeconfig(name, "https://"+name+".example.com", "token")
		if err := os.Chtimes(filepath.Join(p.dir, name), past, past); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&file, "  - {name: %s, kubeconfigFile: DIR/%s}\n", name, name)
	}
	p.write("armory-agent.yml", file.String())
	began := time.Now()
	p.start()
	t.Logf("%d accounts are served after %s", len(p.records()), time.Since(began).Round(time.Millisecond))
	before := p.records()
	if len(before) != many {
		t.Fatalf("%d accounts are served", len(before))
	}
	p.kubeconfig("one-more", "https://one-more.example.com", "token")
	p.write("armory-agent.yml", file.String()+"  - {name: one-more, kubeconfigFile: DIR/one-more}\n")
	began = time.Now()
	p.eventually("it is served", func() bool { return len(p.records()) == many+1 })
	t.Logf("one more is served after %s", time.Since(began).Round(time.Millisecond))
	for name, records := range before {
		if p.records()[name] != records {
			t.Fatalf("account %s was started anew", name)
		}
	}
}
