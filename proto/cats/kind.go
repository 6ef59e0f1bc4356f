package cats

import "strings"

// Type is the name of one of Clouddriver's tables: "applications", "clusters", or a kind as its class KubernetesKind
// spells it: "replicaSet", "CronTab.stable.example.com".
type Type string

// The two types that are not kinds.
const (
	Applications Type = "applications"
	Clusters     Type = "clusters"
)

// Kinds that the format treats in a way of their own.
const (
	deployment  Type = "deployment"
	event       Type = "event"
	ingress     Type = "ingress"
	replicaSet  Type = "replicaSet"
	secret      Type = "secret"
	service     Type = "service"
	statefulSet Type = "statefulSet"
	pod         Type = "pod"
)

// SpinnakerKind is what Spinnaker calls a group of kinds.
type SpinnakerKind string

// Clouddriver's SpinnakerKind.
const (
	ServerGroupManagers SpinnakerKind = "serverGroupManagers"
	ServerGroups        SpinnakerKind = "serverGroups"
	Instances           SpinnakerKind = "instances"
	LoadBalancers       SpinnakerKind = "loadBalancers"
	SecurityGroups      SpinnakerKind = "securityGroups"
	Configs             SpinnakerKind = "configs"
	Unclassified        SpinnakerKind = "unclassified"
)

// unhandled is the group of kinds that Clouddriver knows by name and has no handler for: its cacheAll leaves them out.
const unhandled SpinnakerKind = ""

// natives holds the kinds that Clouddriver knows by name (KubernetesKind, and the spinnakerKind() of each handler).
var natives = []struct {
	kind  Type
	alias string
	group SpinnakerKind
}{
	{"apiService", "", Unclassified},
	{"clusterRole", "", Unclassified},
	{"clusterRoleBinding", "", Unclassified},
	{"configMap", "cm", Configs},
	{"controllerRevision", "", Unclassified},
	{"cronJob", "", ServerGroups},
	{"csiDriver", "", unhandled},
	{"csiNode", "", unhandled},
	{"customResourceDefinition", "crd", Unclassified},
	{"daemonSet", "ds", ServerGroups},
	{deployment, "deploy", ServerGroupManagers},
	{event, "", Unclassified},
	{"horizontalpodautoscaler", "hpa", Unclassified},
	{ingress, "", LoadBalancers},
	{"job", "", ServerGroups},
	{"limitRange", "", Unclassified},
	{"mutatingWebhookConfiguration", "", Unclassified},
	{"namespace", "ns", Unclassified},
	{"networkPolicy", "netpol", SecurityGroups},
	{"persistentVolume", "pv", Configs},
	{"persistentVolumeClaim", "pvc", Configs},
	{pod, "po", Instances},
	{"podDisruptionBudget", "", Unclassified},
	{"podPreset", "", Unclassified},
	{"podSecurityPolicy", "", Unclassified},
	{replicaSet, "rs", ServerGroups},
	{"role", "", Unclassified},
	{"roleBinding", "", Unclassified},
	{secret, "", Configs},
	{service, "svc", LoadBalancers},
	{"serviceAccount", "sa", Unclassified},
	{statefulSet, "", ServerGroups},
	{"storageClass", "sc", Unclassified},
	{"validatingWebhookConfiguration", "", Unclassified},
}

// nativeGroups are the API groups that a kind's name leaves out (KubernetesApiGroup.NATIVE_GROUPS).
var nativeGroups = map[string]bool{
	"": true, "core": true, "batch": true, "apps": true, "extensions": true, "storage.k8s.io": true,
	"apiextensions.k8s.io": true, "apiregistration.k8s.io": true, "autoscaling": true,
	"admissionregistration.k8s.io": true, "policy": true, "scheduling.k8s.io": true, "settings.k8s.io": true,
	"authorization.k8s.io": true, "authentication.k8s.io": true, "rbac.authorization.k8s.io": true,
	"certificates.k8s.io": true, "networking.k8s.io": true,
}

var nativeKinds, spinnakerKinds = func() (map[string]Type, map[Type]SpinnakerKind) {
	kinds, groups := make(map[string]Type), make(map[Type]SpinnakerKind)
	for _, n := range natives {
		kinds[strings.ToLower(string(n.kind))] = n.kind
		groups[n.kind] = n.group
		if n.alias != "" {
			kinds[n.alias] = n.kind
		}
	}
	// What Clouddriver calls an object without a kind.
	kinds["none"] = "none"
	return kinds, groups
}()

// TypeOf returns the type of a kind as an object states it: TypeOf("apps/v1", "ReplicaSet") is "replicaSet",
// TypeOf("stable.example.com/v1", "CronTab") is "CronTab.stable.example.com". Aliases ("rs") count, and case does not.
func TypeOf(apiVersion, kind string) Type {
	group := ""
	if i := strings.IndexByte(apiVersion, '/'); i > 0 {
		group = apiVersion[:i]
	}
	return typeOf(group, kind)
}

// ParseType reads a kind as configuration spells it, "rs" or "CronTab.stable.example.com".
func ParseType(qualified string) Type {
	kind, group, _ := strings.Cut(qualified, ".")
	return typeOf(group, kind)
}

func typeOf(group, kind string) Type {
	if kind == "" {
		return "none"
	}
	group = strings.ToLower(group)
	if !nativeGroups[group] {
		return Type(kind + "." + group)
	}
	if t, ok := nativeKinds[kind]; ok {
		return t
	}
	if t, ok := nativeKinds[strings.ToLower(kind)]; ok {
		return t
	}
	return Type(kind)
}

// Equal tells whether Clouddriver takes two types for the same: case does not count.
func (t Type) Equal(other Type) bool { return strings.EqualFold(string(t), string(other)) }

// Native tells whether Clouddriver knows the kind by name: its core agent is the one that would cache it.
func (t Type) Native() bool {
	_, ok := spinnakerKinds[t]
	return ok
}

// SpinnakerKind returns the group that Clouddriver's global kind map (KubernetesSpinnakerKindMap) has for the type. The
// spinnakerKind of an account's customResources changes what its handlers do, not what is cached.
func (t Type) SpinnakerKind() SpinnakerKind {
	if k := spinnakerKinds[t]; k != unhandled {
		return k
	}
	return Unclassified
}

// logical tells whether the type is one of the two that are not kinds.
func (t Type) logical() bool { return t == Applications || t == Clusters }

// NativeTypes returns the kinds that Clouddriver has a handler for, sorted: what its cacheAll caches beside custom resources.
func NativeTypes() []Type {
	types := make([]Type, 0, len(natives))
	for _, n := range natives {
		if n.group != unhandled {
			types = append(types, n.kind)
		}
	}
	return types
}

// DefaultTypes returns the kinds that stock Clouddriver caches unless it is configured otherwise
// (KubernetesCachingAgent.SPINNAKER_UI_KINDS), sorted.
func DefaultTypes() []Type {
	var types []Type
	for _, n := range natives {
		switch n.group {
		case ServerGroupManagers, ServerGroups, Instances, LoadBalancers, SecurityGroups:
			types = append(types, n.kind)
		}
	}
	return types
}
