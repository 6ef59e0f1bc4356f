// Command bench-accounts measures what many accounts cost Clouddriver: how much longer a cold one takes to start until it lists them, how soon one
// that is added is there, and what memory the custom resources of their clusters take. The API servers are fakes (testenv/fakekube), because no
// machine runs two thousand real ones; agent, bridge, MariaDB and Clouddriver are real.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/testenv"
)

// sizes are what flags make smaller.
type sizes struct {
	clouddriver          string
	accounts, never      int
	absent               float64
	stock                int
	holders, definitions int
	rounds               int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var s sizes
	flag.StringVar(&s.clouddriver, "clouddriver", testenv.DefaultClouddriver, "version of Clouddriver")
	flag.IntVar(&s.accounts, "accounts", 2000, "accounts")
	flag.Float64Var(&s.absent, "absent", 0.1, "share of them whose agent is away")
	flag.IntVar(&s.never, "never", 50, "how many of them were never reached")
	flag.IntVar(&s.stock, "stock", 50, "stock accounts that are loaded beside, without an agent; 0: none")
	flag.IntVar(&s.holders, "crd.accounts", 200, "accounts whose clusters have custom resource definitions")
	flag.IntVar(&s.definitions, "crd.each", 100, "definitions of each")
	flag.IntVar(&s.rounds, "rounds", 3, "starts of Clouddriver for its own time and for each state, of which the median counts")
	flag.Parse()
	err := run(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-accounts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s sizes) (err error) {
	p, err := newPlace(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = p.close(err) }()
	for _, figure := range []func(context.Context) error{p.ownStart, p.stockStart, p.coldStarts, p.addOne, p.memory} {
		if err := figure(ctx); err != nil {
			return err
		}
	}
	p.table()
	return nil
}

// line is one measurement.
type line struct{ what, measured, beside, ratio, wanted, met string }

func (p *place) note(l line) {
	p.lines = append(p.lines, l)
	tell("%s: %s (beside %s, %s; wanted %s, %s)", l.what, l.measured, l.beside, l.ratio, l.wanted, l.met)
}

// tell says on standard error what goes on.
func tell(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, arguments...))
}

func within(value, limit time.Duration) string {
	if value <= limit {
		return "met"
	}
	return "missed"
}

func (p *place) table() {
	fmt.Print("\n| what | measured | beside | ratio | wanted | |\n|---|---|---|---|---|---|\n")
	for _, l := range p.lines {
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", l.what, l.measured, l.beside, l.ratio, l.wanted, l.met)
	}
}
