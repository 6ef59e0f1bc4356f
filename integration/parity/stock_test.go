package parity

import (
	"context"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairlead/fairlead/testenv/golden"
)

// stockErrs shows where stock Clouddriver's views are wrong and an agent's are not. Why, proto/cats/stock_test.go says, with the differences
// that no view shows.
func stockErrs(t *testing.T, s *suite) {
	objects, err := golden.Corpus()
	must(t, err)
	must(t, s.cluster.Create(t.Context(), slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
		// Owned-service would make an application Web beside web, which MySQL takes for one: no view of either says much then.
		return o.GetKind() == "Event" || o.GetName() == "owned-service"
	})))
	for _, cronJob := range []ref{{"batch/v1", "CronJob", "golden", "nightly"}, {"batch/v1", "CronJob", "parity", "never"}} {
		must(t, s.remove(t.Context(), cronJob, true))
	}
	s.settle(t, false)

	const (
		balancer    = "/kubernetes/loadBalancers/ACCOUNT/golden/service%20"
		serverGroup = "/serverGroups/ACCOUNT/golden/"
	)
	back := []string{"replicaSet shop-prod-eu-v012"}
	for name, c := range map[string]struct {
		path, list    string
		stock, agents []string // names that the list has
		lacks         []string // and that stock's lacks
	}{
		"stock finds what an annotated service selects": {balancer + "back", "serverGroups", back, back, nil},
		"and forgets it of one without annotations":     {balancer + "back-unannotated", "serverGroups", nil, back, back},
		"and the service of a stateful set without annotations": {
			serverGroup + "statefulSet%20unannotated", "loadBalancers", nil, []string{"service store"}, []string{"service store"},
		},
		"and what a service selects after one that selects less": {
			serverGroup + "replicaSet%20shop-prod-eu-v013", "loadBalancers", nil, []string{"service shop-all"}, []string{"service shop-all"},
		},
	} {
		for _, p := range s.pairs {
			of := [2][]string{s.names(t, c.path, p.stock, c.list), s.names(t, c.path, p.agent, c.list)}
			for i, want := range [2][]string{c.stock, c.agents} {
				for _, one := range want {
					if !slices.Contains(of[i], one) {
						t.Errorf("%s: account %s lacks %s: %v", name, p.accounts()[i], one, of[i])
					}
				}
			}
			for _, one := range c.lacks {
				if slices.Contains(of[0], one) {
					t.Errorf("%s: account %s has %s: this is no difference any more", name, p.stock, one)
				}
			}
		}
	}
	t.Run("stock keeps the last object of a kind", func(t *testing.T) {
		for _, p := range s.pairs {
			for account, want := range map[string]bool{p.stock: true, p.agent: false} {
				answer, err := s.get(t.Context(), "/serverGroups/"+account+"/parity/cronJob%20never")
				must(t, err)
				if there := !empty(answer); there != want {
					t.Errorf("account %s shows the deleted cron job: %v", account, there)
				}
			}
		}
	})
}

// names are the members of a list of a view: texts, or the names of objects.
func (s *suite) names(t *testing.T, path, account, field string) []string {
	t.Helper()
	answer, err := s.get(t.Context(), pathFor(path, account))
	must(t, err)
	if items := list(answer); len(items) > 0 {
		answer = items[0]
	}
	if empty(answer) {
		t.Errorf("GET %s: %v", pathFor(path, account), answer)
	}
	var names []string
	for _, item := range list(member(answer, field)) {
		if name, ok := item.(string); ok {
			names = append(names, name)
			continue
		}
		names = append(names, text(item, "name"))
	}
	return names
}

// pages compares a search that is read by pages with the same search in one answer, on both accounts. The order of results is that of hash
// sets; which of them is on which page says nothing.
func pages(t *testing.T, s *suite) {
	const size = 4
	for _, p := range s.pairs {
		for _, kind := range []string{"instances", "serverGroups"} {
			var read [2][]any
			for i, account := range p.accounts() {
				part := s.projection(account, false)
				search := "/search?platform=kubernetes&type=" + kind + "&q=" + escape(":"+account+":golden:")
				whole := s.results(t, part, search)
				for page := 1; ; page++ {
					found := s.results(t, part, search+"&pageSize=4&page="+string(rune('0'+page)))
					read[i] = append(read[i], found...)
					if len(found) > size || page > 9 {
						t.Fatalf("account %s: page %d has %d results", account, page, len(found))
					}
					if len(found) < size {
						break
					}
				}
				sortByJSON(read[i])
				if !equalSets(whole, read[i]) || len(whole) == 0 {
					t.Errorf("account %s: the pages of %s have %d results, and all together %d", account, kind, len(read[i]), len(whole))
				}
			}
			if !equalSets(read[0], read[1]) {
				t.Errorf("%s and %s do not find the same %s", p.stock, p.agent, kind)
			}
		}
	}
}

func (s *suite) results(t *testing.T, part projection, path string) []any {
	t.Helper()
	answer, err := s.get(t.Context(), path)
	must(t, err)
	projected, _ := part.of(answer)
	if items := list(projected); len(items) == 1 {
		found := list(member(items[0], "results"))
		if total, _ := member(items[0], "totalMatches").(float64); int(total) != len(found) {
			t.Errorf("GET %s: %d results of %v", path, len(found), total)
		}
		return found
	}
	t.Fatalf("GET %s: %v", path, projected)
	return nil
}

// refreshes compares what POST /cache and GET /cache answer. Nothing caches Kubernetes on demand, in any Clouddriver since 1.22: what Orca,
// scripts and old pipelines ask for is accepted, and is never pending.
func refreshes(ctx context.Context, t *testing.T, s *suite) {
	for _, p := range s.pairs {
		for _, kind := range []string{"manifest", "Manifest", "serverGroup", "loadBalancer", "no-such-type"} {
			var parts [2]any
			for i, account := range p.accounts() {
				part := s.projection(account, false)
				var posted any
				body := map[string]any{"account": account, "location": "golden", "name": "deployment web-frontend", "region": "golden"}
				posted = s.answer(ctx, t, "POST", "/cache/kubernetes/"+kind, body)
				pending := s.answer(ctx, t, "GET", "/cache/kubernetes/"+kind, nil)
				one := s.answer(ctx, t, "GET", "/cache/kubernetes/"+kind+"?id=x", nil)
				parts[i], _ = part.of([]any{posted, pending, one})
			}
			if !equalJSON(parts[0], parts[1]) {
				t.Errorf("on-demand caching of %s: %s answers %v, %s %v", kind, p.stock, parts[0], p.agent, parts[1])
			}
			if status := text(list(parts[1])[0], "status"); kind == "manifest" && status != "200" {
				t.Errorf("POST /cache/kubernetes/manifest for %s: %v", p.agent, parts[1])
			}
		}
	}
}
