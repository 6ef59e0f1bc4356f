package fakekube

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
)

// GitVersion is the release that clusters say they are.
const GitVersion = "v1.34.2"

const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// discover answers what is no kind: the version, health, and which kinds there are. False: it is something else.
func (c *Cluster) discover(w http.ResponseWriter, r *http.Request, path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	whole := strings.HasPrefix(strings.ReplaceAll(r.Header.Get("Accept"), " ", ""), aggregated)
	var content any
	switch {
	case path == "/readyz" || path == "/livez" || path == "/healthz":
		_, _ = w.Write([]byte("ok"))
		return true
	case path == "/version":
		content = version.Info{Major: "1", Minor: "34", GitVersion: GitVersion, Platform: "linux/amd64"}
	case len(parts) == 1 && (parts[0] == "api" || parts[0] == "apis") && whole:
		w.Header().Set("Content-Type", aggregated)
		_, _ = w.Write(must(json.Marshal(c.aggregated(parts[0] == "api"))))
		return true
	case path == "/api":
		content = metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	case path == "/apis":
		content = c.groups()
	case len(parts) == 2 && parts[0] == "api":
		content = c.resourcesOf(parts[1])
	case len(parts) == 2 && parts[0] == "apis":
		content = c.group(parts[1])
	case len(parts) == 3 && parts[0] == "apis":
		content = c.resourcesOf(parts[1] + "/" + parts[2])
	default:
		return false
	}
	if content == nil {
		http.NotFound(w, r)
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(must(json.Marshal(content)))
	return true
}

func (c *Cluster) resourcesOf(groupVersion string) any {
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: groupVersion}
	for _, r := range c.resources() {
		if r.groupVersion() == groupVersion {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: r.Plural, SingularName: r.singular(), Namespaced: !r.ClusterScoped, Kind: r.Kind, Verbs: r.verbs(), ShortNames: r.ShortNames,
			})
		}
	}
	if list.APIResources == nil {
		return nil
	}
	return list
}

func (c *Cluster) groups() metav1.APIGroupList {
	list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, r := range c.resources() {
		if r.Group == "" {
			continue
		}
		i := slices.IndexFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == r.Group })
		if i < 0 {
			i = len(list.Groups)
			list.Groups = append(list.Groups, metav1.APIGroup{Name: r.Group})
		}
		g := &list.Groups[i]
		v := metav1.GroupVersionForDiscovery{GroupVersion: r.groupVersion(), Version: r.Version}
		if !slices.Contains(g.Versions, v) {
			g.Versions = append(g.Versions, v)
		}
		g.PreferredVersion = g.Versions[0]
	}
	return list
}

func (c *Cluster) group(name string) any {
	for _, g := range c.groups().Groups {
		if g.Name == name {
			g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			return g
		}
	}
	return nil
}

func (c *Cluster) aggregated(core bool) apidiscovery.APIGroupDiscoveryList {
	list := apidiscovery.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"}, Items: []apidiscovery.APIGroupDiscovery{}}
	for _, r := range c.resources() {
		if (r.Group == "") != core {
			continue
		}
		i := slices.IndexFunc(list.Items, func(g apidiscovery.APIGroupDiscovery) bool { return g.Name == r.Group })
		if i < 0 {
			i = len(list.Items)
			list.Items = append(list.Items, apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: r.Group}})
		}
		g := &list.Items[i]
		j := slices.IndexFunc(g.Versions, func(v apidiscovery.APIVersionDiscovery) bool { return v.Version == r.Version })
		if j < 0 {
			j = len(g.Versions)
			g.Versions = append(g.Versions, apidiscovery.APIVersionDiscovery{Version: r.Version, Freshness: apidiscovery.DiscoveryFreshnessCurrent})
		}
		scope := apidiscovery.ScopeNamespace
		if r.ClusterScoped {
			scope = apidiscovery.ScopeCluster
		}
		g.Versions[j].Resources = append(g.Versions[j].Resources, apidiscovery.APIResourceDiscovery{
			Resource: r.Plural, ResponseKind: &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind},
			Scope: scope, SingularResource: r.singular(), Verbs: r.verbs(), ShortNames: r.ShortNames,
		})
	}
	return list
}
