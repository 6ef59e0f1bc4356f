package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
)

// packetRoom is what a statement with the largest row needs besides its body: other rows and its text.
const packetRoom = 1 << 20

func databaseChecks() []check {
	return []check{
		{"database-reachable", "the database answers", func(v *visit) string {
			if v.Database == nil {
				return needsDatabase(v)
			}
			return ""
		}, databaseReachable},
		{"database-writable", "the database takes writes", needsDatabase, func(_ context.Context, v *visit) []Finding {
			if !v.examination.ReadOnly {
				return nil
			}
			return fault(fmt.Sprintf("the database %s takes no writes: it is a replica, or the cluster's reader address", v.Address),
				"write the writer's address into database.dsn (Aurora: the cluster endpoint, not cluster-ro)")
		}},
		{"database-rights", "the database's user may do what bridges do", needsDatabase, func(_ context.Context, v *visit) []Finding {
			if len(v.examination.Denied) == 0 {
				return nil
			}
			more := ""
			if slices.Contains(v.examination.Denied, "DROP") {
				more = "; drop the table fairlead_doctor_… that this check could not take away"
			}
			return fault(fmt.Sprintf("the user of database.dsn lacks rights on %s: %s", v.Address, list(v.examination.Denied)),
				fmt.Sprintf("as an administrator: GRANT %s ON <database>.* TO <user>%s", list(v.examination.Denied), more))
		}},
		{"database-templates", "Clouddriver has made the templates of its cache tables", needsDatabase, func(_ context.Context, v *visit) []Finding {
			if v.examination.Templates == nil {
				return nil
			}
			return fault(fmt.Sprintf("Clouddriver's cats_v1 template tables are not in %s, so that nothing can be cached: %v", v.Address, v.examination.Templates),
				"start Clouddriver once with sql.enabled and sql.cache.enabled and its migration user, in the same database; if it has started: database.dsn names another database than sql.connectionPools.default.jdbcUrl")
		}},
		{"database-packet", "the database takes the largest object", func(v *visit) string {
			if v.Config == nil {
				return "the bridge's configuration is not known"
			}
			return needsDatabase(v)
		}, func(_ context.Context, v *visit) []Finding {
			need := int64(v.Config.Cache.MaximumBodyBytes) + packetRoom
			if v.examination.MaximumPacket >= need {
				return nil
			}
			return warning(fmt.Sprintf("max_allowed_packet of the database is %d, and objects up to cache.maximumBodyBytes (%d) do not fit", v.examination.MaximumPacket, v.Config.Cache.MaximumBodyBytes),
				fmt.Sprintf("set max_allowed_packet to %d or more on the server, or cache.maximumBodyBytes lower", need))
		}},
		{"database-namespace", "bridge and Clouddriver mean the same tables", func(v *visit) string {
			if v.Config == nil {
				return "the bridge's configuration is not known"
			}
			return needsDatabase(v)
		}, func(_ context.Context, v *visit) []Finding {
			have := v.examination.Namespaces
			if len(have) == 0 || slices.Contains(have, v.Config.Cache.TableNamespace) {
				return nil
			}
			return fault(fmt.Sprintf("cache.tableNamespace is %q, and Clouddriver's tables in %s have %q: what agents send is not shown", v.Config.Cache.TableNamespace, v.Address, list(have)),
				"make cache.tableNamespace what sql.table-namespace of Clouddriver is")
		}},
		{"database-newer", "no newer bridge has changed the tables", needsDatabase, func(_ context.Context, v *visit) []Finding {
			if v.examination.Newer == 0 {
				return nil
			}
			return warning(fmt.Sprintf("a newer bridge has brought the fairlead_* tables to version %d, which this one does not know", v.examination.Newer),
				"upgrade this bridge to the version of the others (\"fairlead status\" of each shows it)")
		}},
		{"old-plugin-tables", "the replaced plugin does not write beside this one", needsDatabase, func(_ context.Context, v *visit) []Finding {
			if len(v.examination.OldPlugin) == 0 {
				return nil
			}
			return fault(fmt.Sprintf("the replaced plugin still writes into %s (%s): two plugins cache the same accounts", v.Address, list(v.examination.OldPlugin)),
				"take Armory.Kubesvc out of spinnaker.extensibility.plugins, or armory.kubesvc.enabled in Clouddriver 2.38 and later, and restart all Clouddriver pods (docs/install.md)")
		}},
		{"clock", "all clocks agree", func(v *visit) string {
			if len(v.Clocks) == 0 {
				return needsDatabase(v)
			}
			return ""
		}, clocks},
	}
}

func databaseReachable(_ context.Context, v *visit) []Finding {
	switch err := v.examined; {
	case err == nil:
		return nil
	case store.IsDenied(err):
		return fault(fmt.Sprintf("the database %s does not let the bridge in: %v", v.Address, err),
			"compare the user in database.dsn and the password in database.passwordFile with those of Clouddriver; the user must be allowed from this host")
	default:
		return fault(fmt.Sprintf("the database %s does not answer: %v", v.Address, err),
			"is it up, is database.dsn right, and may this pod reach it (network policy, firewall)? Operations go on meanwhile, inventory waits in the agents")
	}
}

// clockTolerance is how far clocks may differ: certificates begin five minutes before they are made, histories are sorted by seconds.
const clockTolerance = 5 * time.Second

func clocks(_ context.Context, v *visit) (found []Finding) {
	all := slices.Clone(v.Clocks)
	if v.Database != nil && v.examined == nil {
		all = append(all, Clock{What: "the database " + v.Address, Ahead: v.examination.Ahead, Within: v.examination.Within})
	}
	for _, c := range all {
		if off := max(c.Ahead, -c.Ahead) - c.Within; off <= clockTolerance {
			continue
		}
		way := "ahead of"
		if c.Ahead < 0 {
			way = "behind"
		}
		found = append(found, fault(fmt.Sprintf("the clock of %s is %s %s this host's", c.What, strings.TrimPrefix(c.Ahead.Round(time.Second).String(), "-"), way),
			"run a time service (NTP, chrony) on both hosts: certificates and tokens are refused, and histories are out of order, when clocks differ")...)
	}
	return found
}
