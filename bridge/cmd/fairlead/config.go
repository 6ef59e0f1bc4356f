package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/bridge"
	"github.com/fairlead/fairlead/bridge/internal/kubesvc"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func configCommand(o *options) *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Work with configuration"}
	var bridgeFile string
	check := &cobra.Command{
		Use: "check [PROFILE...]", Short: "Say what is wrong with a bridge's file, and what becomes of the replaced plugin's settings in profiles of Clouddriver",
		Long: "Reads profiles of Clouddriver (clouddriver-local.yml) and says for each setting of the replaced product's plugin (kubesvc, armory.kubesvc) where it moved,\n" +
			"why it is obsolete, or why it cannot be had; with --bridge-config also a bridge's file. It talks to nobody. The exit code is 6 when something is refused,\n" +
			"unknown or wrong.\n\nAn agent's file is checked by `fairlead-agent config check`.",
		Args: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 && bridgeFile == "" {
				return fmt.Errorf("no file is named: write profiles of Clouddriver, or --bridge-config fairlead-bridge.yml")
			}
			return nil
		},
		RunE: func(c *cobra.Command, files []string) error { return o.checkConfig(c, bridgeFile, files) },
	}
	check.Flags().StringVar(&bridgeFile, "bridge-config", "", "a bridge's fairlead-bridge.yml")
	parent.AddCommand(check)
	return parent
}

func (o *options) checkConfig(c *cobra.Command, bridgeFile string, files []string) error {
	response := &adminv1.DiagnoseResponse{}
	open, quiet := 0, []string{}
	add := func(where, fate, text string) {
		response.Findings = append(response.Findings, &adminv1.Finding{Check: where, Level: fate, Text: text})
	}
	if bridgeFile != "" {
		if _, err := bridge.LoadConfig(bridgeFile); err != nil {
			open++
			add(bridgeFile, "wrong", err.Error())
		} else {
			quiet = append(quiet, bridgeFile+"\tfine")
		}
	}
	for _, file := range files {
		if other := otherFile(file); other != "" {
			return &failure{exitUsage, file + other}
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return &failure{exitUsage, err.Error()}
		}
		found, err := kubesvc.Check(content)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if len(found) == 0 {
			quiet = append(quiet, file+"\tno setting of the replaced plugin")
		}
		for _, s := range found {
			if s.Fate == kubesvc.Refused || s.Fate == kubesvc.Unknown {
				open++
			}
			add(fmt.Sprintf("%s:%d %s", file, s.Line, s.Path), string(s.Fate), s.Text)
		}
	}
	err := o.print(c.OutOrStdout(), response, func(w io.Writer) {
		for _, line := range quiet {
			fmt.Fprintln(w, line)
		}
		for _, f := range response.GetFindings() {
			row(w, f.GetCheck(), f.GetLevel(), f.GetText())
		}
	})
	if err == nil && open > 0 {
		err = &failure{exitFault, fmt.Sprintf("%d settings are refused, unknown or wrong", open)}
	}
	return err
}

// otherFile says what a file is by its name when it is no profile of Clouddriver: as a profile it would have nothing wrong, whatever is in it.
func otherFile(file string) string {
	switch name := filepath.Base(file); {
	case strings.HasPrefix(name, "armory-agent"), strings.HasPrefix(name, "fairlead-agent"), strings.HasPrefix(name, "kubesvc"):
		return ": this is an agent's file: `fairlead-agent config check --config " + file + "`"
	case strings.HasPrefix(name, "fairlead-bridge"):
		return ": this is a bridge's file: `fairlead config check --bridge-config " + file + "`"
	}
	return ""
}
