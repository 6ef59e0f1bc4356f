package cloud

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// requestLimit bounds one question to a provider.
const requestLimit = 15 * time.Second

// largest is the most that a provider's answer may hold.
const largest = 4 << 20

// Cloud is the agent's identity at the providers. It may be used by any number of goroutines.
type Cloud struct {
	getenv func(string) string
	http   *http.Client

	mu  sync.Mutex
	aws map[awsIdentity]aws.CredentialsProvider
}

// New reads the environment with getenv; nil: os.Getenv. It talks to nobody.
func New(getenv func(string) string) *Cloud {
	if getenv == nil {
		getenv = os.Getenv
	}
	return &Cloud{getenv: getenv, http: &http.Client{Timeout: requestLimit}, aws: map[awsIdentity]aws.CredentialsProvider{}}
}

// Token is a bearer token for an API server.
type Token struct {
	Value   string
	Expires time.Time
}

// Tokens fetches a cluster's tokens.
type Tokens func(ctx context.Context) (Token, error)

// do sends a request and returns the answer's body.
func (c *Cloud) do(request *http.Request) ([]byte, error) {
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largest+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > largest:
		return nil, fmt.Errorf("%s answers with more than %d bytes", request.URL.Host, largest)
	case answer.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s answers %s: %s", request.URL.Host, answer.Status, brief(body))
	}
	return body, nil
}

// brief is the beginning of an error's text, in one line.
func brief(body []byte) string {
	text := strings.Join(strings.Fields(string(body)), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}
