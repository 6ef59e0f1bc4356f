package bridge

import (
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/proto/logs"
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
	changing := &slog.LevelVar{}
	changing.Set(level)
	return logs.New(out, logs.Options{Text: cfg.Log.Format == "text", Level: changing, Always: []string{"audit"}})
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
