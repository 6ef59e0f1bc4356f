package operations

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// said is what a command said.
type said struct {
	stdout, stderr string
	exit           int
}

// kubectl runs a real kubectl with the credentials of an account's agent.
func (c *chain) kubectl(ctx context.Context, account string, arguments []string, stdin string) (said, error) {
	command := exec.CommandContext(ctx, c.Kubectl, append([]string{"--kubeconfig=" + c.kubeconfigs[account]}, arguments...)...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.home}
	command.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return said{}, err
	}
	if ctx.Err() != nil {
		return said{}, fmt.Errorf("kubectl %s: %w", strings.Join(arguments, " "), ctx.Err())
	}
	return said{stdout.String(), stderr.String(), command.ProcessState.ExitCode()}, nil
}

// execute runs a command line as Clouddriver's plugin does: one Connect call in JSON to the bridge's endpoint.
func (c *chain) execute(ctx context.Context, account string, arguments []string, stdin string) (said, error) {
	var stdout, stderr bytes.Buffer
	exit, err := c.stream(ctx, account, arguments, stdin, &stdout, &stderr)
	return said{stdout.String(), stderr.String(), exit}, err
}

// stream is execute with the output passed on as it comes.
func (c *chain) stream(ctx context.Context, account string, arguments []string, stdin string, stdout, stderr io.Writer) (exit int, err error) {
	content, err := json.Marshal(map[string]any{"account": account, "arguments": arguments, "stdin": []byte(stdin), "timeoutMs": "120000"})
	if err != nil {
		return 0, err
	}
	envelope := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(content))), content...)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Bridges[0].Plugin+"/fairlead.clouddriver.v1.ClouddriverService/Execute", bytes.NewReader(envelope))
	if err != nil {
		return 0, err
	}
	secret, err := os.ReadFile(c.Bridges[0].PluginSecretFile)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	request.Header.Set("Content-Type", "application/connect+json")
	request.Header.Set("Connect-Protocol-Version", "1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		return 0, fmt.Errorf("the bridge answers %s: %s", response.Status, body)
	}
	return frames(response.Body, stdout, stderr)
}

// frames reads an answer to its end.
func frames(body io.Reader, stdout, stderr io.Writer) (exit int, err error) {
	exited := false
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(body, head); err != nil {
			return 0, fmt.Errorf("the bridge broke the answer off: %w", err)
		}
		content := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(body, content); err != nil {
			return 0, fmt.Errorf("the bridge broke the answer off: %w", err)
		}
		var frame struct {
			Stdout, Stderr []byte
			Exit           *struct{ Code int }
			Error          *struct{ Code, Message string }
		}
		if err := json.Unmarshal(content, &frame); err != nil {
			return 0, fmt.Errorf("%w in %q", err, content)
		}
		if head[0]&2 != 0 {
			switch {
			case frame.Error != nil:
				return 0, fmt.Errorf("the bridge refused the call: %s: %s", frame.Error.Code, frame.Error.Message)
			case !exited:
				return 0, errors.New("the answer ended without an exit")
			}
			return exit, nil
		}
		if _, err := stdout.Write(frame.Stdout); err != nil {
			return 0, err
		}
		if _, err := stderr.Write(frame.Stderr); err != nil {
			return 0, err
		}
		if frame.Exit != nil {
			exit, exited = frame.Exit.Code, true
		}
	}
}
