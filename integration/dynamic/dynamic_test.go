package dynamic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/testenv"
)

func TestAccountsAreGivenToAgentsAtRunTime(t *testing.T) {
	t.Parallel()
	s := &site{t: t, Env: testenv.UpForTest(t, testenv.Options{Clouddriver: testenv.NoClouddriver, Clusters: 2, Bridges: 2, ConfigureAgent: zones})}
	ctx := within(t, 2*time.Minute)
	s.give(ctx, 0, "*")
	s.give(ctx, 1, "demo-2", "two-*")
	secret := s.kubeconfig(1, "dynamic")
	definition := func(name string, more map[string]any) map[string]any {
		d := map[string]any{"name": name, "kubeconfigContents": secret}
		for key, value := range more {
			d[key] = value
		}
		return d
	}

	t.Run("an account is usable when the call returns, at every bridge", func(t *testing.T) {
		ctx := within(t, time.Minute)
		began := time.Now()
		code, text := s.call(0, http.MethodPut, "/v1/accounts/two-a?activate=true&wait=30s", definition("two-a", map[string]any{"zoneId": "two"}))
		if code != http.StatusOK || !strings.Contains(text, `"ACTIVE"`) {
			t.Fatalf("%d %s", code, text)
		}
		t.Logf("served after %s", time.Since(began).Round(time.Millisecond))
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return s.namespaces(ctx, 0, "two-a") }))
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return s.namespaces(ctx, 1, "two-a") }))
		if a := s.account(0, "two-a"); a.Place != "zone two" {
			t.Errorf("at %q", a.Place)
		}
	})
	t.Run("nobody gets an account that an identity does not allow", func(t *testing.T) {
		ctx := within(t, time.Minute)
		s.call(0, http.MethodPut, "/v1/accounts/foreign?activate=true", definition("foreign", map[string]any{"zoneId": "two"}))
		a := s.until(ctx, 0, "foreign", "FAILED", in("FAILED"))
		if !strings.Contains(a.Reason, `no agent of zone "two"`) {
			t.Errorf("reason %q", a.Reason)
		}
		log, err := os.ReadFile(s.Agents[1].Log)
		must(t, err)
		if strings.Contains(string(log), "foreign") {
			t.Error("the agent has heard of it")
		}
		s.call(0, http.MethodDelete, "/v1/accounts/foreign?wait=20s", nil)
	})
	t.Run("it is given again to an agent that starts anew, whichever bridge it comes to", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		must(t, s.Restart(ctx, "agent", 1, true))
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return s.namespaces(ctx, 0, "two-a") }))
		if a := s.account(0, "two-a"); a.State != "ACTIVE" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("a kubeconfig that does not work leaves in force what was, and says so", func(t *testing.T) {
		ctx := within(t, time.Minute)
		broken, _ := otherToken(t, secret, "a-token-of-nobody")
		s.call(1, http.MethodPut, "/v1/accounts/two-a", map[string]any{"name": "two-a", "kubeconfigContents": broken})
		a := s.until(ctx, 0, "two-a", "told why", func(a shown) bool { return a.Reason != "" })
		if a.State != "ACTIVE" || !strings.Contains(a.Reason, "Unauthorized") {
			t.Errorf("%+v", a)
		}
		must(t, s.namespaces(ctx, 0, "two-a"))
		code, text := s.call(1, http.MethodPut, "/v1/accounts/two-a", definition("two-a", nil))
		if code != http.StatusOK {
			t.Errorf("%d %s", code, text)
		}
		s.until(ctx, 0, "two-a", "well", func(a shown) bool { return a.Reason == "" && a.State == "ACTIVE" })
	})
	t.Run("an account whose agents are gone is an orphan, and is served when they are back", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		must(t, s.Stop(ctx, "agent", 1, false))
		s.until(ctx, 1, "two-a", "ORPHANED", in("ORPHANED"))
		must(t, s.Start(ctx, "agent", 1))
		s.until(ctx, 0, "two-a", "ACTIVE", in("ACTIVE"))
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return s.namespaces(ctx, 0, "two-a") }))
	})
	t.Run("without a zone, agents are tried place by place until one reaches the API server", func(t *testing.T) {
		ctx := within(t, time.Minute)
		// Both reach it; the first place by name has it.
		s.call(0, http.MethodPut, "/v1/accounts/two-b?activate=true", definition("two-b", nil))
		if a := s.until(ctx, 0, "two-b", "ACTIVE", in("ACTIVE")); a.Place != "zone one" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("a bridge that dies while it deletes leaves a deletion that another one ends", func(t *testing.T) {
		ctx := within(t, 2*time.Minute)
		s.call(1, http.MethodDelete, "/v1/accounts/two-a", nil)
		must(t, s.Stop(ctx, "bridge", 1, true))
		s.until(ctx, 0, "two-a", "gone", in(""))
		must(t, s.Start(ctx, "bridge", 1))
	})
	t.Run("deactivated and activated again", func(t *testing.T) {
		ctx := within(t, time.Minute)
		if code, text := s.call(0, http.MethodPost, "/v1/accounts/two-b/deactivate?wait=30s", nil); code != http.StatusOK || !strings.Contains(text, `"INACTIVE"`) {
			t.Fatalf("%d %s", code, text)
		}
		if err := s.namespaces(ctx, 0, "two-b"); err == nil || !strings.Contains(err.Error(), "not known") {
			t.Errorf("%v", err)
		}
		if code, text := s.call(0, http.MethodPost, "/v1/accounts/two-b/activate?wait=30s", nil); code != http.StatusOK || !strings.Contains(text, `"ACTIVE"`) {
			t.Fatalf("%d %s", code, text)
		}
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return s.namespaces(ctx, 0, "two-b") }))
		if code, text := s.call(0, http.MethodDelete, "/v1/accounts/two-b?wait=30s", nil); code != http.StatusOK {
			t.Errorf("%d %s", code, text)
		}
		if code, _ := s.call(0, http.MethodGet, "/v1/accounts/two-b", nil); code != http.StatusNotFound {
			t.Errorf("still there: %d", code)
		}
	})
	t.Run("a hundred accounts in one call", func(t *testing.T) {
		ctx := within(t, 3*time.Minute)
		var batch []map[string]any
		for n := range 100 {
			batch = append(batch, definition(fmt.Sprintf("two-batch-%02d", n), map[string]any{"zoneId": "two", "kinds": []string{"configMap"}}))
		}
		// Its bridge has just started again.
		must(t, testenv.Wait(ctx, func(context.Context) error {
			if _, text := s.call(0, http.MethodGet, "/armory/agents", nil); !strings.Contains(text, `"zoneId":"two"`) {
				return errors.New(text)
			}
			return nil
		}))
		began := time.Now()
		code, text := s.call(0, http.MethodPost, "/v1/accounts?activate=true&wait=2m", batch)
		if code != http.StatusOK || strings.Count(text, `"ACTIVE"`) != 100 {
			t.Fatalf("%d, %d active: %.300s", code, strings.Count(text, `"ACTIVE"`), text)
		}
		t.Logf("100 accounts served after %s", time.Since(began).Round(time.Millisecond))
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return s.namespaces(ctx, 1, "two-batch-99") }))
		var names []string
		for _, d := range batch {
			names = append(names, d["name"].(string))
		}
		if code, text := s.call(1, http.MethodDelete, "/armory/accounts", names); code != http.StatusAccepted {
			t.Errorf("%d %s", code, text)
		}
		for _, name := range names {
			s.until(ctx, 0, name, "gone", in(""))
		}
		t.Logf("and gone after %s", time.Since(began).Round(time.Millisecond))
	})
	t.Run("no kubeconfig is in a log or in plaintext in the database", func(t *testing.T) {
		_, token := otherToken(t, secret, "")
		if len(token) < 100 {
			t.Fatalf("a token of %d characters", len(token))
		}
		for _, log := range []string{s.Bridges[0].Log, s.Bridges[1].Log, s.Agents[0].Log, s.Agents[1].Log} {
			content, err := os.ReadFile(log)
			must(t, err)
			if strings.Contains(string(content), token[:60]) {
				t.Errorf("%s shows it", log)
			}
		}
	})
}
