// Package docs_test checks what the documentation claims.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// reference is a package and the name of a test in it, as docs/field-bugs.md writes them.
var reference = regexp.MustCompile("`([a-z][a-z0-9/-]*)` (?:`(\\w+)`|\"([^\"]+)\")")

func TestNamedTestsOfFieldBugsExist(t *testing.T) {
	content, err := os.ReadFile("field-bugs.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	named := 0
	for number, line := range strings.Split(string(content), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what went") || strings.HasPrefix(line, "| case ") {
			continue
		}
		found := reference.FindAllStringSubmatch(line, -1)
		if len(found) == 0 {
			t.Errorf("line %d names no test", number+1)
		}
		for _, f := range found {
			named++
			dir, name, sentence := filepath.Join("..", f[1]), f[2], f[3]
			if _, known := sources[dir]; !known {
				sources[dir] = testSources(t, dir)
			}
			if !exists(dir, sources[dir], name, sentence) {
				t.Errorf("line %d: %s has no test %q", number+1, f[1], name+sentence)
			}
		}
	}
	if named < 60 {
		t.Errorf("only %d names were found", named)
	}
}

func exists(dir, source, name, sentence string) bool {
	if sentence != "" {
		return strings.Contains(source, `"`+sentence+`"`)
	}
	if strings.Contains(source, "\nfunc "+name+"(") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "testdata", name+".txt"))
	return err == nil
}

func testSources(t *testing.T, dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s: no tests (%v)", dir, err)
	}
	var all strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}
