package story

import (
	"fmt"
	"os"
)

// Memory is a process's resident memory, for people.
func Memory(pid int) string {
	var total, resident int
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return "gone"
	}
	if _, err = fmt.Sscan(string(content), &total, &resident); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d MiB", resident*os.Getpagesize()>>20)
}
