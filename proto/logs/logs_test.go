package logs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proto/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRepeatedLinesAreHeldBackAndCounted(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	log := logs.New(&out, logs.Options{Now: func() time.Time { return now }, Always: []string{"audit"}})
	for i := range 100 {
		log.Warn("item cannot be stored", "account", "a", "key", i)
		log.Info("audit", "n", i)
		log.With("session", "s").Warn("item cannot be stored", "account", "b")
	}
	count := func(part string) int { return strings.Count(out.String(), part) }
	if n := count(`"account":"a"`); n != 20 {
		t.Errorf("%d lines about a", n)
	}
	if n := count(`"account":"b"`); n != 20 {
		t.Errorf("%d lines about b", n)
	}
	if n := count(`"msg":"audit"`); n != 100 {
		t.Errorf("%d lines of the audit", n)
	}
	out.Reset()
	now = now.Add(10 * time.Second)
	log.Warn("item cannot be stored", "account", "a", "key", "last")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"account":"b","held_back":80`) || !strings.Contains(lines[1], `"key":"last","held_back":80`) {
		t.Errorf("%q", lines)
	}
	var keys map[string]any
	if err := json.Unmarshal([]byte(lines[1]), &keys); err != nil || keys["time"] == nil || keys["level"] != "WARN" || keys["msg"] == nil {
		t.Error(keys, err)
	}
}

func TestTheLevelChangesWhileTheProcessRuns(t *testing.T) {
	var out bytes.Buffer
	log := logs.New(&out, logs.Options{Text: true})
	session := log.With("session", "s")
	control := logs.Of(session)
	session.Debug("one")
	if before, err := control.SetLevel("debug"); err != nil || before != "info" || control.Level() != "debug" {
		t.Error(before, err)
	}
	for range 50 {
		session.Debug("two")
	}
	if _, err := control.SetLevel("loud"); err == nil || !strings.Contains(err.Error(), `"loud" is none of debug, info, warn, error`) {
		t.Error(err)
	}
	if strings.Contains(out.String(), "one") || strings.Count(out.String(), "msg=two session=s") != 50 {
		t.Error(out.String())
	}
	if control.Toggle() != "info" || control.Toggle() != "debug" {
		t.Error(control.Level())
	}
	if string(control.Tail()) != out.String() {
		t.Error("the tail is not what was written")
	}
	if none := logs.Of(slog.New(slog.DiscardHandler)); none.Level() != "" || none.Tail() != nil {
		t.Error("a log of another make has no control")
	}
}

func TestTheTailIsBoundedAndWhole(t *testing.T) {
	log := logs.New(io.Discard, logs.Options{})
	for i := range 20_000 {
		log.Info(fmt.Sprint("line ", i), "filler", strings.Repeat("x", 50))
	}
	tail := logs.Of(log).Tail()
	if len(tail) > 256<<10 || len(tail) < 200<<10 || tail[0] != '{' || !bytes.Contains(tail, []byte("line 19999")) {
		t.Error(len(tail))
	}
}
