package bridge

import (
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/identity"
)

// LoadConfig reads a bridge's configuration: defaults, the file (none if it is ""), the environment.
func LoadConfig(file string) (*config.Config, error) { return config.Load(file, os.LookupEnv) }

// ConfigKeys lists the keys of the configuration.
func ConfigKeys() []config.Key { return config.Keys() }

// CreateKey makes a key file; it never replaces one.
func CreateKey(file string) error { return identity.CreateKey(file) }

// AddKey adds a new key to a key file and returns its id.
func AddKey(file string) (string, error) { return identity.AddKey(file) }

// DropKeys leaves the newest key alone in a key file and returns the ids of the others.
func DropKeys(file string) ([]string, error) { return identity.DropKeys(file) }

// NewLog makes the log that the configuration asks for.
func NewLog(cfg *config.Config, out io.Writer) *slog.Logger {
	var level slog.Level
	// The configuration has been checked; an unknown level stays at info.
	_ = level.UnmarshalText([]byte(cfg.Log.Level))
	options := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "text" {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}

// Version is this program's version: that of its module or, for a build from a work tree, its commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "devel"
}
