package doctor

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
)

// pluginPatience is how long Clouddriver may take to start, and to come back.
const pluginPatience = 3 * time.Minute

func fleetChecks() []check {
	needsPlugin := func(v *visit) string {
		if v.Plugin == nil {
			return "only a bridge that runs knows whether the plugin calls"
		}
		return ""
	}
	return []check{
		{"plugin-loaded", "Clouddriver's plugin calls", needsPlugin, func(_ context.Context, v *visit) []Finding {
			const fix = "is Clouddriver up? Its log says at start whether Fairlead.Bridge was loaded: spinnaker.extensibility.plugins.Fairlead.Bridge.enabled, the jar in plugins-root-path, and secretFile the same file for both"
			p := v.Plugin
			switch {
			case p.Calling:
				return nil
			case p.Last.IsZero() && v.Now.Sub(p.Since) <= pluginPatience:
				return warning(fmt.Sprintf("Clouddriver's plugin has not called yet; the bridge has listened for %s", v.Now.Sub(p.Since).Round(time.Second)), fix)
			case p.Last.IsZero():
				return fault(fmt.Sprintf("Clouddriver's plugin has never called, in %s: it is not loaded, or it cannot reach this bridge", v.Now.Sub(p.Since).Round(time.Second)), fix)
			case v.Now.Sub(p.Last) > pluginPatience:
				return fault(fmt.Sprintf("Clouddriver's plugin has not called for %s", v.Now.Sub(p.Last).Round(time.Second)), fix)
			}
			return nil
		}},
		{"plugin-version", "plugin and bridge are of one version", func(v *visit) string {
			if why := needsPlugin(v); why != "" {
				return why
			}
			if v.Plugin.Version == "" || !release(v.Version) {
				return "the plugin has not said its version, or this bridge is not a release"
			}
			return ""
		}, func(_ context.Context, v *visit) []Finding {
			plugin, err := version.ParseGeneric(v.Plugin.Version)
			own, ownErr := version.ParseGeneric(v.Version)
			if err == nil && ownErr == nil && plugin.Major() == own.Major() && plugin.Minor() == own.Minor() {
				return nil
			}
			return fault(fmt.Sprintf("Clouddriver has plugin %s, and this bridge is %s", v.Plugin.Version, v.Version),
				"install the plugin of the bridge's version (images and Halyard snippets of one release belong together) and restart Clouddriver")
		}},
		{"agents-current", "no agent is too old", func(v *visit) string {
			if v.Agents == nil {
				return "only a bridge that runs knows its agents"
			}
			return ""
		}, outdatedAgents},
	}
}

func release(v string) bool {
	_, err := version.ParseGeneric(v)
	return err == nil
}

// mostNamed is how many agents are named one by one.
const mostNamed = 10

func outdatedAgents(_ context.Context, v *visit) (found []Finding) {
	more := 0
	for _, a := range v.Agents {
		if a.Outdated == "" {
			continue
		}
		if len(found) == mostNamed {
			more++
			continue
		}
		fix := "upgrade the agent to the bridge's version: helm upgrade, or the image's tag"
		if a.Refused {
			found = append(found, fault(fmt.Sprintf("agent %s (version %s) is too old: %s", a.Name, a.Version, a.Outdated), fix)...)
		} else {
			found = append(found, warning(fmt.Sprintf("agent %s (version %s) is old: %s", a.Name, a.Version, a.Outdated), fix)...)
		}
	}
	if more > 0 {
		found = append(found, warning(fmt.Sprintf("%d more agents should be upgraded", more), "\"fairlead agent list --outdated\" names them")...)
	}
	return found
}
