package cats

import (
	"strings"
	"testing"
)

// The expected names are those of Clouddriver's own SqlNamesTest.
func TestTableNamesAreShortenedLikeClouddriver(t *testing.T) {
	ten := strings.Repeat("abcdefghij", 10)
	for _, c := range []struct{ base, name, suffix, want string }{
		{"cats_v1_", "hello", "", "cats_v1_hello"},
		{"cats_v1_", "hello", "world", "cats_v1_helloworld"},
		{"cats_v1_", ten, "", "cats_v1_abcdefghijabcdefghijabcdefghijabcdefghijaa7d0fee7e891a66"},
		{"cats_v1_", ten, "_rel", "cats_v1_abcdefghijabcdefghijabcdefghijabcdef9246690b33571ecc_rel"},
		{"cats_v1_", ten, strings.Repeat("suffix", 10), "cats_v1_abcdefghijabcdefghijabcdefghijabcdefghijfe546a736182e553"},
	} {
		if got := shortenTable(c.base, c.name, c.suffix); got != c.want {
			t.Errorf("shortenTable(%q, %q, %q) = %q, want %q", c.base, c.name, c.suffix, got, c.want)
		}
	}
}

func TestTableNamesReplaceWhatSQLDoesNotTake(t *testing.T) {
	for _, c := range []struct {
		namespace string
		t         Type
		rel       bool
		want      string
	}{
		{"", "applications", false, "cats_v1_applications"},
		{"", "replicaSet", true, "cats_v1_replicaSet_rel"},
		{"", "CronTab.stable.example.com", false, "cats_v1_CronTab_stable_example_com"},
		{"blue", "Widget.golden-test.example.com", true, "cats_v1_blue_Widget_golden_test_example_com_rel"},
	} {
		got := TableName(c.namespace, c.t, c.rel)
		if c.want != got {
			t.Errorf("TableName(%q, %q, %v) = %q, want %q", c.namespace, c.t, c.rel, got, c.want)
		}
		if len(got) > maximumTableName {
			t.Errorf("TableName(%q, %q, %v) has %d characters", c.namespace, c.t, c.rel, len(got))
		}
	}
}

func TestTableNamesStayShortWhateverTheNamespace(t *testing.T) {
	for n := range MaximumTableNamespace + 1 {
		for _, rel := range []bool{false, true} {
			name := TableName(strings.Repeat("n", n), "ManagedControlPlaneTemplate.infrastructure.cluster.x-k8s.io", rel)
			if len(name) > maximumTableName {
				t.Errorf("namespace of %d characters gives %q", n, name)
			}
		}
	}
}

// The expected names are those of Clouddriver's own SqlNamesTest.
func TestAgentNamesAreShortenedLikeClouddriver(t *testing.T) {
	ten, twenty := strings.Repeat("abcdefghij", 10), strings.Repeat("abcdefghij", 20)
	for _, c := range [][2]string{
		{"myagent", "myagent"},
		{twenty, "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdebb43b982e477772faa2e899f65d0a86b"},
		{ten + ":" + ten, "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij:20f5a9d8d3f4f18cfec8a40eda"},
		{"abcdefghij:" + twenty, "abcdefghij:abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd5bfa5c163877f247769cd6b488dff339"},
	} {
		if got := shortenAgent(c[0]); got != c[1] {
			t.Errorf("shortenAgent(%q) = %q, want %q", c[0], got, c[1])
		}
	}
}

func TestAgentNamesAreThoseOfStockAgentsWithOneThread(t *testing.T) {
	for _, c := range []struct {
		t      Type
		custom bool
		want   string
	}{
		{"pod", false, "a/KubernetesCoreCachingAgent[1/1]"},
		{Applications, false, "a/KubernetesCoreCachingAgent[1/1]"},
		{Clusters, false, "a/KubernetesCoreCachingAgent[1/1]"},
		{"CronTab.stable.example.com", false, "a/KubernetesUnregisteredCustomResourceCachingAgent[1/1]"},
		{"CronTab.stable.example.com", true, "a/CustomKubernetes(CronTab.stable.example.com)[1/1]"},
	} {
		if got := AgentName("a", c.t, c.custom); got != c.want {
			t.Errorf("AgentName(%q, %v) = %q, want %q", c.t, c.custom, got, c.want)
		}
	}
	if got, want := RelAgentName("a", "pod", false), "pod:a/KubernetesCoreCachingAgent[1/1]"; got != want {
		t.Errorf("RelAgentName = %q, want %q", got, want)
	}
}
