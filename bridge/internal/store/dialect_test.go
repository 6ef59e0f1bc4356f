package store_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// differing is what MySQL and MariaDB do not understand alike, or one of them not at all.
var differing = regexp.MustCompile(`(?i)\bAS\s+new\b|\bRETURNING\b|\bINVISIBLE\b|\bSEQUENCE\b|\bNEXTVAL\b|->>?|\bJSON_\w+\(|\bFOR\s+SHARE\b|\bSKIP\s+LOCKED\b|` +
	`\bNOWAIT\b|\bVALUES\s+ROW\b|\bINTERSECT\b|\bEXCEPT\b|\bMD5\(|\bPASSWORD\(|@@tx_|@@transaction_|\bLATERAL\b|\bOR\s+REPLACE\b|\butf8mb4_0900|\bIF\s+(NOT\s+)?EXISTS\s+\w+\s+(ADD|DROP)`)

// What is run on both servers shows that the statements mean the same; this says it without a server.
func TestStatementsAvoidWhatMySQLAndMariaDBDoNotShare(t *testing.T) {
	seen := 0
	check := func(where, text string) {
		if !regexp.MustCompile(`(?i)\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP)\b`).MatchString(text) {
			return
		}
		seen++
		if found := differing.FindString(text); found != "" {
			t.Errorf("%s: %q is not the same on MySQL and MariaDB:\n%s", where, found, text)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				check(set.Position(literal.Pos()).String(), text)
			}
			return true
		})
	}
	migrations, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range migrations {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check(file, string(content))
	}
	if seen < 30 || len(migrations) == 0 {
		t.Errorf("only %d statements were looked at", seen)
	}
	if differing.FindString("INSERT INTO t VALUES (1) AS new ON DUPLICATE KEY UPDATE a = new.a") == "" {
		t.Error("the check finds nothing")
	}
}
