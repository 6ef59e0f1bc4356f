package cats

import (
	"slices"
	"testing"
)

func TestKindsAreSpelledAsClouddriverSpellsThem(t *testing.T) {
	for _, c := range []struct {
		apiVersion, kind string
		want             Type
	}{
		{"apps/v1", "ReplicaSet", "replicaSet"},
		{"apps/v1", "REPLICASET", "replicaSet"},
		{"extensions/v1beta1", "rs", "replicaSet"},
		{"v1", "Pod", "pod"},
		{"v1", "po", "pod"},
		{"", "svc", "service"},
		{"autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscaler"},
		{"apiextensions.k8s.io/v1", "CustomResourceDefinition", "customResourceDefinition"},
		{"v1", "Endpoints", "Endpoints"},
		{"NETWORKING.k8s.io/v1", "NetworkPolicy", "networkPolicy"},
		{"crd.projectcalico.org/v1", "NetworkPolicy", "NetworkPolicy.crd.projectcalico.org"},
		{"Stable.Example.com/v1", "CronTab", "CronTab.stable.example.com"},
		{"stable.example.com/v1", "po", "po.stable.example.com"},
		{"coordination.k8s.io/v1", "Lease", "Lease.coordination.k8s.io"},
		{"v1", "", "none"},
	} {
		if got := TypeOf(c.apiVersion, c.kind); got != c.want {
			t.Errorf("TypeOf(%q, %q) = %q, want %q", c.apiVersion, c.kind, got, c.want)
		}
		if got := ParseType(string(c.want)); got != c.want {
			t.Errorf("ParseType(%q) = %q", c.want, got)
		}
	}
	if got := ParseType("deploy.apps"); got != "deployment" {
		t.Errorf(`ParseType("deploy.apps") = %q`, got)
	}
	if !ParseType("crontab.stable.example.com").Equal("CronTab.stable.example.com") {
		t.Error("case counts")
	}
}

func TestDefaultTypesAreTheTenOfTheUserInterface(t *testing.T) {
	want := []Type{"cronJob", "daemonSet", "deployment", "ingress", "job", "networkPolicy", "pod", "replicaSet", "service", "statefulSet"}
	if got := DefaultTypes(); !slices.Equal(got, want) {
		t.Errorf("DefaultTypes() = %v, want %v", got, want)
	}
}

func TestSpinnakerKindsAreThoseOfTheGlobalMap(t *testing.T) {
	for typ, want := range map[Type]SpinnakerKind{
		"deployment": ServerGroupManagers, "job": ServerGroups, "pod": Instances, "ingress": LoadBalancers,
		"networkPolicy": SecurityGroups, "configMap": Configs, "role": Unclassified, "CronTab.stable.example.com": Unclassified,
	} {
		if got := typ.SpinnakerKind(); got != want {
			t.Errorf("SpinnakerKind(%s) = %s, want %s", typ, got, want)
		}
	}
}

// Clouddriver has the names csiDriver and csiNode, and no handler for them, so that its cacheAll never asks for them (seen on 1.38 and
// 2026.2: testenv/golden/corpus has a CSIDriver, and no recording has its row).
func TestKindsWithoutAHandlerAreNotAmongThoseThatCacheAllCaches(t *testing.T) {
	for _, typ := range []Type{"csiDriver", "csiNode"} {
		if slices.Contains(NativeTypes(), typ) {
			t.Errorf("%s is among them", typ)
		}
		if !typ.Native() || typ.SpinnakerKind() != Unclassified {
			t.Errorf("%s is not native and unclassified", typ)
		}
	}
	forEachRecording(t, func(t *testing.T, r *recording) {
		for id := range r.stock.bodies {
			if _, key, err := ParseID(id); err == nil && (key.Type == "csiDriver" || key.Type == "csiNode") {
				t.Errorf("stock has the row %s", id)
			}
		}
	})
}
