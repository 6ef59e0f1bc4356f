package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// Wanted are the limits of docs/benchmarks.md.
const (
	wantedStart = 25 * time.Second
	wantedSeam  = 15 * time.Second
	wantedAdded = 5 * time.Second
)

func (p *place) ownStart(ctx context.Context) (err error) {
	tell("Clouddriver starts with one account")
	if p.own, err = p.starts(ctx, 1); err != nil {
		return err
	}
	p.note(line{what: "a cold Clouddriver starts and lists 1 account", measured: seconds(p.own)})
	return nil
}

// stockStart is what stock takes for some accounts: it has a kubectl process for each.
func (p *place) stockStart(ctx context.Context) error {
	if p.stock == 0 {
		return nil
	}
	file := filepath.Join(p.env.Dir(), "clouddriver", "config", "clouddriver.yml")
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config := map[string]any{}
	if err := yaml.Unmarshal(before, &config); err != nil {
		return err
	}
	var accounts []any
	for n := range p.stock {
		entry, err := p.account(fmt.Sprintf("stock-%03d", n), nil)
		if err != nil {
			return err
		}
		accounts = append(accounts, map[string]any{"name": entry["name"], "kubeconfigFile": entry["kubeconfigFile"], "kubectlExecutable": p.env.Kubectl,
			"kinds": entry["kinds"], "checkPermissionsOnStartup": false, "metrics": false})
	}
	config["kubernetes"].(map[string]any)["accounts"] = accounts
	content, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return err
	}
	tell("Clouddriver starts with %d stock accounts", p.stock)
	took, err := p.starts(ctx, 1+p.stock)
	if err != nil {
		return err
	}
	p.stockEach = max(took-p.own, 0) / time.Duration(p.stock)
	return os.WriteFile(file, before, 0o600)
}

// coldStarts starts Clouddriver with all accounts served, with some of them absent and never seen, and with no agent at all.
func (p *place) coldStarts(ctx context.Context) error {
	tell("%d clusters are made", p.accounts)
	for n := range p.accounts - p.never {
		entry, err := p.account(fmt.Sprintf("fleet-%04d", n), nil)
		if err != nil {
			return err
		}
		p.served = append(p.served, entry)
	}
	for n := range p.never {
		entry, err := p.account(fmt.Sprintf("late-%04d", n), nil)
		if err != nil {
			return err
		}
		p.late = append(p.late, entry)
	}
	all := append(append([]any{}, p.served...), p.late...)
	if err := p.declareAndSee(ctx, all, len(all), len(all)); err != nil {
		return err
	}
	if err := p.coldStart(ctx, "", wantedStart); err != nil {
		return err
	}

	// The last ones become others, that nobody ever reached; some lose their agent: they are gone from its file while it is away.
	unreached, err := clientcmd.Write(api.Config{
		Clusters:  map[string]*api.Cluster{"c": {Server: "https://127.0.0.1:1"}},
		AuthInfos: map[string]*api.AuthInfo{"u": {Token: "t"}}, Contexts: map[string]*api.Context{"c": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "c"})
	if err != nil {
		return err
	}
	absent := int(p.absent * float64(p.accounts))
	present := append([]any{}, p.served[absent:]...)
	for n := range p.never {
		entry, err := p.entry(fmt.Sprintf("never-%04d", n), unreached)
		if err != nil {
			return err
		}
		present = append(present, entry)
	}
	if err := p.declareAndSee(ctx, p.served, len(p.served), len(p.served)); err != nil {
		return err
	}
	if err := p.env.Stop(ctx, "agent", 0, false); err != nil {
		return err
	}
	if err := p.declare(present); err != nil {
		return err
	}
	if err := p.env.Start(ctx, "agent", 0); err != nil {
		return err
	}
	if err := p.awaitBridge(ctx, p.accounts, len(p.served)); err != nil {
		return err
	}
	if err := p.coldStart(ctx, fmt.Sprintf(", %d of them absent and %d never seen", absent, p.never), wantedStart); err != nil {
		return err
	}
	p.present = present

	if err := p.env.Stop(ctx, "agent", 0, false); err != nil {
		return err
	}
	if err := p.coldStart(ctx, ", without any agent (the seam alone)", wantedSeam); err != nil {
		return err
	}
	return p.env.Start(ctx, "agent", 0)
}

func (p *place) declareAndSee(ctx context.Context, accounts []any, listed, reached int) error {
	if err := p.declare(accounts); err != nil {
		return err
	}
	return p.awaitBridge(ctx, listed, reached)
}

func (p *place) coldStart(ctx context.Context, which string, limit time.Duration) error {
	tell("Clouddriver starts with %d accounts%s", p.accounts, which)
	took, err := p.starts(ctx, p.accounts)
	if err != nil {
		return err
	}
	beyond := max(took-p.own, 0)
	l := line{what: fmt.Sprintf("%d accounts listed by a cold Clouddriver%s, beyond its own start", p.accounts, which), measured: seconds(beyond),
		wanted: "≤ " + seconds(limit), met: within(beyond, limit)}
	if p.stockEach > 0 {
		stock := p.stockEach * time.Duration(p.accounts)
		l.beside = fmt.Sprintf("stock: %s for %d, %s at that rate", seconds(p.stockEach*time.Duration(p.stock)), p.stock, seconds(stock))
		if beyond > time.Second { // less is within what starts differ by
			l.ratio = fmt.Sprintf("%.0f×", float64(stock)/float64(beyond))
		}
	}
	p.note(l)
	return nil
}

// addOne adds an account among all the others.
func (p *place) addOne(ctx context.Context) error {
	if err := p.awaitBridge(ctx, p.accounts, len(p.served)); err != nil {
		return err
	}
	var slowest time.Duration
	for n := range 5 {
		entry, err := p.account(fmt.Sprintf("added-%d", n), nil)
		if err != nil {
			return err
		}
		p.present = append(p.present, entry)
		began := time.Now()
		if err := p.declare(p.present); err != nil {
			return err
		}
		name := entry["name"].(string)
		patient, cancel := context.WithTimeout(ctx, 2*time.Minute)
		err = testenv.Wait(patient, func(ctx context.Context) error { return p.env.REST().Get(ctx, "/credentials/"+name, nil) })
		cancel()
		if err != nil {
			return err
		}
		took := time.Since(began)
		tell("%s was there after %s", name, took.Round(time.Millisecond))
		slowest = max(slowest, took)
	}
	p.note(line{what: fmt.Sprintf("one account added among %d, from the agent's file to Clouddriver, slowest of 5", p.accounts), measured: seconds(slowest),
		beside: "stock: its next start", wanted: "≤ " + seconds(wantedAdded), met: within(slowest, wantedAdded)})
	return nil
}

// memory compares Clouddriver with accounts whose clusters have custom resource definitions, and with as many that have none.
func (p *place) memory(ctx context.Context) error {
	read := func(prefix string, fill func(*fakekube.Cluster)) (heap, resident float64, err error) {
		var accounts []any
		for n := range p.holders {
			entry, err := p.account(fmt.Sprintf("%s-%03d", prefix, n), fill)
			if err != nil {
				return 0, 0, err
			}
			accounts = append(accounts, entry)
		}
		if err := p.declare(accounts); err != nil {
			return 0, 0, err
		}
		// Those that lost their agent are taken out by nobody else.
		if err := p.removeOthers(ctx, prefix+"-"); err != nil {
			return 0, 0, err
		}
		if err := p.awaitBridge(ctx, p.holders, p.holders); err != nil {
			return 0, 0, err
		}
		if err := p.env.Stop(ctx, "clouddriver", 0, false); err != nil {
			return 0, 0, err
		}
		if _, err := p.start(ctx, p.holders); err != nil {
			return 0, 0, err
		}
		return p.used(ctx)
	}
	tell("%d accounts without custom resource definitions", p.holders)
	heap, resident, err := read("plain", nil)
	if err != nil {
		return err
	}
	tell("%d accounts with %d custom resource definitions", p.holders, p.definitions)
	heapWith, residentWith, err := read("custom", func(c *fakekube.Cluster) {
		for n := range p.definitions {
			name, content, resource := definition(n)
			c.Define(resource)
			if err := c.Put("customresourcedefinitions", "", name, content); err != nil {
				panic(err)
			}
		}
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("Clouddriver with %d accounts of %d custom resource definitions", p.holders, p.definitions)
	p.note(line{what: what + ": heap after a collection", measured: megabytes(heapWith), beside: "without definitions: " + megabytes(heap), ratio: fmt.Sprintf("%.2f×", heapWith/heap)})
	p.note(line{what: what + ": resident", measured: megabytes(residentWith), beside: "without definitions: " + megabytes(resident), ratio: fmt.Sprintf("%.2f×", residentWith/resident)})
	return nil
}

var heapUsed = regexp.MustCompile(`used (\d+)K`)

// used is what Clouddriver's heap holds after a collection, and what is resident, in MiB.
func (p *place) used(ctx context.Context) (heap, resident float64, err error) {
	pid := p.env.Clouddriver.PID
	java, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0, 0, err
	}
	jcmd := filepath.Join(filepath.Dir(java), "jcmd")
	ask := func(command string) (string, error) {
		out, err := exec.CommandContext(ctx, jcmd, strconv.Itoa(pid), command).CombinedOutput() //nolint:gosec // Java's own program
		if err != nil {
			err = fmt.Errorf("%s %s: %w: %s", jcmd, command, err, out)
		}
		return string(out), err
	}
	if _, err := ask("GC.run"); err != nil {
		return 0, 0, err
	}
	text, err := ask("GC.heap_info")
	if err != nil {
		return 0, 0, err
	}
	generations := strings.Split(text, "Metaspace")[0]
	for _, found := range heapUsed.FindAllStringSubmatch(generations, -1) {
		kib, err := strconv.Atoi(found[1])
		if err != nil {
			return 0, 0, err
		}
		heap += float64(kib) / 1024
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for l := range strings.Lines(string(status)) {
		if kib, is := strings.CutPrefix(l, "VmRSS:"); is {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")))
			return heap, float64(n) / 1024, err
		}
	}
	return heap, 0, fmt.Errorf("no VmRSS of process %d", pid)
}

func seconds(d time.Duration) string    { return fmt.Sprintf("%.1f s", d.Seconds()) }
func megabytes(mebibyte float64) string { return fmt.Sprintf("%.0f MiB", mebibyte) }
