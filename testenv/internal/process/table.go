package process

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// MarkVariable is the environment variable by which a table's processes are known.
const MarkVariable = "FAIRLEAD_TESTENV_MARK"

// Spec says how to start a process; it is kept, so that Restart can do the same again.
type Spec struct {
	// Name is unique within the table ("agent-1").
	Name string   `json:"name"`
	Args []string `json:"args"`
	// Dir is the working directory.
	Dir string `json:"dir"`
	// Env is the environment; PATH and HOME (Dir) are added. Nothing is inherited, so that no credential of whoever starts
	// an environment leaks into it. It is written to the table: no secrets.
	Env []string `json:"env,omitempty"`
	// Health is where the process tells that it is ready; the table only keeps it.
	Health string `json:"health,omitempty"`
	// Log receives standard output and error, appended.
	Log string `json:"log"`
	// User and Group are set when another user than the caller's is wanted; only root can.
	User  *uint32 `json:"user,omitempty"`
	Group *uint32 `json:"group,omitempty"`
	// DiesWithParent ends the process when the program that started it ends, however that happens. The kernel binds this
	// to the starting thread; Go ends a thread only with a goroutine that is locked to it.
	DiesWithParent bool `json:"-"`
}

// Process is a started process as the table remembers it.
type Process struct {
	Spec
	PID int `json:"pid"`
	// Started is the kernel's start time in clock ticks since Boot.
	Started uint64 `json:"started"`
	// Boot is the id of the machine's boot.
	Boot string `json:"boot"`

	mark string
}

// Table is a directory that remembers processes.
type Table struct {
	dir, mark string
}

// OpenTable uses dir, which it makes if necessary.
func OpenTable(dir string) (*Table, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "mark")
	mark, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		random := make([]byte, 12)
		if _, err := rand.Read(random); err != nil {
			return nil, err
		}
		mark = []byte(hex.EncodeToString(random))
		err = writeWhole(path, mark)
	}
	if err != nil {
		return nil, err
	}
	if len(mark) == 0 {
		return nil, fmt.Errorf("%s is empty: remove the directory", path)
	}
	return &Table{dir: dir, mark: string(mark)}, nil
}

// Start starts what spec says and remembers it under its name.
func (t *Table) Start(spec Spec) (*Process, error) {
	if old, err := t.Get(spec.Name); err == nil && old.Alive() {
		return nil, fmt.Errorf("%s is running already (process %d)", spec.Name, old.PID)
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()

	attributes := &syscall.SysProcAttr{Setpgid: true}
	if spec.DiesWithParent {
		// SIGTERM, not SIGKILL: a control plane has children of its own to end, MySQL a data directory to close.
		attributes.Pdeathsig = syscall.SIGTERM
	}
	if spec.User != nil && spec.Group != nil {
		attributes.Credential = &syscall.Credential{Uid: *spec.User, Gid: *spec.Group}
	}
	child, err := os.StartProcess(spec.Args[0], spec.Args, &os.ProcAttr{
		Dir:   spec.Dir,
		Env:   append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + spec.Dir, "LANG=C.UTF-8", MarkVariable + "=" + t.mark}, spec.Env...),
		Files: []*os.File{null, log, log},
		Sys:   attributes,
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{Spec: spec, PID: child.Pid, Boot: bootID(), mark: t.mark}
	if stat, err := readStat(child.Pid); err == nil {
		p.Started = stat.started
	}
	content, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = writeWhole(t.path(spec.Name), content)
	}
	if err != nil {
		_ = child.Kill()
		return nil, fmt.Errorf("remember %s: %w", spec.Name, err)
	}
	return p, nil
}

// Get tells of the process with that name, alive or not.
func (t *Table) Get(name string) (*Process, error) {
	content, err := os.ReadFile(t.path(name))
	if err != nil {
		return nil, err
	}
	p := &Process{mark: t.mark}
	if err := json.Unmarshal(content, p); err != nil {
		return nil, fmt.Errorf("%s: %w", t.path(name), err)
	}
	return p, nil
}

// List tells of all processes that were started and not forgotten, by name.
func (t *Table) List() ([]*Process, error) {
	files, err := filepath.Glob(filepath.Join(t.dir, "*.json"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	var all []*Process
	for _, file := range files {
		p, err := t.Get(strings.TrimSuffix(filepath.Base(file), ".json"))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Forget drops the memory of a process.
func (t *Table) Forget(name string) error { return os.Remove(t.path(name)) }

func (t *Table) path(name string) string { return filepath.Join(t.dir, name+".json") }

// writeWhole writes a file that readers see either not at all or complete.
func writeWhole(path string, content []byte) error {
	part := path + ".part"
	if err := os.WriteFile(part, content, 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}
