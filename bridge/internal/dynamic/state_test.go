package dynamic

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEveryStateHasARuleForEveryEvent finds gaps in the table.
func TestEveryStateHasARuleForEveryEvent(t *testing.T) {
	for _, state := range States() {
		for _, kind := range Kinds() {
			if _, there := table[state][kind]; !there {
				t.Errorf("%s × %s: no rule", state, kind)
			}
		}
	}
	if len(table) != len(States()) {
		t.Errorf("the table has %d states, %d are listed", len(table), len(States()))
	}
}

// TestTheTableIsDocumentedAsItIs compares it with docs/dynamic-accounts.md.
func TestTheTableIsDocumentedAsItIs(t *testing.T) {
	var b strings.Builder
	b.WriteString("| |")
	for _, kind := range Kinds() {
		fmt.Fprintf(&b, " %s |", kind)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(Kinds())) + "\n")
	for _, state := range States() {
		fmt.Fprintf(&b, "| **%s** |", state)
		for _, kind := range Kinds() {
			switch m := table[state][kind]; {
			case m.refuse != "":
				b.WriteString(" refused |")
			case m.to == "":
				b.WriteString(" |")
			case m.to == state:
				b.WriteString(" stays |")
			default:
				fmt.Fprintf(&b, " %s |", m.to)
			}
		}
		b.WriteString("\n")
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "dynamic-accounts.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), b.String()) {
		t.Errorf("docs/dynamic-accounts.md does not show the table as it is:\n%s", b.String())
	}
}

// TestEveryAccountCanBeDeletedFromEveryState walks from each state to the end without an agent.
func TestEveryAccountCanBeDeletedFromEveryState(t *testing.T) {
	for _, state := range States() {
		a := Account{Name: "a", State: state, Revision: 1}
		var r Result
		for _, kind := range []Kind{Delete, Due, LeaveFailed, Due, Due, Left} {
			var err error
			if r, err = Step(a, Event{Kind: kind, Reason: "the database is away"}); err != nil {
				t.Fatalf("%s, %s: %v", state, kind, err)
			}
			a = r.Account
		}
		if !r.Gone {
			t.Errorf("%s: is %s in the end", state, a.State)
		}
	}
}

// TestScripts runs testdata: each line is an event and what the account is after it.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := Account{Name: "prod", State: Inactive, Revision: 1}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		step, want, found := strings.Cut(line, "->")
		if !found {
			t.Fatalf("line %d: no ->", n)
		}
		e := event(t, strings.TrimSpace(step), a)
		r, err := Step(a, e)
		got := ""
		switch {
		case errors.Is(err, ErrNotNow):
			got = "refused"
		case err != nil:
			t.Fatal(err)
		default:
			a = r.Account
			got = outcome(r)
		}
		if want = strings.TrimSpace(want); got != want {
			t.Fatalf("line %d: %s\n got %s\nwant %s", n, line, got, want)
		}
	}
}

// event reads "chosen zone a", "served agent-1", "refused by one: why", "refused former: why", "due".
func event(t *testing.T, text string, a Account) Event {
	t.Helper()
	for _, kind := range Kinds() {
		rest, is := strings.CutPrefix(text, string(kind))
		if !is || rest != "" && rest[0] != ' ' {
			continue
		}
		rest = strings.TrimSpace(rest)
		e := Event{Kind: kind, Revision: a.Revision}
		if former, is := strings.CutPrefix(rest, "former "); is {
			e.Revision, rest = a.Revision-1, former
		}
		switch kind {
		case Chosen:
			e.Place = rest
		case Served:
			e.Agent = rest
		default:
			e.Reason = rest
		}
		return e
	}
	t.Fatalf("%q is no event", text)
	return Event{}
}

func outcome(r Result) string {
	if !r.Changed {
		return "nothing"
	}
	if r.Gone {
		return "gone"
	}
	text := string(r.Account.State)
	if r.Account.Revision > 1 {
		text += fmt.Sprintf(" revision %d", r.Account.Revision)
	}
	if r.Account.Place != "" {
		text += " at " + r.Account.Place
	}
	switch {
	case r.Due == 0:
		text += ", at once"
	case r.Due > 0:
		text += ", " + r.Due.Round(time.Second).String()
	}
	if r.Account.Reason != "" {
		text += " (" + r.Account.Reason + ")"
	}
	return text
}
