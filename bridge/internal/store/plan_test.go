package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

// plans asks the server for the plan of every hot statement, on tables with enough rows for the optimizer to care.
func plans(t *testing.T, d *storetest.DB) {
	s := d.Open(t)
	if err := s.EnsureTables(t.Context(), "cats_v1_pod", "cats_v1_pod_rel"); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		var rows, links []string
		for j := range 50 {
			rows = append(rows, fmt.Sprintf("('id-%d-%d', 'account-%d/KubernetesCoreCachingAgent[1/1]', SHA2('%d', 256), REPEAT('x', 2000), 1)", i, j, i, j))
			links = append(links, fmt.Sprintf("('%010d%016d', 'id-%d-%d', 'other', 'replicaSet:account-%d/KubernetesCoreCachingAgent[1/1]', 'replicaSet', 1)", i, j, i, j, i))
		}
		d.Exec(t, "INSERT INTO cats_v1_pod (id, agent, body_hash, body, last_updated) VALUES "+strings.Join(rows, ","))
		d.Exec(t, "INSERT INTO cats_v1_pod_rel (uuid, id, rel_id, rel_agent, rel_type, last_updated) VALUES "+strings.Join(links, ","))
		d.Exec(t, "INSERT INTO fairlead_fence VALUES (?, 1, '')", fmt.Sprintf("account-%d", i))
		d.Exec(t, "INSERT INTO fairlead_account VALUES (?, ?, '{}', '{}', '', 0, FALSE, 1)", fmt.Sprintf("account-%d", i), fmt.Sprintf("account-%d", i))
	}
	d.Exec(t, "ANALYZE TABLE cats_v1_pod, cats_v1_pod_rel, fairlead_fence, fairlead_account")
	for _, p := range store.Plans() {
		t.Run(p.Name, func(t *testing.T) {
			table := p.Table
			rows, err := d.SQL.QueryContext(t.Context(), "EXPLAIN "+p.SQL, p.Args...)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = rows.Close() }()
			columns, err := rows.Columns()
			if err != nil {
				t.Fatal(err)
			}
			var plan []string
			for rows.Next() {
				values := make([]*string, len(columns))
				into := make([]any, len(columns))
				for i := range values {
					into[i] = &values[i]
				}
				if err := rows.Scan(into...); err != nil {
					t.Fatal(err)
				}
				for i, c := range columns {
					if values[i] != nil {
						plan = append(plan, c+"="+*values[i])
					}
				}
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(plan, "key="+p.Index) {
				t.Errorf("on %s: wants index %s, plan is %v", table, p.Index, plan)
			}
			if slices.Contains(plan, "type=ALL") {
				t.Errorf("on %s: reads the whole table: %v", table, plan)
			}
			if covering := strings.Contains(strings.Join(plan, " "), "Using index"); p.Covering && !covering {
				t.Errorf("on %s: the index alone should answer, plan is %v", table, plan)
			}
		})
	}
}
