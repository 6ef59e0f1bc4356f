package fakekube

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/testenv"
	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// discovered is what client-go makes of discovery, a line for each kind; only those that keep says.
func discovered(t *testing.T, config *rest.Config, legacy bool, keep func(string) bool) (lines []string) {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfigAndClient(config, newTalk(t, config).client)
	if err != nil {
		t.Fatal(err)
	}
	client.UseLegacyDiscovery = legacy
	groups, resources, err := client.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) == 0 {
		t.Error("no groups")
	}
	for _, list := range resources {
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") && keep(list.GroupVersion+" "+r.Name) {
				lines = append(lines, fmt.Sprint(list.GroupVersion, " ", r.Name, " ", r.SingularName, " ", r.Kind, " ", r.Namespaced, " ", r.ShortNames, " ", slices.Sorted(slices.Values(r.Verbs))))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func TestDiscoveryIsThatOfARealAPIServerAsFarAsItHasTheKinds(t *testing.T) {
	file, err := os.ReadFile(testenv.Kube(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := Start(t).Add("fake").Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, r := range builtIn() {
		known[r.groupVersion()+" "+r.Plural] = true
	}
	for _, legacy := range []bool{false, true} {
		real := discovered(t, clientConfig(t, file), legacy, func(name string) bool { return known[name] })
		fake := discovered(t, clientConfig(t, kubeconfig), legacy, func(string) bool { return true })
		if len(fake) != len(builtIn()) {
			t.Errorf("legacy %v: %d kinds of %d", legacy, len(fake), len(builtIn()))
		}
		if difference := cmp.Diff(real, fake); difference != "" {
			t.Errorf("legacy %v: - real, + fake:\n%s", legacy, difference)
		}
	}
}
