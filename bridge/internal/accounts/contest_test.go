package accounts_test

import (
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestANameThatIsAnotherClusterIsRefusedWhileThatIsServed(t *testing.T) {
	d := storetest.Start(t).Database(t)
	r := start(t, d, "b1", &remover{})
	ask := func(who string, cluster ...string) string {
		t.Helper()
		v, err := r.Declare(t.Context(), &linkv1.Agent{Name: "host", Instance: who}, scope{""}, []*linkv1.Account{{Name: "prod", Cluster: cluster}})
		if err != nil {
			t.Fatal(err)
		}
		return v[0].GetReason()
	}
	if reason := ask("first", "ca:aa", "ca:bb"); reason != "" {
		t.Fatal(reason)
	}
	r.Connected("prod", "s1", &linkv1.Agent{Name: "host", Instance: "first"})
	for _, c := range []struct {
		who     string
		cluster []string
		refused bool
	}{
		{"second", []string{"ca:cc"}, true},
		{"first", []string{"ca:dd"}, false}, // its own configuration has changed
		{"first", []string{"ca:aa", "ca:bb"}, false},
		{"second", []string{"ca:bb", "ca:cc"}, false}, // an authority that is being replaced
		{"second", []string{"ca:dd"}, true},
		{"second", []string{"host:https://x"}, false}, // cannot be compared
		{"third", []string{"host:https://y"}, true},
		{"third", nil, false},
		{"first", []string{"ca:aa"}, false},
	} {
		reason := ask(c.who, c.cluster...)
		if (reason != "") != c.refused {
			t.Errorf("%s %v: %q", c.who, c.cluster, reason)
		}
	}
	reason := ask("second", "ca:cc")
	for _, want := range []string{`account "prod"`, "agent host", "ca:aa there", "ca:cc here", "choose another name"} {
		if !strings.Contains(reason, want) {
			t.Errorf("%q lacks %q", reason, want)
		}
	}
	elsewhere := start(t, d, "b2", &remover{})
	until(t, "the other bridge knows of the session", func() bool {
		v, err := elsewhere.Declare(t.Context(), &linkv1.Agent{Name: "host", Instance: "second"}, scope{""}, []*linkv1.Account{{Name: "prod", Cluster: []string{"ca:cc"}}})
		return err == nil && !v[0].GetAccepted()
	})
	if r.Vacated("prod", "second") {
		t.Error("it is vacated while it is served")
	}
	r.Disconnected("prod", "s1")
	if !r.Vacated("prod", "second") {
		t.Error("it is not vacated though nobody serves it")
	}
	if reason := ask("second", "ca:cc"); reason != "" || r.Vacated("prod", "second") {
		t.Errorf("after the first has gone: %q", reason)
	}
}
