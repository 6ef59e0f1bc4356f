// Command fairlead is what an operator types: it asks a bridge through its admin API.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	o := &options{patience: 2 * time.Second, terminal: isTerminal}
	err := newCommand(o).ExecuteContext(ctx)
	var exit exitCode
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "fairlead: "+err.Error())
	}
	if code := o.codeOf(err); code != 0 {
		os.Exit(code)
	}
}
