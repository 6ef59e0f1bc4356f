package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for what /proc shows.
const ticksPerSecond = 100

// used is the processor time of a process.
func used(pid int) (time.Duration, error) { return ticks(pid, 13) }

// usedByChildren is the processor time of a process's children that have ended: the kubectl processes of a Clouddriver.
func usedByChildren(pid int) (time.Duration, error) { return ticks(pid, 15) }

// ticks sums a user and a system field of /proc/PID/stat, counted from 0.
func ticks(pid, field int) (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may hold blanks.
	_, rest, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	var user, system int64
	if _, err := fmt.Sscan(fields[field-2], &user); err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(fields[field-1], &system); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * time.Second / ticksPerSecond, nil
}
