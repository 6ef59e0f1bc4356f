package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead/fairlead/testenv/internal/process"
	"go.yaml.in/yaml/v3"
)

// stockAccount is an account that Clouddriver serves by itself.
type stockAccount struct {
	name, kubeconfig, kubectl string
}

// clouddriverPart is what a Clouddriver is started with.
type clouddriverPart struct {
	n        int
	name     string
	dir, log string
	version  string
	port     int
	database *mariadb
	stock    []stockAccount
	// jar is the plugin, bridge the base URL and secretFile the secret of its endpoint; without a jar there is no plugin.
	jar, bridge, secretFile string
	java, classPath         string
	// configure has the last word on the configuration; may be nil.
	configure func(config map[string]any)
	// javaArguments are further ones, which win over ours.
	javaArguments []string
	// answers: its database has all tables, and its port answers.
	answers *later[struct{}]
}

func (c *clouddriverPart) file(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

func (c *clouddriverPart) url() string { return "http://" + loopback(c.port) }

// answering is an error until Clouddriver answers at all: some ten seconds later it says that it is healthy.
func (c *clouddriverPart) answering(ctx context.Context) error {
	err := (&REST{URL: c.url()}).Get(ctx, "/health", nil)
	var status *StatusError
	if errors.As(err, &status) {
		return nil
	}
	return err
}

// config is clouddriver.yml: the Kubernetes provider on SQL and as little else as Clouddriver starts with.
func (c *clouddriverPart) config() map[string]any {
	pool := func(more map[string]any) map[string]any {
		settings := map[string]any{
			"jdbcUrl": "jdbc:mysql://" + loopback(c.database.port) + "/" + databaseName,
			"user":    clouddriverUser, "password": c.database.password,
		}
		if c.version != "1.38" {
			// Without it, newer versions send MariaDB statements that only MySQL knows: health says UP, but no row is written.
			settings["dialect"] = "MARIADB"
		}
		for key, value := range more {
			settings[key] = value
		}
		return settings
	}
	accounts := []any{}
	for _, account := range c.stock {
		accounts = append(accounts, map[string]any{
			"name": account.name, "kubeconfigFile": account.kubeconfig, "kubectlExecutable": account.kubectl,
			// Both cost kubectl calls at the start and tell nothing here: the account may do everything, and there is no
			// metrics server.
			"checkPermissionsOnStartup": false, "metrics": false,
		})
	}
	disabled := map[string]any{"enabled": false}
	config := map[string]any{
		"server":     map[string]any{"address": "127.0.0.1", "port": c.port},
		"spring":     map[string]any{"application": map[string]any{"name": "clouddriver"}},
		"kubernetes": map[string]any{"enabled": true, "accounts": accounts},
		"sql": map[string]any{
			"enabled":        true,
			"taskRepository": map[string]any{"enabled": true},
			"cache":          map[string]any{"enabled": true, "readBatchSize": 500, "writeBatchSize": 300},
			"scheduler":      map[string]any{"enabled": true},
			"connectionPools": map[string]any{
				"default": pool(map[string]any{"default": true}),
				"tasks":   pool(nil),
			},
			"migration": pool(nil),
		},
		"redis": map[string]any{"enabled": false, "cache": disabled, "scheduler": disabled, "taskRepository": disabled},
		// Neither is there, but Clouddriver does not start without their addresses.
		"services": map[string]any{
			"fiat":    map[string]any{"baseUrl": "http://fiat.invalid"},
			"front50": map[string]any{"baseUrl": "http://front50.invalid"},
		},
	}
	extensibility := map[string]any{"plugins-root-path": c.file("plugins"), "enable-default-repositories": false}
	if c.jar != "" {
		extensibility["plugins"] = map[string]any{"Fairlead.Bridge": map[string]any{
			"enabled": true,
			"config":  map[string]any{"bridge": c.bridge, "secretFile": c.secretFile, "stateDir": c.file("plugin-state")},
		}}
	}
	config["spinnaker"] = map[string]any{"extensibility": extensibility}
	return config
}

// arguments are Java's, one a line, as its @file has them.
func (c *clouddriverPart) arguments() string {
	arguments := []string{
		"-Xmx768m", "-XX:+UseSerialGC",
		// The optimising compiler pays off after minutes of load; without it the start takes a third less.
		"-XX:TieredStopAtLevel=1",
		"-XX:-UsePerfData", // a file in /tmp
		"-Djava.io.tmpdir=" + c.file("tmp"),
		// Clouddriver also reads the working directory and ~/.spinnaker; both are empty.
		"-Dspring.config.additional-location=file:" + c.file("config") + "/",
	}
	arguments = append(arguments, c.javaArguments...)
	arguments = append(arguments, "-cp", c.classPath, "com.netflix.spinnaker.clouddriver.Main")
	var lines strings.Builder
	for _, argument := range arguments {
		_, _ = fmt.Fprintf(&lines, "\"%s\"\n", strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(argument))
	}
	return lines.String()
}

// install writes everything that the process reads.
func (c *clouddriverPart) install() (process.Spec, error) {
	for _, directory := range []string{"config", "plugins", "plugin-state", "tmp", "work"} {
		if err := os.MkdirAll(c.file(directory), 0o700); err != nil {
			return process.Spec{}, err
		}
	}
	settings := c.config()
	if c.configure != nil {
		c.configure(settings)
	}
	config, err := yaml.Marshal(settings)
	if err != nil {
		return process.Spec{}, err
	}
	for path, content := range map[string][]byte{
		c.file("config", "clouddriver.yml"): config,
		c.file("java.args"):                 []byte(c.arguments()),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return process.Spec{}, err
		}
	}
	if c.jar != "" {
		jar, err := os.ReadFile(c.jar)
		if err != nil {
			return process.Spec{}, err
		}
		if err := os.WriteFile(c.file("plugins", "fairlead-clouddriver-plugin.jar"), jar, 0o644); err != nil {
			return process.Spec{}, err
		}
	}
	return process.Spec{
		Name: c.name, Dir: c.file("work"), Log: c.log,
		Args:   []string{c.java, "@" + c.file("java.args")},
		Health: c.url() + "/health",
	}, nil
}
