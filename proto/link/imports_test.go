package link

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// allowed is everything that this package may import: no network, no locks, no clock, no context.
var allowed = map[string]bool{
	"crypto/sha256": true, "encoding/binary": true, "errors": true, "fmt": true, "math/rand/v2": true, "sort": true, "strconv": true, "time": true,
	"google.golang.org/protobuf/proto":                        true,
	"github.com/fairlead/fairlead/proto/gen/fairlead/link/v1": true,
}

// clocks of package time that would make the machines depend on when they run.
var clocks = map[string]bool{"Now": true, "Since": true, "Until": true, "After": true, "AfterFunc": true, "Sleep": true, "Tick": true, "NewTimer": true, "NewTicker": true}

func TestThePackageIsPure(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); !allowed[path] {
				t.Errorf("%s imports %s", file.Name(), path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", set.Position(n.Pos()))
			case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s uses a channel", set.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && (x.Name == "time" && clocks[n.Sel.Name] || x.Name == "rand" && n.Sel.Name != "Rand") {
					t.Errorf("%s uses %s.%s: time and randomness are arguments", set.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}
