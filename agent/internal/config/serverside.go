package config

import (
	"cmp"
	"fmt"
	"strings"
)

// ServerSideAnnotation in a manifest asks for server-side apply, where that is allowed.
const ServerSideAnnotation = "agent-k8s.armory.io/serverside-apply"

// The values of kubernetes.serverSideApply.enabled.
const (
	serverSideAllowed = "allowed"
	serverSideAlways  = "always"
	serverSideNever   = "never"
)

// ServerSideApply decides how a manifest is applied that a deploy stage applies without saying how.
type ServerSideApply struct {
	// Enabled is "allowed", which "" means too, "always" or "never".
	Enabled string
	// Kinds has the same for kinds, in lower case: "configmap", "deployment.apps".
	Kinds map[string]string
}

// Applies tells whether an object is applied server-side. annotation is what its ServerSideAnnotation says.
func (s ServerSideApply) Applies(kind, group, annotation string) bool {
	kind = strings.ToLower(kind)
	switch cmp.Or(s.Kinds[kind+"."+strings.ToLower(group)], s.Kinds[kind], s.Enabled) {
	case serverSideAlways:
		return true
	case serverSideNever:
		return false
	default:
		return strings.EqualFold(annotation, "enabled") || strings.EqualFold(annotation, "true")
	}
}

// serverSide mirrors kubernetes.serverSideApply.
type serverSide struct {
	Enabled string
	Kinds   []struct{ Kind, Enabled string }
}

func (b *builder) serverSide(in serverSide) {
	out := &b.config.Kubernetes.ServerSideApply
	out.Enabled = b.serverSideMode("kubernetes.serverSideApply.enabled", in.Enabled)
	for i, k := range in.Kinds {
		path := fmt.Sprintf("kubernetes.serverSideApply.kinds[%d]", i)
		if k.Kind == "" {
			b.fail("%s.kind: missing; name a kind, as in ConfigMap or Deployment.apps", path)
			continue
		}
		if mode := b.serverSideMode(path+".enabled", k.Enabled); mode != "" {
			if out.Kinds == nil {
				out.Kinds = map[string]string{}
			}
			out.Kinds[strings.ToLower(k.Kind)] = mode
		}
	}
}

func (b *builder) serverSideMode(path, value string) string {
	switch mode := strings.ToLower(value); mode {
	case "", serverSideAllowed, serverSideAlways, serverSideNever:
		return mode
	default:
		b.fail("%s: %q: want allowed (where a manifest's annotation %s asks for it), always or never", path, value, ServerSideAnnotation)
		return ""
	}
}
