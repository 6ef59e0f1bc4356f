package testenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/process"
)

// graceToEnd is how long a part may take to end on SIGTERM before it is killed. Clouddriver takes four seconds, twice that
// on a busy machine.
const graceToEnd = 20 * time.Second

// Restart ends a part and starts it again with the same configuration, on the same ports; it returns when the part and all
// others that run are healthy: an agent whose bridge was restarted is not, until it has found it again. part is agent, bridge, clouddriver or mysql; n counts from 0, as in env.json. With
// kill, the part gets no chance to say goodbye.
func (e *Env) Restart(ctx context.Context, part string, n int, kill bool) error {
	if err := e.Stop(ctx, part, n, kill); err != nil {
		return err
	}
	if err := e.Start(ctx, part, n); err != nil {
		return err
	}
	all, err := e.table.List()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(p *process.Process) bool { return !p.Alive() }) {
		return nil // ended by somebody on purpose: the others may well depend on it
	}
	for _, p := range all {
		if err := awaitHealth(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// Pause stops a part as it is, in the middle of whatever it does (SIGSTOP), until Resume.
func (e *Env) Pause(part string, n int) error { return e.signal(part, n, syscall.SIGSTOP) }

// Resume lets a part that was paused go on.
func (e *Env) Resume(part string, n int) error { return e.signal(part, n, syscall.SIGCONT) }

func (e *Env) signal(part string, n int, s syscall.Signal) error {
	p, err := e.find(part, n)
	if err != nil {
		return err
	}
	if !p.Alive() {
		return fmt.Errorf("%s has ended", p.Name)
	}
	return syscall.Kill(p.PID, s)
}

// Stop ends a part, and leaves it so.
func (e *Env) Stop(ctx context.Context, part string, n int, kill bool) error {
	p, err := e.find(part, n)
	if err != nil {
		return err
	}
	if kill {
		return p.Kill(ctx)
	}
	return p.Stop(ctx, graceToEnd)
}

// Start starts a part that has ended, and returns when it is healthy.
func (e *Env) Start(ctx context.Context, part string, n int) error {
	old, err := e.find(part, n)
	if err != nil {
		return err
	}
	spec := old.Spec
	spec.DiesWithParent = e.diesWithParent
	p, err := e.table.Start(spec)
	if err != nil {
		return err
	}
	if err := e.setPID(ctx, part, n, p.PID); err != nil {
		return err
	}
	return awaitHealth(ctx, p)
}

// find returns the process of a part that can be restarted.
func (e *Env) find(part string, n int) (*process.Process, error) {
	counts := map[string]int{"agent": len(e.Agents), "bridge": len(e.Bridges), "mysql": 1, "clouddriver": len(e.Clouddrivers)}
	count, known := counts[part]
	switch {
	case !known:
		return nil, fmt.Errorf("no part %q: choose agent, bridge, clouddriver or mysql", part)
	case count == 0:
		return nil, fmt.Errorf("this environment has no %s", part)
	case n < 0 || n >= count:
		return nil, fmt.Errorf("no %s %d: they count from 0 to %d", part, n, count-1)
	}
	return e.table.Get(partName(part, n))
}

// partName is the name of a part's process.
func partName(part string, n int) string {
	if part == "mysql" || part == "clouddriver" && n == 0 {
		return part
	}
	return part + "-" + strconv.Itoa(n)
}

// setPID writes down a part's new process, here and in env.json, where another program may have changed other ones.
func (e *Env) setPID(ctx context.Context, part string, n, pid int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var unlock func()
	err := Wait(ctx, func(context.Context) (err error) {
		unlock, err = lock(e.dir)
		return err
	})
	if err != nil {
		return err
	}
	defer unlock()
	written, err := Open(e.dir)
	if err != nil {
		return err
	}
	for _, env := range []*Env{e, written} {
		switch part {
		case "agent":
			env.Agents[n].PID = pid
		case "bridge":
			env.Bridges[n].PID = pid
		case "clouddriver":
			env.Clouddrivers[n].PID = pid
			env.Clouddriver = &env.Clouddrivers[0]
		case "mysql":
			env.MySQL.PID = pid
		}
	}
	return written.write()
}

// Down ends everything that the environment started. Logs and configuration stay in its directory.
func (e *Env) Down(ctx context.Context) error { return Down(ctx, e.dir) }

// Down ends everything that was started in dir, whether or not all of it ever came up. It ends nothing else, and it is no
// error if nothing runs.
func Down(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, processesDir)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is not the directory of an environment", dir)
		}
		return err
	}
	table, err := process.OpenTable(filepath.Join(dir, processesDir))
	if err != nil {
		return err
	}
	if err := table.End(ctx, graceToEnd); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, envFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return (&mariadb{dir: filepath.Join(dir, "mysql")}).removeData()
}
