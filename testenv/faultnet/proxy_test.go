package faultnet_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/testenv/faultnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers with what it is told, after its name.
func echo(t *testing.T, name string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = c.Write([]byte(name))
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	return listener.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type client struct {
	t    *testing.T
	conn net.Conn
}

func dial(t *testing.T, p *faultnet.Proxy) *client {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Address())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t, conn}
}

// hears reads so many bytes within a time.
func (c *client) hears(n int, within time.Duration) (string, error) {
	c.t.Helper()
	must(c.t, c.conn.SetReadDeadline(time.Now().Add(within)))
	buffer := make([]byte, n)
	n, err := io.ReadFull(c.conn, buffer)
	return string(buffer[:n]), err
}

// greeted takes the target's name.
func (c *client) greeted() {
	c.t.Helper()
	if _, err := c.hears(1, patience); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) says(text string) {
	_, _ = c.conn.Write([]byte(text)) // to a dead connection it goes nowhere
}

const (
	patience = 20 * time.Second
	moment   = 100 * time.Millisecond
)

func (c *client) echoes(text string) {
	c.t.Helper()
	c.says(text)
	if got, err := c.hears(len(text), patience); got != text {
		c.t.Fatalf("heard %q, %v", got, err)
	}
}

func silent(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestConnectionsGoToOneTargetAfterTheOtherAndToThoseThatAnswer(t *testing.T) {
	p := faultnet.Start(t, echo(t, "a"), echo(t, "b"))
	names := ""
	for range 4 {
		name, err := dial(t, p).hears(1, patience)
		must(t, err)
		names += name
	}
	if names != "abab" {
		t.Errorf("targets were %s", names)
	}
	if p.Accepted() != 4 || len(p.Open()) != 2 {
		t.Errorf("%d accepted, open %v", p.Accepted(), p.Open())
	}
	p.Target("127.0.0.1:1", echo(t, "c"))
	for range 2 {
		if name, err := dial(t, p).hears(1, patience); name != "c" {
			t.Errorf("%q, %v", name, err)
		}
	}
}

func TestACutNetworkResetsWhatIsOpenAndRefusesWhatIsNew(t *testing.T) {
	p := faultnet.Start(t, echo(t, "a"))
	c := dial(t, p)
	c.greeted()
	c.echoes("hello")
	p.Set(faultnet.Faults{Cut: true})
	if _, err := c.hears(1, patience); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the open connection: %v", err)
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Address()); err == nil {
		if _, err := (&client{t, conn}).hears(1, patience); err == nil || silent(err) {
			t.Errorf("a new connection: %v", err)
		}
		_ = conn.Close()
	}
	p.Set(faultnet.Faults{})
	c = dial(t, p)
	c.greeted()
	c.echoes("again")
}

func TestAHalfOpenConnectionStaysAndNothingArrives(t *testing.T) {
	for name, f := range map[string]faultnet.Faults{"up": {SwallowUp: true}, "down": {SwallowDown: true}} {
		t.Run(name, func(t *testing.T) {
			p := faultnet.Start(t, echo(t, "a"))
			c := dial(t, p)
			c.greeted()
			p.Set(f)
			c.says("lost")
			if got, err := c.hears(1, moment); got != "" || !silent(err) {
				t.Errorf("heard %q, %v", got, err)
			}
			p.Set(faultnet.Faults{})
			if _, err := c.hears(1, patience); err == nil || silent(err) {
				t.Errorf("a connection that lost bytes lives on: %v", err)
			}
		})
	}
}

func TestConnectionsEndByAgeAndBySilenceAndAreForgottenWithoutAWord(t *testing.T) {
	for name, c := range map[string]struct {
		faults faultnet.Faults
		quiet  bool
	}{"age": {faultnet.Faults{Age: moment}, false}, "idle": {faultnet.Faults{Idle: moment}, false}, "forgotten": {faultnet.Faults{Forget: moment}, true}} {
		t.Run(name, func(t *testing.T) {
			p := faultnet.Start(t, echo(t, "a"))
			conn := dial(t, p)
			conn.greeted()
			p.Set(c.faults)
			if !c.quiet {
				if _, err := conn.hears(1, patience); err == nil || silent(err) {
					t.Errorf("it goes on: %v", err)
				}
				return
			}
			if _, err := conn.hears(1, 5*moment); !silent(err) {
				t.Fatalf("it ends with a word: %v", err)
			}
			p.Set(faultnet.Faults{})
			conn.says("x")
			if _, err := conn.hears(1, moment); !silent(err) {
				t.Errorf("a forgotten connection says %v", err)
			}
		})
	}
}

func TestASlowAndLossyNetworkIsLateAndComplete(t *testing.T) {
	p := faultnet.Start(t, echo(t, "a"))
	c := dial(t, p)
	c.greeted()
	p.Set(faultnet.Faults{Delay: 20 * time.Millisecond, Loss: 0.3, Stall: 30 * time.Millisecond, BytesPerSecond: 4 << 20})
	text := strings.Repeat("0123456789", 10_000)
	began := time.Now()
	sent := make(chan struct{})
	go func() { defer close(sent); c.says(text) }()
	got, err := c.hears(len(text), patience)
	<-sent
	if got != text {
		t.Fatalf("%d of %d bytes, %v", len(got), len(text), err)
	}
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("it took only %s", took)
	}
}
