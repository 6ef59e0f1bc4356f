package fakekube

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource is a kind that an API server has.
type Resource struct {
	Group, Version, Kind string
	// Plural is the name in paths, Singular another one that kubectl takes; "": Kind in lower case.
	Plural, Singular string
	ShortNames       []string
	ClusterScoped    bool
	// Verbs that discovery offers; nil: all.
	Verbs []string
	// Custom resources say in lists what they are; built-in kinds do not.
	Custom bool
}

var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

func (r *Resource) groupVersion() string {
	if r.Group == "" {
		return r.Version
	}
	return r.Group + "/" + r.Version
}

func (r *Resource) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Plural}
}

func (r *Resource) singular() string {
	if r.Singular != "" {
		return r.Singular
	}
	return strings.ToLower(r.Kind)
}

func (r *Resource) verbs() []string {
	if r.Verbs == nil {
		return allVerbs
	}
	return r.Verbs
}

// builtIn are the kinds that every cluster has: those that Clouddriver caches by default, and those that the agent looks at.
func builtIn() []Resource {
	list := []Resource{
		{Kind: "Namespace", Plural: "namespaces", ShortNames: []string{"ns"}, ClusterScoped: true,
			Verbs: slices.DeleteFunc(slices.Clone(allVerbs), func(v string) bool { return v == "deletecollection" })},
		{Kind: "Pod", Plural: "pods", ShortNames: []string{"po"}},
		{Kind: "Service", Plural: "services", ShortNames: []string{"svc"}},
		{Kind: "ConfigMap", Plural: "configmaps", ShortNames: []string{"cm"}},
		{Kind: "Secret", Plural: "secrets"},
		{Kind: "Event", Plural: "events", ShortNames: []string{"ev"}},
		{Kind: "ServiceAccount", Plural: "serviceaccounts", ShortNames: []string{"sa"}},
		{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Plural: "customresourcedefinitions", ShortNames: []string{"crd", "crds"}, ClusterScoped: true},
		{Group: "apps", Kind: "Deployment", Plural: "deployments", ShortNames: []string{"deploy"}},
		{Group: "apps", Kind: "ReplicaSet", Plural: "replicasets", ShortNames: []string{"rs"}},
		{Group: "apps", Kind: "StatefulSet", Plural: "statefulsets", ShortNames: []string{"sts"}},
		{Group: "apps", Kind: "DaemonSet", Plural: "daemonsets", ShortNames: []string{"ds"}},
		{Group: "batch", Kind: "Job", Plural: "jobs"},
		{Group: "batch", Kind: "CronJob", Plural: "cronjobs", ShortNames: []string{"cj"}},
		{Group: "networking.k8s.io", Kind: "Ingress", Plural: "ingresses", ShortNames: []string{"ing"}},
		{Group: "networking.k8s.io", Kind: "NetworkPolicy", Plural: "networkpolicies", ShortNames: []string{"netpol"}},
	}
	for i := range list {
		list[i].Version = "v1"
	}
	return list
}
