package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Command is a program that prints a bearer token for what stands between agent and bridge (clouddriver.auth.tokenCommand).
type Command struct {
	Path string
	Args []string
	// JSON: it prints an object with a "token", else the token itself.
	JSON bool
	// Refresh is how long a token is used; 0: until a connection fails.
	Refresh time.Duration

	mu    sync.Mutex
	token string
	at    time.Time
}

const (
	commandTimeout = 30 * time.Second
	// commandPause is the least time between two runs that fail, so that a broken program does not keep the processor busy.
	commandPause = time.Second
	// tokenBytes bounds what a program may print; what does not fit into a header is of no use.
	tokenBytes = 16 << 10
)

// Token returns the token; it runs the program if there is none, or the one that there is is old.
func (c *Command) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && (c.Refresh <= 0 || time.Since(c.at) < c.Refresh) {
		return c.token, nil
	}
	if c.token == "" && !c.at.IsZero() {
		if wait := commandPause - time.Since(c.at); wait > 0 {
			select {
			case <-ctx.Done():
				return "", ctx.Err()
			case <-time.After(wait):
			}
		}
	}
	token, err := c.run(ctx)
	c.token, c.at = token, time.Now()
	if err != nil {
		return "", fmt.Errorf("clouddriver.auth.tokenCommand %s: %w", c.Path, err)
	}
	return token, nil
}

// Forget has the program run again: the token was not taken.
func (c *Command) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = ""
}

func (c *Command) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, c.Path, c.Args...) //nolint:gosec // the configuration's owner chose it
	var out, complaint limited
	command.Stdout, command.Stderr = &out, &complaint
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("did not end within %s", commandTimeout)
		}
		// Its standard output may hold half a token; what it complains of is for people.
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(complaint.String()))
	}
	text := strings.TrimSpace(out.String())
	if c.JSON {
		var object struct{ Token string }
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return "", errors.New(`prints no JSON object with a "token", as format: json says`)
		}
		text = object.Token
	}
	if text == "" {
		return "", errors.New("prints no token")
	}
	if strings.ContainsAny(text, " \t\r\n") || out.full {
		return "", errors.New("prints more than a token; with format: json it may print an object with a \"token\"")
	}
	return text, nil
}

// limited keeps the first bytes.
type limited struct {
	bytes.Buffer

	full bool
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	room := tokenBytes - l.Len()
	if len(p) > room {
		l.full = true
		l.Buffer.Write(p[:room])
	} else {
		l.Buffer.Write(p)
	}
	return len(p), nil
}
