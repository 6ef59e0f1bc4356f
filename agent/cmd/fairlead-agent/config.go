package main

import (
	"fmt"
	"io"

	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/spf13/cobra"
)

func configCommand(file *string) *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Work with the configuration", Args: cobra.NoArgs}
	parent.AddCommand(&cobra.Command{
		Use:   "check",
		Short: "Read the configuration, say what is wrong with it, and exit",
		Long: "Reads the configuration as the agent would, without talking to anybody, and says which keys have no effect and what is\n" +
			"wrong. The exit code is 0 when every account can be served.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return check(cmd.OutOrStdout(), *file) },
	})
	parent.AddCommand(&cobra.Command{
		Use: "schema", Short: "Print the configuration's JSON Schema, for editors and pipelines", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(schema))
			return err
		},
	})
	return parent
}

func check(out io.Writer, file string) error {
	settings, err := config.Load(config.Options{File: file})
	if err != nil {
		return err
	}
	for _, f := range settings.Files {
		fmt.Fprintln(out, "read   ", f)
	}
	for _, n := range settings.Notes {
		word := "note   "
		if n.Warning {
			word = "warning"
		}
		fmt.Fprintln(out, word, n)
	}
	for _, a := range settings.Accounts {
		fmt.Fprintln(out, "account", a.Name)
	}
	for _, r := range settings.Refused {
		fmt.Fprintf(out, "refused %s\n%v\n", r.Name, r.Err)
	}
	if n := len(settings.Refused); n > 0 {
		return fmt.Errorf("%d of %d accounts cannot be served", n, n+len(settings.Accounts))
	}
	return nil
}
