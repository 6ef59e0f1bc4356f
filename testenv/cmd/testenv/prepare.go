package main

import (
	"fmt"
	"io"
	"time"

	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/internal/build"
	"github.com/spf13/cobra"
)

func prepareCommand() *cobra.Command {
	var only []string
	command := &cobra.Command{
		Use:   "prepare",
		Short: "Build and resolve everything that environments need, so that the next up takes no time for it",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return testenv.Prepare(command.Context(), command.ErrOrStderr(), only...)
		},
	}
	command.Flags().StringSliceVar(&only, "only", nil, "only these parts")
	return command
}

func toolsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tools",
		Short: "Print the directory of the pinned development tools, building them if necessary",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			cache, err := build.Open()
			if err != nil {
				return err
			}
			cache.Tell = tell(command.ErrOrStderr())
			directory, err := cache.Tools(command.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), directory)
			return err
		},
	}
}

// tell writes what takes long.
func tell(out io.Writer) func(string) {
	started := time.Now()
	return func(text string) {
		_, _ = fmt.Fprintf(out, "%6.1fs  %s\n", time.Since(started).Seconds(), text)
	}
}
