package memory

import (
	"context"
	"log/slog"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

const sample = `00400000-01dcc000 r-xp 00000000 fe:00 11356003                           /usr/bin/fairlead agent
01dcc000-03c74000 r--p 019cc000 fe:00 11356003                           /usr/bin/fairlead agent
03c74000-03d8e000 rw-p 03874000 fe:00 11356003                           /usr/bin/fairlead agent
03d8e000-05dcc000 rw-p 00000000 00:00 0
7ff9a4000000-7ff9a4021000 r--p 00000000 fe:00 325835                     /usr/lib/libc.so.6
7ffa0b36e000-7ffa0b370000 r-xp 00000000 00:00 0                          [vdso]
`

func TestOnlyWhatIsConstantOfTheProgramItselfIsGivenBack(t *testing.T) {
	areas, err := constant(strings.NewReader(sample), "/usr/bin/fairlead agent")
	if want := []area{{0x400000, 0x19cc000}, {0x1dcc000, 0x1ea8000}}; err != nil || !reflect.DeepEqual(areas, want) {
		t.Errorf("%x %v", areas, err)
	}
	for _, bad := range []string{"x-2 r-xp 0 0 0 f", "2-1 r-xp 0 0 0 f", "1 r--p 0 0 0 f", "1-y r--p 0 0 0 f"} {
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
	if _, err := constant(strings.NewReader(sample), "/usr/bin/fairlead agent"); err != nil {
		t.Error(err)
	}
}
