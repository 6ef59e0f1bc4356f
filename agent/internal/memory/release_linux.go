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
	maps, err := os.ReadFile("/proc/self/maps")
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

// constant finds what is mapped of a file and cannot be written, in the form of proc(5)'s maps.
func constant(maps io.Reader, file string) (areas []area, err error) {
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// 00400000-01dcc000 r-xp 00000000 fe:00 11356003    /usr/bin/fairlead-agent
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || strings.Join(fields[5:], " ") != file || len(fields[1]) < 4 || fields[1][0] != 'r' || fields[1][1] != '-' {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("maps: %q: %w", lines.Text(), err)
		}
		end, err := strconv.ParseUint(to, 16, 64)
		if err != nil || end <= start {
			return nil, fmt.Errorf("maps: %q is no area", lines.Text())
		}
		areas = append(areas, area{uintptr(start), uintptr(end - start)})
	}
	return areas, lines.Err()
}
