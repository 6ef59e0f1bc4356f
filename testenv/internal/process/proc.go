package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// stat is the part of /proc/PID/stat that identifies a process.
type stat struct {
	state   byte
	started uint64 // clock ticks since boot
}

func readStat(pid int) (stat, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The second field is the program's name in parentheses and may itself hold spaces and parentheses.
	end := bytes.LastIndexByte(content, ')')
	fields := strings.Fields(string(content[end+1:]))
	const state, started = 0, 19 // fields 3 and 22 of proc(5)
	if end < 0 || len(fields) <= started {
		return stat{}, errors.New("unreadable /proc/PID/stat")
	}
	ticks, err := strconv.ParseUint(fields[started], 10, 64)
	return stat{state: fields[state][0], started: ticks}, err
}

func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// Alive tells whether it still runs: the very process that was started, not another one with its id.
func (p *Process) Alive() bool {
	if p.PID <= 0 || p.Boot != bootID() {
		return false
	}
	s, err := readStat(p.PID)
	if err != nil || s.started != p.Started {
		return false
	}
	if s.state == 'Z' || s.state == 'X' {
		// Ended; if it is our child, it waits for us.
		_, _ = syscall.Wait4(p.PID, nil, syscall.WNOHANG, nil)
		return false
	}
	return true
}

// marked lists the living processes that carry the mark, other than this one.
func (t *Table) marked() []*Process {
	entry := []byte(markVariable + "=" + t.mark)
	directories, _ := filepath.Glob("/proc/[0-9]*")
	var found []*Process
	for _, directory := range directories {
		pid, err := strconv.Atoi(filepath.Base(directory))
		if err != nil || pid == os.Getpid() {
			continue
		}
		s, err := readStat(pid)
		if err != nil || s.state == 'Z' || s.state == 'X' {
			continue
		}
		// Readable for processes of one's own user, and for root.
		environment, err := os.ReadFile(filepath.Join(directory, "environ"))
		if err != nil {
			continue
		}
		for _, variable := range bytes.Split(environment, []byte{0}) {
			if bytes.Equal(variable, entry) {
				found = append(found, &Process{PID: pid, Started: s.started, Boot: bootID(), mark: t.mark})
				break
			}
		}
	}
	return found
}
