package memory

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// area is a part of the address space.
type area struct{ start, length uintptr }

// release tells the kernel that the pages of code and constants are not needed now. They are clean copies of the file's, so that nothing
// can be lost: whoever touches one gets it again.
func release() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	areas, err := constant(bytes.NewReader(maps), program)
	if err != nil {
		return err
	}
	for _, a := range areas {
		if _, _, failed := syscall.Syscall(syscall.SYS_MADVISE, a.start, a.length, syscall.MADV_DONTNEED); failed != 0 {
			return fmt.Errorf("madvise: %w", failed)
		}
	}
	return nil
}

// constant finds what is mapped of a file, cannot be written and is as in the file, in proc(5)'s smaps. The last is no matter of course: the
// dynamic linker writes addresses into some pages before it makes them constant, and to give these back would lose them.
func constant(smaps io.Reader, file string) (areas []area, err error) {
	var candidate *area
	unchanged := map[string]bool{}
	done := func() {
		if candidate != nil && unchanged["Anonymous:"] && unchanged["Swap:"] {
			areas = append(areas, *candidate)
		}
		candidate = nil
		clear(unchanged)
	}
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 2 && strings.HasSuffix(fields[0], ":"):
			// Anonymous:             0 kB
			unchanged[fields[0]] = fields[1] == "0"
		case len(fields) >= 2 && strings.Contains(fields[0], "-"):
			done()
			// 00400000-01dcc000 r-xp 00000000 fe:00 11356003    /usr/bin/fairlead-agent
			if len(fields) < 6 || strings.Join(fields[5:], " ") != file || len(fields[1]) < 4 || fields[1][:2] != "r-" {
				continue
			}
			if candidate, err = parseArea(fields[0]); err != nil {
				return nil, err
			}
		}
	}
	done()
	return areas, lines.Err()
}

func parseArea(text string) (*area, error) {
	from, to, _ := strings.Cut(text, "-")
	start, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return nil, fmt.Errorf("smaps: area %q: %w", text, err)
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil || end <= start {
		return nil, fmt.Errorf("smaps: %q is no area", text)
	}
	return &area{uintptr(start), uintptr(end - start)}, nil
}
