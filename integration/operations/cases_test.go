package operations

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A step is one block of a case file:
//
//	== what it shows
//	[as limited]
//	kubectl --namespace=NAMESPACE apply -o json -f -
//	standard input to the end of the block
//
// NAMESPACE is the namespace of the side, CAPITAL the same with a capital letter, for kinds; TEXT(1000) is a text of 1000 characters. These names are kept:
//
//	given    run by a real kubectl on both sides, and must succeed
//	then     run by a real kubectl on both sides, and compared: what there is now
//	soon     as then, repeated until both agree: what controllers make of it
//	refusing as given, repeated until it fails
//	metrics  no command: from here on there is a metrics API
//	webhook  no command: from here on admission of ConfigMaps with the label hangs runs into its time limit, after a moment
//
// All are in the side's namespace by themselves. Lines in brackets before the command:
//
//	[as ACCOUNT]       the account, if not the one that may do everything
//	[masked FIELD…]    fields that are not compared
//	[unordered]        items of a list in any order, because their names are random
//	[ours TEXT]        a deliberate difference: our standard error has TEXT in it, or is empty if there is none
//	[instead TEXT]     done where kubectl fails, as docs/operations.md says: exit code 0 and TEXT in standard error
//	[refused TEXT]     what Clouddriver never asks for and is refused: exit code 1 and TEXT in standard error, whatever kubectl does
//
// Files of testdata/operations ask Clouddriver for a stock account and for an agent's. ACCOUNT is the account of the side, and the cases are
//
//	POST OPERATION     one operation of POST /kubernetes/ops, whose YAML follows; account, provider and application are added
//	GET PATH           a read
//
// with these lines in brackets beside masked and unordered:
//
//	[failed TEXT]      the task fails with TEXT in what it says (without it, it succeeds), or the read is answered with this status
//	[soon TEXT]        repeated until both answers agree and hold TEXT: what is read from the cache
type step struct {
	file, name string
	line       int
	account    string
	masked     []string
	unordered  bool
	ours       *string
	instead    string
	refused    string
	failed     *string
	soon       string
	program    string // kubectl, POST or GET
	arguments  []string
	stdin      string
}

// isCase tells whether the chain is asked, and not only kubectl.
func (s step) isCase() bool {
	return !slices.Contains([]string{"given", "then", "soon", "refusing", "metrics", "webhook"}, s.name)
}

func (s step) String() string { return fmt.Sprintf("%s:%d: %s", s.file, s.line, s.name) }

// readCases returns the steps of each file of a directory.
func readCases(t *testing.T, directory string) map[string][]step {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(directory, "*.txt"))
	must(t, err)
	files := map[string][]step{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		must(t, err)
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		if !regexp.MustCompile(`^[a-z]+$`).MatchString(name) {
			t.Fatalf("%s: only small letters, it becomes part of namespaces and kinds", path)
		}
		steps, err := parseCases(filepath.Base(path), string(content))
		must(t, err)
		files[name] = steps
	}
	return files
}

func parseCases(file, content string) ([]step, error) {
	var steps []step
	lines := strings.Split(strings.TrimRight(content, "\n"), "\n")
	for i := 0; i < len(lines); {
		name, begins := strings.CutPrefix(lines[i], "== ")
		if !begins {
			if lines[i] != "" && !strings.HasPrefix(lines[i], "#") {
				return nil, fmt.Errorf("%s:%d: want a comment, or a block's begin: %q", file, i+1, lines[i])
			}
			i++
			continue
		}
		end := i + 1
		for end < len(lines) && !strings.HasPrefix(lines[end], "== ") {
			end++
		}
		s := step{file: file, line: i + 1, name: name}
		if err := s.read(lines[i+1 : end]); err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		steps = append(steps, s)
		i = end
	}
	return steps, nil
}

func (s *step) read(lines []string) error {
	for len(lines) > 0 && strings.HasPrefix(lines[0], "[") {
		word, rest, _ := strings.Cut(strings.Trim(lines[0], "[]"), " ")
		switch word {
		case "as":
			s.account = rest
		case "masked":
			s.masked = strings.Fields(rest)
		case "unordered":
			s.unordered = true
		case "ours":
			s.ours = &rest
		case "instead":
			s.instead = rest
		case "refused":
			s.refused = rest
		case "failed":
			s.failed = &rest
		case "soon":
			s.soon = rest
		default:
			return fmt.Errorf("unknown %q", lines[0])
		}
		lines = lines[1:]
	}
	if s.name == "metrics" || s.name == "webhook" {
		return nil
	}
	if len(lines) == 0 {
		return fmt.Errorf("no command")
	}
	var err error
	if s.arguments, err = words(lines[0]); err != nil {
		return err
	}
	s.program, s.arguments = s.arguments[0], s.arguments[1:]
	if !slices.Contains([]string{"kubectl", "POST", "GET"}, s.program) || len(s.arguments) == 0 {
		return fmt.Errorf("no command: %q", lines[0])
	}
	lines = slices.DeleteFunc(lines[1:], func(line string) bool { return strings.HasPrefix(line, "#") })
	s.stdin = strings.TrimLeft(strings.TrimRight(strings.Join(lines, "\n"), "\n"), "\n")
	if s.stdin != "" {
		s.stdin += "\n"
	}
	return nil
}

// words splits a command line at spaces outside of single quotes.
func words(line string) ([]string, error) {
	var all []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 0 {
			for j, word := range strings.Split(part, " ") {
				if j == 0 && i > 0 && len(all) > 0 {
					all[len(all)-1] += word
				} else {
					all = append(all, word)
				}
			}
			continue
		}
		all[len(all)-1] += part
	}
	if strings.Count(line, "'")%2 != 0 {
		return nil, fmt.Errorf("a quote is not closed")
	}
	return slices.DeleteFunc(all, func(word string) bool { return word == "" }), nil
}

var longText = regexp.MustCompile(`TEXT\((\d+)\)`)

// forSide returns command line and standard input for one side.
func (s step) forSide(namespace string) (arguments []string, stdin string) {
	fill := func(text string) string {
		text = strings.ReplaceAll(text, "NAMESPACE", namespace)
		text = strings.ReplaceAll(text, "CAPITAL", capital(namespace))
		return longText.ReplaceAllStringFunc(text, func(found string) string {
			n, _ := strconv.Atoi(longText.FindStringSubmatch(found)[1])
			return strings.Repeat("long text ", n/10+1)[:n]
		})
	}
	for _, a := range s.arguments {
		arguments = append(arguments, fill(a))
	}
	return arguments, fill(s.stdin)
}
