package memory

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// mapped is an area as smaps has it; only the lines that matter, and one that does not.
func mapped(first string, anonymous, swapped int) string {
	return fmt.Sprintf("%s\nSize:               1128 kB\nShared_Dirty:          0 kB\nPrivate_Dirty:         %d kB\nAnonymous:             %d kB\nSwap:                  %d kB\nVmFlags: rd ex mr mw me\n",
		first, anonymous, anonymous, swapped)
}

func TestOnlyWhatIsConstantOfTheProgramItselfIsGivenBack(t *testing.T) {
	const program = "/usr/bin/fairlead agent"
	sample := mapped("00400000-01dcc000 r-xp 00000000 fe:00 11356003                           "+program, 0, 0) +
		mapped("01dcc000-03c74000 r--p 019cc000 fe:00 11356003                           "+program, 0, 0) +
		// What the dynamic linker has written, and what it had and was swapped out since.
		mapped("03c74000-03c75000 r--p 03874000 fe:00 11356003                           "+program, 4, 0) +
		mapped("03c75000-03c76000 r--p 03875000 fe:00 11356003                           "+program, 0, 4) +
		mapped("03c76000-03d8e000 rw-p 03876000 fe:00 11356003                           "+program, 0, 0) +
		mapped("03d8e000-05dcc000 rw-p 00000000 00:00 0", 0, 0) +
		mapped("7ff9a4000000-7ff9a4021000 r--p 00000000 fe:00 325835                     /usr/lib/libc.so.6", 0, 0) +
		mapped("7ffa0b36e000-7ffa0b370000 r-xp 00000000 00:00 0                          [vdso]", 0, 0) +
		// A kernel that does not say enough.
		"05000000-05001000 r--p 03875000 fe:00 11356003                           " + program + "\nSize: 4 kB\nPrivate_Dirty: 0 kB\n"
	areas, err := constant(strings.NewReader(sample), program)
	if want := []area{{0x400000, 0x19cc000}, {0x1dcc000, 0x1ea8000}}; err != nil || !reflect.DeepEqual(areas, want) {
		t.Errorf("%x %v", areas, err)
	}
	for _, bad := range []string{"x-2 r-xp 0 0 0 f", "2-1 r-xp 0 0 0 f", "1-y r--p 0 0 0 f"} {
		if areas, err := constant(strings.NewReader(bad), "f"); err == nil {
			t.Errorf("%q: %v", bad, areas)
		}
	}
}

// resident is how much of files is in memory, in KiB.
func resident(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "RssFile:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestPagesThatAreGivenBackComeAgainWhenTheyAreNeeded(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/maps") // warms what reading and formatting need
	if err != nil || len(maps) == 0 {
		t.Fatal(err)
	}
	before := resident(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	Keep(ended, slog.New(slog.DiscardHandler))
	after := resident(t)
	if after >= before {
		t.Errorf("%d KiB of files are resident, %d were", after, before)
	}
}

// A program that is linked dynamically has pages that look constant and are not the file's.
func TestAProgramThatIsLinkedDynamicallyGoesOn(t *testing.T) {
	const program = `package main

import (
	"fmt"
	"net"
	"os/user"
)

// #include <stdlib.h>
import "C"

func main() {
	fmt.Println(C.abs(-1))
	_, _ = net.LookupHost("localhost")
	_, _ = user.Current()
}
`
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
	dir := t.TempDir()
	source, err := os.ReadFile("release_linux.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"go.mod": "module x\n\ngo 1.26\n", "main.go": strings.Replace(program, "func main() {", "func main() {\n\tfor range 3 {\n\t\tif err := release(); err != nil {\n\t\t\tpanic(err)\n\t\t}\n\t}", 1),
		"release.go": strings.Replace(string(source), "package memory", "package main", 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "run", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=1", "GOWORK=off", "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Errorf("%v: %s", err, out)
	}
}
