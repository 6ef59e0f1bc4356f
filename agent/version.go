package agent

import "runtime/debug"

// version is set by the linker: -X github.com/fairlead/fairlead/agent.version=v1.2.3.
var version string

// Version of this build: what the linker said, else the module's version or revision.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	if info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
