package operations

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/testenv"
)

// leastCases is what the suite must not fall below.
const leastCases = 400

func TestCommandsThroughBridgeAndAgent(t *testing.T) {
	c := up(t)
	addLoggingNode(t, c.admin(t))
	t.Run("say and do what kubectl says and does", c.sayAndDoTheSame)
	t.Run("stream a list of many objects", c.manyAreStreamed)
	t.Run("stream a long log", c.longLogIsStreamed)
}

func (c *chain) sayAndDoTheSame(t *testing.T) {
	files := readCases(t, "testdata/cases")
	var compared atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for name, steps := range files {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c.story(t, name, steps, &compared)
			})
		}
	})
	t.Logf("%d cases compared with kubectl", compared.Load())
	if n := compared.Load(); n < leastCases && !t.Failed() {
		t.Errorf("%d cases are fewer than %d", n, leastCases)
	}
}

// story runs the steps of a case file in order, each on both sides.
func (c *chain) story(t *testing.T, name string, steps []step, compared *atomic.Int64) {
	sides := c.sides(t, name)
	for _, s := range steps {
		if s.account == "" {
			s.account = c.Clusters[0].Account
		}
		switch {
		case s.isCase():
			compared.Add(1)
			c.compare(t, s, sides)
		case s.name == "metrics":
			serveMetrics(t, c.admin(t))
		case s.name == "webhook":
			serveHangingWebhook(t, c.admin(t))
		case s.name == "soon" || s.name == "refusing":
			c.soon(t, s, sides)
		default:
			c.state(t, s, sides)
		}
	}
}

// sides makes the namespaces of kubectl and of the chain.
func (c *chain) sides(t *testing.T, name string) [2]string {
	t.Helper()
	sides := [2]string{"stock" + name, "agent" + name}
	for _, namespace := range sides {
		c.admin(t)("", "create", "namespace", namespace)
		t.Cleanup(func() { c.admin(t)("", "delete", "namespace", "--wait=false", namespace) })
	}
	return sides
}

// admin runs kubectl commands that must succeed.
func (c *chain) admin(t *testing.T) func(stdin string, arguments ...string) {
	return func(stdin string, arguments ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // also when the test's context has ended
		defer cancel()
		out, err := c.kubectl(ctx, c.Clusters[0].Account, arguments, stdin)
		if err != nil || out.exit != 0 {
			t.Fatalf("kubectl %s: %v %s", strings.Join(arguments, " "), err, out.stderr)
		}
	}
}

type runner func(ctx context.Context, account string, arguments []string, stdin string) (said, error)

// both runs a step on both sides at the same time.
func (c *chain) both(ctx context.Context, s step, sides [2]string, runners [2]runner) (out [2]said, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var group errgroup.Group
	for i, run := range runners {
		group.Go(func() error {
			arguments, stdin := s.forSide(sides[i])
			if !s.isCase() {
				arguments = append([]string{"--namespace=" + sides[i]}, arguments...)
			}
			var err error
			out[i], err = run(ctx, s.account, arguments, stdin)
			return err
		})
	}
	return out, group.Wait()
}

// compare runs a case through kubectl and through the chain.
func (c *chain) compare(t *testing.T, s step, sides [2]string) {
	t.Helper()
	if s.instead != "" {
		arguments, stdin := s.forSide(sides[1])
		out, err := c.execute(t.Context(), s.account, arguments, stdin)
		if err != nil || out.exit != 0 || !strings.Contains(out.stderr, s.instead) {
			t.Errorf("%s: %v, exit code %d, want it to be done with %q:\n%s", s, err, out.exit, s.instead, out.stderr)
		}
		return
	}
	if s.refused != "" {
		arguments, stdin := s.forSide(sides[1])
		out, err := c.execute(t.Context(), s.account, arguments, stdin)
		if err != nil || out.exit != 1 || out.stdout != "" || !strings.Contains(out.stderr, s.refused) {
			t.Errorf("%s: %v, exit code %d, want it to be refused with %q:\n%s%s", s, err, out.exit, s.refused, out.stdout, out.stderr)
		}
		return
	}
	out, err := c.both(t.Context(), s, sides, [2]runner{c.kubectl, c.execute})
	if err != nil {
		t.Errorf("%s: %v", s, err)
		return
	}
	if d := difference(s, out, sides); d != "" {
		t.Errorf("%s\n%s", s, d)
	}
}

// state runs a step through kubectl on both sides.
func (c *chain) state(t *testing.T, s step, sides [2]string) {
	t.Helper()
	out, err := c.both(t.Context(), s, sides, [2]runner{c.kubectl, c.kubectl})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	if s.name == "then" {
		if d := difference(s, out, sides); d != "" {
			t.Errorf("%s: kubectl %s\n%s", s, strings.Join(s.arguments, " "), d)
		}
		return
	}
	for _, o := range out {
		if o.exit != 0 {
			t.Fatalf("%s: kubectl %s: %s", s, strings.Join(s.arguments, " "), o.stderr)
		}
	}
}

func (c *chain) soon(t *testing.T, s step, sides [2]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must(t, testenv.Wait(ctx, func(ctx context.Context) error {
		out, err := c.both(ctx, s, sides, [2]runner{c.kubectl, c.kubectl})
		if err != nil {
			return err
		}
		if s.name == "refusing" {
			if out[0].exit == 0 || out[1].exit == 0 {
				return fmt.Errorf("%s: it still succeeds", s)
			}
			return nil
		}
		if d := difference(s, out, sides); d != "" {
			return fmt.Errorf("%s: kubectl %s\n%s", s, strings.Join(s.arguments, " "), d)
		}
		return nil
	}))
}

// difference describes in what the second output differs from the first; "" if in nothing.
func difference(s step, out [2]said, sides [2]string) string {
	var all strings.Builder
	if out[0].exit != out[1].exit {
		fmt.Fprintf(&all, "exit code %d, kubectl's is %d\n", out[1].exit, out[0].exit)
	}
	if s.ours != nil {
		if !strings.Contains(out[1].stderr, *s.ours) || *s.ours == "" && out[1].stderr != "" {
			fmt.Fprintf(&all, "standard error is %q, want %q in it (kubectl: %q)\n", out[1].stderr, *s.ours, out[0].stderr)
		}
	} else if d := cmp.Diff(maskText(out[0].stderr, sides[0]), maskText(out[1].stderr, sides[1])); d != "" {
		fmt.Fprintf(&all, "standard error (- kubectl, + ours):\n%s", d)
	}
	var values [2]any
	for i := range values {
		var err error
		if values[i], err = maskOutput(out[i].stdout, sides[i], s); err != nil {
			return all.String() + err.Error()
		}
	}
	if d := cmp.Diff(values[0], values[1]); d != "" {
		fmt.Fprintf(&all, "standard output (- kubectl, + ours):\n%s", d)
	}
	return all.String()
}
