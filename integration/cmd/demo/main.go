// Command demo sets everything up and tells the main job: a deploy through a real Clouddriver reaches a cluster through its agent, and
// shows in the cached views.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/fairlead/fairlead/testenv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1) //nolint:gocritic // stop only restores signals
	}
}

var errInterrupted = errors.New("interrupted; nothing is left running")

func run(ctx context.Context) error {
	keep := os.Getenv("KEEP") != ""
	dir := os.Getenv("DIR")
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "fairlead-demo-"); err != nil {
			return err
		}
	}
	options := testenv.Options{Dir: dir, Clouddriver: os.Getenv("CLOUDDRIVER"), Progress: os.Stderr, DiesWithParent: !keep}
	options.Stock = options.Clouddriver != testenv.NoClouddriver
	env, err := testenv.Up(ctx, options)
	lacks := testenv.LacksClouddriver(err)
	if lacks {
		fmt.Fprintln(os.Stderr, err)
		options.Clouddriver, options.Stock = testenv.NoClouddriver, false
		env, err = testenv.Up(ctx, options)
	}
	if ctx.Err() != nil && os.Getenv("DIR") == "" {
		return errors.Join(errInterrupted, os.RemoveAll(dir)) // Up leaves nothing running
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "logs are in", filepath.Join(dir, "logs"))
		return err
	}
	if env.Clouddriver != nil {
		err = tell(ctx, env)
	} else {
		err = tellWithoutClouddriver(ctx, env)
	}
	if keep && err == nil {
		say("", "Everything is still running. What to try next:")
		next(env)
		return nil
	}
	if err == nil {
		say("", "KEEP=1 make demo leaves everything running, to try things on.")
	}
	err = errors.Join(err, env.Down(context.WithoutCancel(ctx)))
	if err == nil && os.Getenv("DIR") == "" {
		err = os.RemoveAll(dir)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "logs are in", filepath.Join(dir, "logs"))
	}
	return err
}

// next says what a person may do with a running environment.
func next(env *testenv.Env) {
	b := env.Bridges[0]
	cli := fmt.Sprintf("bin/fairlead --bridge %s --token-file %s", b.Admin, b.AdminTokenFile)
	say("", "  "+cli+" status")
	say("", fmt.Sprintf("  %s kubectl %s -- get deployment,pod -n %s -o json", cli, env.Clusters[0].Account, namespace))
	say("", "  bin/testenv status --dir "+env.Dir()+"      bin/testenv down --dir "+env.Dir())
}

func say(heading, text string) {
	fmt.Printf("%-10s %s\n", heading, text)
}
