package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	_ "github.com/go-sql-driver/mysql" // the driver

	"github.com/fairlead/fairlead/testenv"
)

// awaitRows waits until Clouddriver's tables hold what the demo applied, and says how many rows of which type.
func awaitRows(ctx context.Context, env *testenv.Env, account string, pods int) (string, error) {
	db, err := sql.Open("mysql", env.MySQL.DSN)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	types := []string{"deployment", "replicaSet", "pod", "service"}
	want := map[string]int{"deployment": 1, "replicaSet": 1, "pod": pods, "service": 1}
	var said []string
	err = testenv.Wait(ctx, func(ctx context.Context) error {
		said = said[:0]
		for _, t := range types {
			var n int
			// The table's name is one of the four above.
			query := "SELECT COUNT(*) FROM cats_v1_" + t + " WHERE id LIKE ? AND JSON_VALUE(body, '$.attributes.moniker.app') = 'storefront'" //nolint:gosec // see above
			if err := db.QueryRowContext(ctx, query, fmt.Sprintf("kubernetes.v2:infrastructure:%s:%s:%s:%%", t, account, namespace)).Scan(&n); err != nil {
				return err
			}
			if n != want[t] {
				return fmt.Errorf("%d rows of type %s, want %d", n, t, want[t])
			}
			said = append(said, fmt.Sprintf("%d %s", n, t))
		}
		return nil
	})
	return strings.Join(said, ", "), err
}
