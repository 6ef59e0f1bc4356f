package parity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// rounds are what came of the classes of views, by round.
type rounds map[string]map[string]*count

// print prints what was compared, and fails where that is too little.
func (r rounds) print(t *testing.T, version string) {
	t.Helper()
	t.Logf("Clouddriver %s: views compared / with content / different%s\n%s", version, r, r.families())
	for _, name := range slices.Sorted(maps.Keys(r)) {
		total := count{}
		for class, n := range r[name] {
			total.add(*n)
			if n.full == 0 && !contentless[class] {
				t.Errorf("%s: no view of %s has content", name, class)
			}
		}
		if total.full < leastViews && !t.Failed() {
			t.Errorf("%s: %d views with content are fewer than %d", name, total.full, leastViews)
		}
	}
}

// String is a table of classes and rounds.
func (r rounds) String() string {
	names, classes := slices.Sorted(maps.Keys(r)), map[string]bool{}
	for _, counts := range r {
		for class := range counts {
			classes[class] = true
		}
	}
	var text strings.Builder
	line := func(title string, cell func(round string) string) {
		_, _ = fmt.Fprintf(&text, "\n%-108s", title)
		for _, name := range names {
			_, _ = fmt.Fprintf(&text, "%24s", cell(name))
		}
	}
	line("view", func(round string) string { return round })
	total := map[string]*count{}
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		line(class, func(round string) string {
			n := r[round][class]
			if n == nil {
				return "-"
			}
			if total[round] == nil {
				total[round] = &count{}
			}
			total[round].add(*n)
			return n.String()
		})
	}
	line("all", func(round string) string { return total[round].String() })
	return text.String()
}

// families are the rounds by family.
func (r rounds) families() rounds {
	sums := rounds{}
	for round, counts := range r {
		sums[round] = map[string]*count{}
		for class, n := range counts {
			f := family(class)
			if sums[round][f] == nil {
				sums[round][f] = &count{}
			}
			sums[round][f].add(*n)
		}
	}
	return sums
}

// family is what a class of views belongs to in the table of docs/parity.md.
func family(class string) string {
	path, _, _ := strings.Cut(class, "?")
	switch {
	case strings.HasPrefix(path, inCluster):
		return "/applications/{app}/clusters/…/{cluster}/kubernetes…"
	case strings.HasPrefix(path, "/applications/{app}/"):
		return strings.Join(strings.SplitN(path, "/", 5)[:4], "/")
	case strings.HasPrefix(path, "/kubernetes/"):
		return "/kubernetes/loadBalancers"
	case path == "/applications/{app}":
		return path
	}
	return "/" + strings.SplitN(path, "/", 3)[1]
}

// contentless are views that say nothing for Kubernetes, or only that a name is not known.
var contentless = map[string]bool{
	"/kubernetes/loadBalancers": true, // KubernetesLoadBalancerProvider.list is empty
	"/elasticIps/ACCOUNT":       true,
	"/search?q":                 true, // the type is mandatory
	// KubernetesClusterProvider says that it supports clusters without details, and gives these no server groups, of which ClusterController
	// then finds none.
	inCluster + "/serverGroups?expand":                               true,
	inCluster + "/serverGroups/{name}":                               true,
	inCluster + "/serverGroups/{name}?region":                        true,
	inCluster + "/{region}/serverGroups/target/{target}":             true,
	inCluster + "/{region}/serverGroups/target/{target}?onlyEnabled": true,
	inCluster + "/{region}/serverGroups/target/{target}/{summary}":   true,
}

func (n *count) add(more count) {
	n.compared, n.full, n.different = n.compared+more.compared, n.full+more.full, n.different+more.different
}

func (n *count) String() string {
	if n == nil {
		return "-"
	}
	return fmt.Sprintf("%d / %d / %d", n.compared, n.full, n.different)
}
