package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/bridge"
	"github.com/fairlead/fairlead/bridge/internal/doctor"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

// asked is what a person gives a doctor.
type asked struct {
	config   string
	profiles []string
	agents   string
	all      bool
}

func doctorCommand(o *options) *cobra.Command {
	var a asked
	c := &cobra.Command{
		Use: "doctor", Short: "Look for known faults, and say what to do about each", Args: cobra.NoArgs,
		Long: "Looks for faults that installs really have: rights and clock of the database, Clouddriver's tables, certificates, plugin, ports, agents' versions, settings of\n" +
			"Clouddriver that do not go with Fairlead. It changes nothing. A bridge that runs is asked for what it sees. For one that does not start, --config names its\n" +
			"file, and the checks run from here. --profile names Clouddriver's profiles. The exit code is 6 if there is a fault.",
		Example: "  fairlead doctor\n  fairlead doctor --profile clouddriver.yml --profile clouddriver-local.yml\n  fairlead doctor --config fairlead-bridge.yml",
		RunE:    func(c *cobra.Command, _ []string) error { return o.doctor(c, a) },
	}
	c.Flags().StringVar(&a.config, "config", "", "fairlead-bridge.yml of a bridge that does not start")
	c.Flags().StringSliceVar(&a.profiles, "profile", nil, "profiles of Clouddriver, in the order in which it reads them")
	c.Flags().StringVar(&a.agents, "agents-address", "", "HOST:PORT where agents dial, to try from here; by default what the bridge says")
	c.Flags().BoolVar(&a.all, "all", false, "show also what is fine, and what could not be looked at")
	return c
}

func (o *options) doctor(c *cobra.Command, a asked) error {
	profiles, err := readProfiles(a.profiles)
	if err != nil {
		return err
	}
	var found []doctor.Finding
	if a.config != "" {
		found = examineConfig(c.Context(), a.config, profiles)
	} else if found, err = o.examineBridge(c.Context(), a.agents, profiles); err != nil {
		return err
	}
	found = merge(found)
	faults := 0
	response := &adminv1.DiagnoseResponse{}
	for _, f := range found {
		if f.Level == doctor.Fault {
			faults++
		}
		if a.all || f.Level == doctor.Fault || f.Level == doctor.Warning {
			response.Findings = append(response.Findings, &adminv1.Finding{Check: f.Check, Level: string(f.Level), Text: f.Text, Fix: f.Fix})
		}
	}
	if err := o.print(c.OutOrStdout(), response, func(w io.Writer) { printFindings(w, response.GetFindings(), found) }); err != nil {
		return err
	}
	switch faults {
	case 0:
		return nil
	case 1:
		return &failure{exitFault, "1 fault"}
	}
	return &failure{exitFault, fmt.Sprintf("%d faults", faults)}
}

func printFindings(w io.Writer, shown []*adminv1.Finding, all []doctor.Finding) {
	count := map[doctor.Level]int{}
	for _, f := range all {
		count[f.Level]++
	}
	for i, f := range shown {
		if i > 0 {
			fmt.Fprintln(w)
		}
		printFinding(w, f, time.Now())
	}
	if len(shown) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d faults, %d warnings, %d fine, %d could not be looked at (--all shows them).\n", count[doctor.Fault], count[doctor.Warning], count[doctor.OK], count[doctor.Skipped])
}

// merge leaves one finding of a check that two have looked at: the one that looked.
func merge(found []doctor.Finding) (merged []doctor.Finding) {
	looked := map[string]bool{}
	for _, f := range found {
		if f.Level != doctor.Skipped {
			looked[f.Check] = true
		}
	}
	said := map[doctor.Finding]bool{}
	for _, f := range found {
		if f.Level == doctor.Skipped && looked[f.Check] || said[f] {
			continue
		}
		said[f] = true
		merged = append(merged, f)
	}
	doctor.Sort(merged)
	return merged
}

func readProfiles(files []string) (profiles []doctor.Profile, err error) {
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, usage("--profile: %v", err)
		}
		p, err := doctor.ReadProfile(file, content)
		if err != nil {
			return nil, usage("--profile: %v", err)
		}
		profiles = append(profiles, p)
	}
	return profiles, nil
}

// examineConfig looks at a bridge that does not start.
func examineConfig(ctx context.Context, file string, profiles []doctor.Profile) []doctor.Finding {
	cfg, err := bridge.LoadConfig(file)
	if err != nil {
		return []doctor.Finding{{Check: "configuration", Level: doctor.Fault, Text: err.Error(), Fix: "correct the file; \"fairlead-bridge config keys\" lists every key, docs/bridge-configuration.md explains them"}}
	}
	return append([]doctor.Finding{{Check: "configuration", Level: doctor.OK, Text: "the configuration can be read"}}, bridge.Examine(ctx, cfg, profiles)...)
}

// examineBridge asks a bridge that runs, and looks at what only this host sees.
func (o *options) examineBridge(ctx context.Context, address string, profiles []doctor.Profile) ([]doctor.Finding, error) {
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	before := time.Now()
	response, err := client.Diagnose(ctx, connect.NewRequest(&adminv1.DiagnoseRequest{}))
	if err != nil {
		return nil, err
	}
	// The bridge reads its clock when it has done all else, so what the answer took on its way is all that is not known; to be on the safe
	// side it counts as if the whole call had been that.
	took := time.Since(before)
	ahead := time.Until(response.Msg.GetNow().AsTime())
	here := &doctor.Patient{Profiles: profiles, Now: time.Now(), Clocks: []doctor.Clock{{What: "the bridge at " + o.bridge, Ahead: ahead, Within: took}}}
	if address == "" {
		address = response.Msg.GetAgentsAddress()
	}
	if address != "" {
		here.Dial = &doctor.Dial{Address: address, Pin: response.Msg.GetCaPin()}
	}
	found := doctor.Examine(ctx, here)
	for _, f := range response.Msg.GetFindings() {
		found = append(found, doctor.Finding{Check: f.GetCheck(), Level: doctor.Level(f.GetLevel()), Text: f.GetText(), Fix: f.GetFix()})
	}
	return found, nil
}
