package parity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/fairlead/fairlead/testenv"
)

// answer asks, and returns status and content of whatever the answer is.
func (s *suite) answer(ctx context.Context, t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(body)
	must(t, err)
	request, err := http.NewRequestWithContext(ctx, method, s.Clouddriver.URL+path, bytes.NewReader(encoded))
	must(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	must(t, err)
	var decoded any
	if len(content) > 0 {
		must(t, json.Unmarshal(content, &decoded))
	}
	if failure, ok := decoded.(map[string]any); ok {
		delete(failure, "timestamp")
	}
	return map[string]any{"status": strconv.Itoa(response.StatusCode), "body": decoded}
}

// get returns what a view says. Numbers are compared by value: what stock Clouddriver caches went through Gson, which writes 3.0 for 3.
func (s *suite) get(ctx context.Context, path string) (any, error) {
	var body any
	err := s.REST().Get(ctx, path, &body)
	var status *testenv.StatusError
	switch {
	case errors.As(err, &status):
		var said struct{ Error, Message string }
		_ = json.Unmarshal([]byte(status.Body), &said)
		return map[string]any{"status": float64(status.Code), "error": said.Error, "message": said.Message}, nil
	case err != nil:
		return nil, err
	}
	return body, nil
}

func equalJSON(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// equalSets compares lists that have been sorted by their JSON.
func equalSets(a, b []any) bool { return equalJSON(a, b) }
