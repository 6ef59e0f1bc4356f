package main

import (
	"path/filepath"
	"strings"

	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/golden"
	"github.com/spf13/cobra"
)

func goldenCommand() *cobra.Command {
	var generation golden.Generation
	command := &cobra.Command{
		Use:   "golden",
		Short: "Record again what real Clouddrivers make of the corpus (testenv/golden), for the tests of proto/cats",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			generation.Progress = command.ErrOrStderr()
			return golden.Generate(command.Context(), generation)
		},
	}
	flags := command.Flags()
	flags.StringVar(&generation.Directory, "out", filepath.Join("proto", "cats", "testdata", "golden"), "directory of the records")
	flags.StringSliceVar(&generation.Versions, "clouddriver", testenv.Versions(), "versions of Clouddriver, of "+strings.Join(testenv.Versions(), ", "))
	return command
}
