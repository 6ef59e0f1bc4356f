package config

import "testing"

func TestServerSideApplyIsDecidedByKindThenForAllThenByTheManifest(t *testing.T) {
	policy := ServerSideApply{Enabled: "never", Kinds: map[string]string{"configmap": "always", "deployment.apps": "allowed", "deployment": "always"}}
	for _, c := range []struct {
		policy                  ServerSideApply
		kind, group, annotation string
		want                    bool
	}{
		{ServerSideApply{}, "ConfigMap", "", "", false},
		{ServerSideApply{}, "ConfigMap", "", "enabled", true},
		{ServerSideApply{}, "ConfigMap", "", "True", true},
		{ServerSideApply{}, "ConfigMap", "", "disabled", false},
		{ServerSideApply{Enabled: "allowed"}, "ConfigMap", "", "true", true},
		{ServerSideApply{Enabled: "always"}, "Job", "batch", "", true},
		{ServerSideApply{Enabled: "never"}, "Job", "batch", "enabled", false},
		{policy, "ConfigMap", "", "", true},
		{policy, "Deployment", "apps", "", false},
		{policy, "Deployment", "apps", "true", true},
		{policy, "Deployment", "elsewhere.example.com", "", true},
		{policy, "Secret", "", "true", false},
	} {
		if got := c.policy.Applies(c.kind, c.group, c.annotation); got != c.want {
			t.Errorf("%v %s.%s %q: %v", c.policy, c.kind, c.group, c.annotation, got)
		}
	}
}
