package store

import (
	"context"
	"io/fs"
	"slices"
	"strings"
)

// SortRows sorts as a write does.
func SortRows(rows []Row) { slices.SortFunc(rows, compareRows) }

// PrepareWith is Prepare with other migrations.
func (s *Store) PrepareWith(ctx context.Context, files fs.FS) error {
	return s.persist(ctx, "database", func(ctx context.Context) error { return s.migrate(ctx, files) })
}

// Plan is a hot statement with values, for a test of its plan.
type Plan struct {
	Name, Table, SQL, Index string
	Args                    []any
	Covering                bool
}

// Plans are the hot statements, as they run for two items.
func Plans() []Plan {
	var plans []Plan
	for _, s := range statements {
		table := "cats_v1_pod"
		switch {
		case strings.Contains(s.name, "links"), strings.Contains(s.name, "linked"):
			table = "cats_v1_pod_rel"
		case strings.Contains(s.name, "fence"):
			table = "fairlead_fence"
		case strings.Contains(s.name, "revisions"):
			table = "fairlead_account"
		}
		item := "?"
		switch s.name {
		case deleteRows.name:
			item = "SELECT ?,?"
		case deleteLinks.name:
			item = "SELECT ?"
		}
		p := Plan{Name: s.name, Table: table, SQL: s.sql(table, item, 2), Index: s.index, Covering: s.covering}
		agent := "account-7/KubernetesCoreCachingAgent[1/1]"
		prefix := likePrefix("account-7/")
		if table == "cats_v1_pod_rel" {
			agent, prefix = "replicaSet:"+agent, likePrefix("replicaSet:account-7/")
		}
		switch s.name {
		case fenceCheck.name:
			p.Args = []any{"account-3", "account-7"}
		case presentRows.name:
			p.Args = []any{agent, agent, "id-7-1", "id-7-2"}
		case deleteRows.name:
			p.Args = []any{"id-7-1", agent, "id-7-2", agent}
		case deleteLinks.name, presentLinks.name:
			p.Args = []any{"00000000070000000000000001", "00000000070000000000000002"}
		case rowDigests.name, linkDigests.name:
			p.Args = []any{agent, strings.Replace(agent, "-7", "-8", 1)}
		case rowEntries.name, linkEntries.name:
			p.Args = []any{agent, agent}
		case rowsOfAccount.name, linksOfAccount.name:
			p.Args = []any{prefix, prefix, 10}
		case rowsOfOthers.name, linksOfOthers.name:
			p.Args = []any{prefix, agent, prefix, 10}
		}
		plans = append(plans, p)
	}
	return plans
}
