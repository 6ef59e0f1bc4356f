package operations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/testenv"
)

// leastOperations is what the suite must not fall below, on each version.
const leastOperations = 130

// pair is a Clouddriver with a stock account and an agent's account of one cluster.
type pair struct {
	*chain

	accounts [2]string // stock, agent
	compared atomic.Int64
}

func TestOperationsOfClouddriverDoTheSameOnBothAccounts(t *testing.T) {
	for _, version := range testenv.Versions() {
		t.Run(version, func(t *testing.T) {
			p := upPair(t, version)
			files := readCases(t, "testdata/operations")
			t.Run("operations", func(t *testing.T) {
				for name, steps := range files {
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						p.story(t, name, steps)
					})
				}
			})
			t.Logf("%d operations and reads compared on Clouddriver %s", p.compared.Load(), p.Env.Clouddriver.Version)
			if n := p.compared.Load(); n < leastOperations && !t.Failed() {
				t.Errorf("%d operations are fewer than %d", n, leastOperations)
			}
		})
	}
}

// upPair brings an environment up whose cluster has a metrics API and a node with logs, and whose accounts both show metrics.
func upPair(t *testing.T, version string) *pair {
	t.Helper()
	env := testenv.UpForTest(t, testenv.Options{Clouddriver: version, Stock: true, Configure: func(config map[string]any) {
		for _, account := range config["kubernetes"].(map[string]any)["accounts"].([]any) {
			account.(map[string]any)["metrics"] = true
		}
	}})
	account := env.Clusters[0].Account
	p := &pair{
		chain: &chain{Env: env, home: t.TempDir(), kubeconfigs: map[string]string{
			account: filepath.Join(filepath.Dir(env.Agents[0].Config), "kubeconfig"),
		}},
		accounts: [2]string{env.Clusters[0].StockAccount, account},
	}
	addLoggingNode(t, p.admin(t))
	serveMetrics(t, p.admin(t))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must(t, showMetrics(env.Agents[0].Config))
	must(t, env.Restart(ctx, "agent", 0, false))
	return p
}

// showMetrics sets the key in the agent's configuration for its account.
func showMetrics(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := yaml.Unmarshal(content, &config); err != nil {
		return err
	}
	for _, account := range config["kubernetes"].(map[string]any)["accounts"].([]any) {
		account.(map[string]any)["metrics"] = true
	}
	if content, err = yaml.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// story runs the steps of a file in order, each on both accounts.
func (p *pair) story(t *testing.T, name string, steps []step) {
	sides := p.sides(t, name)
	for _, s := range steps {
		switch {
		case s.isCase():
			p.compared.Add(1)
			p.compare(t, s, sides)
		case s.name == "soon" || s.name == "refusing":
			s.account = p.accounts[1] // only kubectl is asked, as administrator
			p.chain.soon(t, s, sides)
		default:
			s.account = p.accounts[1]
			p.chain.state(t, s, sides)
		}
	}
}

// compare asks Clouddriver for both accounts at the same time.
func (p *pair) compare(t *testing.T, s step, sides [2]string) {
	t.Helper()
	limit := time.Minute
	if s.soon != "" {
		limit = 90 * time.Second // stock Clouddriver looks every half minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	once := func(ctx context.Context) error {
		var answers [2]said
		var group errgroup.Group
		for i := range sides {
			group.Go(func() (err error) {
				answers[i], err = p.ask(ctx, s, p.accounts[i], sides[i])
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return p.judge(s, answers, sides)
	}
	var err error
	if s.soon != "" {
		err = testenv.Wait(ctx, once)
	} else {
		err = once(ctx)
	}
	if err != nil {
		t.Errorf("%s\n%v", s, err)
	}
}

// judge compares both answers with each other, and with what the case wants.
func (p *pair) judge(s step, answers [2]said, sides [2]string) error {
	for i, a := range answers {
		if !strings.Contains(a.stdout, s.soon) {
			return fmt.Errorf("account %s: %q is not in the answer yet: %.2000s", p.accounts[i], s.soon, a.stdout)
		}
		if failed := a.exit != 0; failed != (s.failed != nil) {
			return fmt.Errorf("account %s: failed is %v: %.4000s", p.accounts[i], failed, a.stdout)
		}
		if s.failed != nil && !strings.Contains(a.stdout, *s.failed) {
			return fmt.Errorf("account %s: it fails without %q: %.4000s", p.accounts[i], *s.failed, a.stdout)
		}
	}
	if d := difference(s, answers, sides); d != "" {
		return errors.New(strings.ReplaceAll(d, "(- kubectl, + ours)", "(- stock, + agent)"))
	}
	return nil
}

// ask gives Clouddriver an operation or a read. The output is one JSON object; the exit code is 1 for a task that failed and a status
// other than 200.
func (p *pair) ask(ctx context.Context, s step, account, namespace string) (said, error) {
	arguments, body := s.forSide(namespace)
	var answer any
	var failed bool
	var err error
	if s.program == "POST" {
		answer, failed, err = p.post(ctx, arguments[0], strings.ReplaceAll(body, "ACCOUNT", account), account, namespace)
	} else {
		answer, failed, err = p.get(ctx, strings.ReplaceAll(arguments[0], "ACCOUNT", account))
	}
	if err != nil {
		return said{}, err
	}
	text, err := json.Marshal(answer)
	out := said{stdout: maskAccount(string(text), account) + "\n"}
	if failed {
		out.exit = 1
	}
	return out, err
}

// maskAccount takes an account's name for a word.
func maskAccount(text, account string) string {
	return regexp.MustCompile(`\b`+regexp.QuoteMeta(account)+`\b`).ReplaceAllString(text, "ACCOUNT")
}

// post asks for one operation and returns what its task says and made.
func (p *pair) post(ctx context.Context, operation, body, account, namespace string) (any, bool, error) {
	description := map[string]any{}
	if err := sigsyaml.Unmarshal([]byte(body), &description); err != nil {
		return nil, false, err
	}
	given := map[string]any{"account": account, "credentials": account, "cloudProvider": "kubernetes"}
	switch operation {
	case "deployManifest", "runJob", "cleanupArtifacts":
		given["source"] = "text"
		given["moniker"] = map[string]any{"app": namespace}
		given["application"] = namespace
		given["optionalArtifacts"], given["requiredArtifacts"] = []any{}, []any{}
		given["enableTraffic"] = true
	}
	maps.Copy(given, description)
	task, _, err := p.REST().Run(ctx, testenv.Op{operation: given})
	if err != nil {
		return refusal(err)
	}
	var history []string
	for _, line := range task.History {
		history = append(history, maskText(maskAccount(line.Phase+": "+line.Status, account), namespace))
	}
	slices.Sort(history) // lines of one millisecond come in any order
	for _, result := range task.ResultObjects {
		sortLists(result)
	}
	return map[string]any{"history": history, "status": task.Status.Status, "results": task.ResultObjects}, task.Status.Failed, nil
}

// sortLists orders the lists of a result, which are sets to Clouddriver: their order follows from hashes of names.
func sortLists(result map[string]any) {
	for _, value := range result {
		switch v := value.(type) {
		case []any:
			sortByJSON(v)
		case map[string]any:
			sortLists(v)
		}
	}
}

func (p *pair) get(ctx context.Context, path string) (any, bool, error) {
	var body any
	if err := p.REST().Get(ctx, path, &body); err != nil {
		return refusal(err)
	}
	return map[string]any{"status": 200, "body": body}, false, nil
}

// refusal is what a caller is shown of a status other than 200.
func refusal(err error) (any, bool, error) {
	var status *testenv.StatusError
	if !errors.As(err, &status) {
		return nil, false, err
	}
	var said struct{ Error, Message string }
	_ = json.Unmarshal([]byte(status.Body), &said)
	return map[string]any{"status": status.Code, "error": said.Error, "message": said.Message}, true, nil
}
