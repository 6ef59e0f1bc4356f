package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
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
	// Deletions must not scan a table that is small either.
	if err := s.EnsureTables(t.Context(), "cats_v1_small", "cats_v1_small_rel"); err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "INSERT INTO cats_v1_small SELECT * FROM cats_v1_pod WHERE id LIKE 'id-7-1%'")
	d.Exec(t, "INSERT INTO cats_v1_small_rel SELECT * FROM cats_v1_pod_rel WHERE id LIKE 'id-7-1%'")
	d.Exec(t, "ANALYZE TABLE cats_v1_small, cats_v1_small_rel")
	for _, p := range store.Plans() {
		t.Run(p.Name, func(t *testing.T) { checkPlan(t, d, p) })
		if strings.HasPrefix(p.Name, "delete") {
			p.SQL, p.Table = strings.ReplaceAll(p.SQL, "cats_v1_pod", "cats_v1_small"), "a small table"
			t.Run(p.Name+" of a small table", func(t *testing.T) { checkPlan(t, d, p) })
		}
	}
}

func checkPlan(t *testing.T, d *storetest.DB, p store.Plan) {
	rows, err := d.SQL.QueryContext(t.Context(), "EXPLAIN FORMAT=TRADITIONAL "+p.SQL, p.Args...)
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
		var step []string
		for i, c := range columns {
			if values[i] != nil {
				step = append(step, c+"="+*values[i])
			}
		}
		// What a statement brings itself is read whole.
		if !strings.Contains(strings.Join(step, " "), "table=<derived") && slices.Contains(step, "type=ALL") {
			t.Errorf("on %s: reads the whole table: %v", p.Table, step)
		}
		plan = append(plan, step...)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(plan, "key="+p.Index) {
		t.Errorf("on %s: wants index %s, plan is %v", p.Table, p.Index, plan)
	}
	if strings.HasPrefix(p.Name, "delete") && !slices.Contains(plan, "type=eq_ref") {
		t.Errorf("on %s: does not look keys up, plan is %v", p.Table, plan)
	}
	if covering := strings.Contains(strings.Join(plan, " "), "Using index"); p.Covering && !covering {
		t.Errorf("on %s: the index alone should answer, plan is %v", p.Table, plan)
	}
}

// collated compares the order in which rows are written with the server's.
func collated(t *testing.T, d *storetest.DB) {
	d.Exec(t, "CREATE TABLE ids LIKE cats_v1_resource_template")
	random := rand.New(rand.NewPCG(1, 1))
	var rows []store.Row
	for i := range 2000 {
		var id strings.Builder
		for range 1 + random.IntN(6) {
			// Mostly what names are made of; everything else too, and letters with accents.
			switch random.IntN(8) {
			case 0:
				id.WriteByte(byte(' ' + random.IntN(95)))
			case 1:
				id.WriteRune([]rune("éÜßÉñ")[random.IntN(5)])
			default:
				id.WriteByte("aAbBz019-_.:;"[random.IntN(13)])
			}
		}
		row := store.Row{ID: id.String() + "/" + strconv.Itoa(i%7), Agent: []string{"a-b/K[1/1]", "aB/K[1/1]", "a.b/K[1/2]"}[i%3]}
		rows = append(rows, row)
		d.Exec(t, "INSERT INTO ids (id, agent, body_hash, body, last_updated) VALUES (?, ?, '', '', 1) ON DUPLICATE KEY UPDATE body = ''", row.ID, row.Agent)
	}
	place := map[string]int{}
	for i, id := range d.Strings(t, "SELECT CONCAT(id, '\n', agent) FROM ids ORDER BY ids.id, ids.agent") {
		place[id] = i
	}
	store.SortRows(rows)
	at, before := -1, ""
	for _, r := range rows {
		// One that the server takes for another has no place of its own.
		if next, there := place[r.ID+"\n"+r.Agent]; there {
			if next < at {
				t.Fatalf("%q comes before %q, which it should follow", r.ID, before)
			}
			at, before = next, r.ID
		}
	}
}
