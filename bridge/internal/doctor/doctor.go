// Package doctor looks for faults that installs really have, and says of each what is wrong, why it matters and what to do.
//
// A check looks at one part of a Patient. What the patient does not have is skipped, so that the same checks run inside a bridge, which knows
// its sessions, and in the command line beside one that does not start, which has its configuration alone. Checks change nothing.
package doctor

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/store"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	OK Level = "ok"
	// Warning: it works, and will not for ever or not for everybody.
	Warning Level = "warning"
	Fault   Level = "fault"
	// Skipped: it could not be looked at.
	Skipped Level = "skipped"
)

// Finding is what a check found.
type Finding struct {
	// Check is its name, which stays: docs/operate.md lists them.
	Check string
	Level Level
	// Text is one sentence; Fix what to do, empty if there is nothing to do.
	Text, Fix string
}

// Patient is what is looked at. Nil parts are skipped.
type Patient struct {
	Config *config.Config
	// Database is that of the configuration.
	Database Database
	// Address is where the database is, for people.
	Address string
	// Version of the bridge.
	Version string
	// Plugin is what the bridge has seen of Clouddriver's plugin.
	Plugin *Plugin
	// Agents are those that have a session or were turned away.
	Agents []Agent
	// Certificates that matter to agents.
	Certificates []Certificate
	// Profiles of Clouddriver.
	Profiles []Profile
	// Dial tries whether agents can reach the bridge.
	Dial *Dial
	// Clocks are other clocks, and how far they are before this host's.
	Clocks []Clock
	Now    time.Time
}

// Database is what can be examined (store.Store).
type Database interface {
	Examine(ctx context.Context) (store.Examination, error)
}

// Plugin is what a bridge has seen of Clouddriver's plugin.
type Plugin struct {
	// Version of the last caller; "" if it did not say.
	Version string
	// Calling: a call is under way. A plugin that lives always has one.
	Calling bool
	// Last is when a call ended last, Since when the bridge began to listen.
	Last, Since time.Time
}

// Agent is one agent.
type Agent struct {
	Name, Version string
	// Outdated is why it should be upgraded; "": it need not be.
	Outdated string
	// Refused agents are not served.
	Refused bool
}

// Certificate is one that agents meet.
type Certificate struct {
	// What it is, with the key of the configuration: "agents.tls.certFile (/etc/…)".
	What string
	Leaf *x509.Certificate
	// Err is why it cannot be read.
	Err error
}

// Clock is another clock.
type Clock struct {
	What string
	// Ahead of this host's, known to within Within.
	Ahead, Within time.Duration
}

// check looks at one thing. It returns what is wrong; nothing means that all is well.
type check struct {
	name string
	// about says what it makes sure of, in the words of the report when all is well.
	about string
	// needs tells why it cannot be done; "" if it can.
	needs func(*visit) string
	look  func(context.Context, *visit) []Finding
}

// visit is a patient with what several checks share.
type visit struct {
	*Patient

	examination store.Examination
	examined    error
}

// Examine runs all checks and returns the findings, worst first.
func Examine(ctx context.Context, p *Patient) []Finding {
	v := &visit{Patient: p}
	if p.Database != nil {
		limit, cancel := context.WithTimeout(ctx, databaseTime)
		v.examination, v.examined = p.Database.Examine(limit)
		cancel()
	}
	var list []Finding
	for _, c := range checks() {
		if why := c.needs(v); why != "" {
			list = append(list, Finding{Check: c.name, Level: Skipped, Text: why})
			continue
		}
		found := c.look(ctx, v)
		for i := range found {
			found[i].Check = c.name
			if found[i].Level == "" {
				found[i].Level = Fault
			}
		}
		if len(found) == 0 {
			found = []Finding{{Check: c.name, Level: OK, Text: c.about}}
		}
		list = append(list, found...)
	}
	Sort(list)
	return list
}

// Sort puts the worst first.
func Sort(list []Finding) {
	order := []Level{Fault, Warning, OK, Skipped}
	slices.SortStableFunc(list, func(a, b Finding) int { return slices.Index(order, a.Level) - slices.Index(order, b.Level) })
}

// Names lists all checks.
func Names() (names []string) {
	for _, c := range checks() {
		names = append(names, c.name)
	}
	return names
}

func checks() []check {
	return slices.Concat(databaseChecks(), certificateChecks(), fleetChecks(), spinnakerChecks(), reachChecks())
}

const databaseTime = 15 * time.Second

func needsDatabase(v *visit) string {
	if v.Database == nil {
		return "there is no database to look at: name the bridge's file by --config, or ask a bridge that runs"
	}
	if v.examined != nil {
		return "the database does not answer"
	}
	return ""
}

func fault(text, fix string) []Finding   { return []Finding{{Level: Fault, Text: text, Fix: fix}} }
func warning(text, fix string) []Finding { return []Finding{{Level: Warning, Text: text, Fix: fix}} }

func list(names []string) string { return strings.Join(names, ", ") }
