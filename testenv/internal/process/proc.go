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
	// Start times are counted in hundredths of a second: the mark tells apart what started within one.
	marked, err := hasMark(p.PID, p.mark)
	return marked || err != nil
}

// errNoEnvironment: a process in the middle of its exec has left the old environment and not got the new one yet.
var errNoEnvironment = errors.New("it has no environment yet")

// hasMark tells whether a process carries the mark in its environment, which only its user and root may read.
func hasMark(pid int, mark string) (bool, error) {
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false, err
	}
	if len(environment) == 0 {
		return false, errNoEnvironment
	}
	for _, variable := range bytes.Split(environment, []byte{0}) {
		if string(variable) == MarkVariable+"="+mark {
			return true, nil
		}
	}
	return false, nil
}

// marked lists the living processes that carry the mark, other than this one.
func (t *Table) marked() []*Process {
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
		if ours, err := hasMark(pid, t.mark); err == nil && ours {
			found = append(found, &Process{PID: pid, Started: s.started, Boot: bootID(), mark: t.mark})
		}
	}
	return found
}
