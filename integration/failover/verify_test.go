package failover

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/testenv"
)

// report is what one fault came to.
type report struct {
	told      map[outcome]int
	slowest   time.Duration
	converged time.Duration
}

// verify ends the load and compares cluster, tables, views and what callers were told. An outcome that is not allowed fails.
func (i *install) verify(t *testing.T, l *load, allowed ...outcome) report {
	t.Helper()
	operations := l.end()
	ctx := within(t, patience)
	r := report{told: map[outcome]int{}}
	for _, o := range operations {
		r.told[o.told]++
		r.slowest = max(r.slowest, o.took)
		if !slices.Contains(allowed, o.told) {
			t.Errorf("operation %s on %s at bridge %d after %s: %s: %s", o.id, o.account, o.bridge, o.took.Round(time.Millisecond), o.told, o.text)
		}
	}
	if r.told[done] == 0 {
		t.Errorf("no operation was done: %v", r.told)
	}
	i.truthful(ctx, t, operations)
	began := time.Now()
	must(t, testenv.Wait(ctx, i.agrees))
	r.converged = time.Since(began)
	if i.Clouddriver != nil {
		must(t, testenv.Wait(ctx, i.shown))
	}
	i.untouched(ctx, t)
	t.Logf("%d operations (%v), slowest %s; %d changes; tables agree %s after the end", len(operations), r.told, r.slowest.Round(time.Millisecond), l.changes, r.converged.Round(time.Millisecond))
	return r
}

// truthful holds what callers were told against what the cluster has.
func (i *install) truthful(ctx context.Context, t *testing.T, operations []operation) {
	t.Helper()
	list, err := i.kube.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{LabelSelector: "op"})
	must(t, err)
	made := map[string]int{}
	for _, s := range list.Items {
		made[s.Labels["op"]]++
	}
	for _, o := range operations {
		n := made[o.id]
		if n > 1 || o.told == done && n != 1 || o.told == nothing && n != 0 {
			t.Errorf("operation %s on %s at bridge %d was told %q (%s) and made %d services", o.id, o.account, o.bridge, o.told, o.text, n)
		}
	}
}

// truth is what the cluster has: each service with its version.
func (i *install) truth(ctx context.Context) (map[string]string, error) {
	list, err := i.kube.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, s := range list.Items {
		all[s.Name] = s.ResourceVersion
	}
	return all, nil
}

// agrees tells whether the tables have what the cluster has, for each account.
func (i *install) agrees(ctx context.Context) error {
	truth, err := i.truth(ctx)
	if err != nil {
		return err
	}
	for _, account := range accounts {
		stored, err := i.stored(ctx, account)
		if err != nil {
			return err
		}
		if !maps.Equal(truth, stored) {
			return fmt.Errorf("account %s: %s", account, difference(truth, stored))
		}
	}
	return nil
}

// stored is what the tables have of an account: each service with its version.
func (i *install) stored(ctx context.Context, account string) (map[string]string, error) {
	rows, err := i.db.QueryContext(ctx, "SELECT id, body FROM cats_v1_service WHERE agent LIKE ?", account+"/%")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	stored := map[string]string{}
	for rows.Next() {
		var id, body string
		var row struct {
			Attributes struct {
				Manifest struct {
					Metadata struct{ ResourceVersion string }
				}
			}
		}
		if err := rows.Scan(&id, &body); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(body), &row); err != nil {
			return nil, err
		}
		stored[id[strings.LastIndex(id, ":")+1:]] = row.Attributes.Manifest.Metadata.ResourceVersion
	}
	return stored, rows.Err()
}

func difference(truth, stored map[string]string) string {
	missing, other, extra := 0, 0, 0
	for name, version := range truth {
		switch have, is := stored[name]; {
		case !is:
			missing++
		case have != version:
			other++
		}
	}
	for name := range stored {
		if _, is := truth[name]; !is {
			extra++
		}
	}
	return fmt.Sprintf("of %d services %d are missing, %d have another version, %d are there too many", len(truth), missing, other, extra)
}

// shown tells whether Clouddriver's views have every account's services.
func (i *install) shown(ctx context.Context) error {
	for app, want := range map[string]int{"watched": watched, "steady": steady} {
		var balancers []struct{ Name, Account string }
		if err := i.REST().Get(ctx, "/applications/"+app+"/loadBalancers", &balancers); err != nil {
			return err
		}
		count := map[string]int{}
		for _, b := range balancers {
			count[b.Account]++
		}
		for _, account := range accounts {
			if count[account] != want {
				return fmt.Errorf("%d load balancers of %s in account %s, want %d", count[account], app, account, want)
			}
		}
	}
	return nil
}

// guard has the database note each row of a service that is deleted, and remembers when those that never change were written.
func (i *install) guard(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, statement := range []string{
		"CREATE TABLE failover_deleted (agent VARCHAR(255), id VARCHAR(352))",
		"CREATE TRIGGER failover_noted AFTER DELETE ON cats_v1_service FOR EACH ROW INSERT INTO failover_deleted VALUES (OLD.agent, OLD.id)",
		"CREATE TABLE failover_steady AS SELECT id, agent, last_updated FROM cats_v1_service WHERE id LIKE '%:steady-%'",
	} {
		_, err := i.db.ExecContext(ctx, statement)
		must(t, err)
	}
}

// untouched makes sure that no row was deleted, as no service ever was, and that none was written anew that did not change.
func (i *install) untouched(ctx context.Context, t *testing.T) {
	t.Helper()
	var deleted, written int
	must(t, i.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM failover_deleted").Scan(&deleted))
	must(t, i.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM failover_steady b LEFT JOIN cats_v1_service s ON s.id = b.id AND s.agent = b.agent WHERE s.last_updated IS NULL OR s.last_updated <> b.last_updated").Scan(&written))
	if deleted > 0 || written > 0 {
		t.Errorf("%d rows were deleted although no service was, %d of services that never change were written again", deleted, written)
	}
}
