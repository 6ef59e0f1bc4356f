package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/bridge/internal/kubesvc"
)

func configCommand() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Work with configuration", Args: cobra.NoArgs}
	parent.AddCommand(&cobra.Command{
		Use: "check PROFILE...", Short: "Say what becomes of the replaced plugin's settings in profiles of Clouddriver", Args: cobra.MinimumNArgs(1),
		Long: "Reads profiles of Clouddriver (clouddriver-local.yml) and says for each setting of the replaced product's plugin (kubesvc, armory.kubesvc) where it moved,\n" +
			"why it is obsolete, or why it cannot be had. It talks to nobody. The exit code is 0 when nothing is refused or unknown.\n\n" +
			"An agent's file is checked by `fairlead-agent config check`, a bridge's by the bridge when it starts.",
		RunE: func(c *cobra.Command, files []string) error {
			table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			open := 0
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				found, err := kubesvc.Check(content)
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				if len(found) == 0 {
					fmt.Fprintf(table, "%s\tno setting of the replaced plugin\n", file)
				}
				for _, s := range found {
					if s.Fate == kubesvc.Refused || s.Fate == kubesvc.Unknown {
						open++
					}
					fmt.Fprintf(table, "%s:%d\t%s\t%s\t%s\n", file, s.Line, s.Path, s.Fate, s.Text)
				}
			}
			if err := table.Flush(); err != nil {
				return err
			}
			if open > 0 {
				return fmt.Errorf("%d settings are refused or unknown", open)
			}
			return nil
		},
	})
	return parent
}
