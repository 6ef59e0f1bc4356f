package install

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv"
)

// measured is one main job.
type measured struct {
	path, version, mode string
	deployed, shown     time.Duration
}

// row is its row of the guide's table, without the times.
func (m measured) row() string { return fmt.Sprintf("| %s | %s | %s |", m.path, m.version, m.mode) }

type measurements []measured

const (
	testedFile  = "../../docs/install.md"
	testedHead  = "| install path | Clouddriver | mode | deploy | shown after |\n|---|---|---|---|---|\n"
	testedBegin = "<!-- tested: written by go test -update -->\n"
	testedEnd   = "<!-- end of tested -->\n"
)

// check shows what was measured. What ran stands in the guide's table; -update writes it there.
func (ms measurements) check(t *testing.T) {
	t.Helper()
	var said strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&said, "%-36s %-7s %-18s deploy %4d ms, shown %4d ms later\n", m.path, m.version, m.mode, m.deployed.Milliseconds(), m.shown.Milliseconds())
	}
	t.Logf("times:\n%s", &said)
	before, rows, after := tested(t)
	for _, m := range ms {
		i := slices.IndexFunc(rows, func(r string) bool { return strings.HasPrefix(r, m.row()) })
		line := fmt.Sprintf("%s %d ms | %d ms |", m.row(), m.deployed.Milliseconds(), m.shown.Milliseconds())
		switch {
		case !*update && i < 0:
			t.Errorf("%s has no row %q: go test -update writes it", testedFile, m.row())
		case *update && i < 0:
			rows = append(rows, line)
		case *update:
			rows[i] = line
		}
	}
	if *update {
		slices.Sort(rows)
		must(t, os.WriteFile(testedFile, []byte(before+testedBegin+testedHead+strings.Join(rows, "\n")+"\n"+testedEnd+after), 0o644))
	}
}

// tested is the guide around its table, and the table's rows.
func tested(t *testing.T) (before string, rows []string, after string) {
	t.Helper()
	before, table, found := strings.Cut(read(t, testedFile), testedBegin)
	table, after, ended := strings.Cut(table, testedEnd)
	if !found || !ended {
		t.Fatalf("%s has no table between %q and %q", testedFile, testedBegin, testedEnd)
	}
	table, ours := strings.CutPrefix(table, testedHead)
	if !ours {
		t.Fatalf("the table of %s begins with other columns than %q", testedFile, testedHead)
	}
	return before, strings.FieldsFunc(table, func(r rune) bool { return r == '\n' }), after
}

// TestGuideSaysWhatWasTested compares the table with the install paths, modes and versions that there are.
func TestGuideSaysWhatWasTested(t *testing.T) {
	wanted := map[string]bool{}
	for _, version := range testenv.Versions() {
		for _, mode := range modes {
			for _, path := range append(slices.Clone(spinnakerPaths), ownBridges) {
				wanted[measured{path: path.name, version: version, mode: mode}.row()] = true
			}
		}
	}
	_, rows, _ := tested(t)
	for _, row := range rows {
		cells := strings.SplitN(row, "|", 5)
		if len(cells) < 5 {
			t.Errorf("row %q", row)
			continue
		}
		delete(wanted, strings.Join(cells[:4], "|")+"|")
	}
	for row := range wanted {
		t.Errorf("%s has no row %q: go test -every -update runs it and writes it", testedFile, row)
	}
}
