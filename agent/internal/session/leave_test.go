package session

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func leaving(address string) Config {
	return Config{Address: address, Plaintext: true, NoProxy: true, Token: func() (string, error) { return "flt_of_the_test", nil },
		Pauses: Pauses{Reconnect: time.Millisecond, Base: time.Millisecond, Max: 5 * time.Millisecond, Multiplier: 2},
		Agent:  &linkv1.Agent{Instance: "instance", Name: "agent"}, Log: slog.New(slog.DiscardHandler)}
}

func removed(account, refusal string) *linkv1.SessionDown {
	return &linkv1.SessionDown{Frame: &linkv1.SessionDown_Verdict{Verdict: &linkv1.AccountVerdict{Account: account, Accepted: refusal == "", Reason: refusal, Removed: true}}}
}

func TestLeaveAsksAgainUntilABridgeHasAnsweredForEachAccount(t *testing.T) {
	b := newBridge(t)
	left := make(chan error, 1)
	go func() { left <- Leave(t.Context(), leaving(b.address), []string{"a", "b"}) }()

	p := b.session()
	p.welcome(1)
	if said := p.accounts().GetRemoved(); !cmp.Equal(said, []string{"a", "b"}) {
		t.Error("told to leave:", said)
	}
	p.say(removed("a", ""))
	p.close(linkv1.Close_CODE_RETRY, "the database is away")

	p = b.session()
	p.welcome(1)
	if said := p.accounts().GetRemoved(); !cmp.Equal(said, []string{"b"}) {
		t.Error("told to leave again:", said)
	}
	p.say(removed("b", "this agent's identity does not allow the account"))
	err := next(t, "the end", left)
	if err == nil || !strings.Contains(err.Error(), `account "b" stays: this agent's identity does not allow`) || strings.Contains(err.Error(), `"a"`) {
		t.Error(err)
	}
}

func TestLeaveThatNobodyAnswersSaysWhy(t *testing.T) {
	b := newBridge(t)
	b.token = "another"
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := Leave(ctx, leaving(b.address), []string{"a"})
	if err == nil || !strings.Contains(err.Error(), "1 of 1 accounts were not taken out of Clouddriver: ") {
		t.Error(err)
	}
}
