package accounts

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead/fairlead/testenv"
)

// several is the version of which there are three, with one database: the one whose cleanup of unknown agents' rows deletes whatever their age.
const several = "1.38"

func TestSeveralClouddriversHaveTheSameAccounts(t *testing.T) {
	t.Parallel() // much of it is waiting
	service := newService(t)
	s := up(t, testenv.Options{Clouddriver: several, Clouddrivers: 3, Bridges: 3, Configure: cleanupEnabled,
		// As in a pod with Clouddriver: the bridge stays while Clouddriver ends.
		ConfigureBridge: func(config map[string]any) { config["plugin"].(map[string]any)["outlive"] = "1m" },
		ConfigureAgent: func(config map[string]any) {
			link := config["clouddriver"].(map[string]any)
			service.add(link["grpc"].(string))
			link["grpc"] = service.address()
		}})
	for _, b := range s.Bridges {
		service.add(b.Agents)
	}
	db := s.watchDeletions()
	file := s.accounts()[0]

	t.Run("an account that is added, or removed, is so in each of them, and stays so", func(t *testing.T) {
		ctx := within(t, 3*time.Minute)
		began := time.Now()
		s.write(file, named(file, "late"))
		must(t, s.everywhere(ctx, t, began, "late", true))
		began = time.Now()
		s.write(file)
		must(t, s.everywhere(ctx, t, began, "late", false))
	})
	t.Run("the cleanup beside a bridge that has not heard of an account yet leaves its rows", func(t *testing.T) { s.cleanupsWhileAccountsCome(t, db, file) })
	t.Run("a rollout under ten deploys a second loses none", s.rollout)
	t.Run("the cleanup of a Clouddriver that starts without its bridge leaves all rows", func(t *testing.T) { s.cleanupWithoutBridge(t, db) })
}

// named is an account's entry under another name.
func named(entry any, name string) any {
	other := map[string]any{}
	for key, value := range entry.(map[string]any) {
		other[key] = value
	}
	other["name"] = name
	return other
}

// settledFor is how long answers are looked at after the first right one.
const settledFor = 5 * time.Second

// everywhere asks all Clouddrivers again and again, until each has answered rightly for a while; one wrong answer after a right one is an error.
func (s *site) everywhere(ctx context.Context, t *testing.T, began time.Time, account string, want bool) error {
	group, ctx := errgroup.WithContext(ctx)
	for n, c := range s.Clouddrivers {
		group.Go(func() error {
			rest := &testenv.REST{URL: c.URL}
			err := testenv.Wait(ctx, func(ctx context.Context) error { return has(ctx, rest, account, want) })
			if err != nil {
				return fmt.Errorf("clouddriver %d: %w", n, err)
			}
			right := time.Now()
			t.Logf("clouddriver %d, %s listed %v: right %s after the change of the file", n, account, want, right.Sub(began).Round(time.Millisecond))
			asked := 0
			often := time.NewTicker(20 * time.Millisecond)
			defer often.Stop()
			for ; time.Since(right) < settledFor; asked++ {
				<-often.C
				if err := has(ctx, rest, account, want); err != nil {
					return fmt.Errorf("clouddriver %d, stale %s after it was right: %w", n, time.Since(right), err)
				}
			}
			t.Logf("clouddriver %d: %d right answers after that", n, asked)
			return nil
		})
	}
	return group.Wait()
}

func has(ctx context.Context, rest *testenv.REST, account string, want bool) error {
	names, err := rest.Accounts(ctx)
	if err == nil && slices.Contains(names, account) != want {
		err = fmt.Errorf("accounts %v; %s shall be among them: %v", names, account, want)
	}
	return err
}

// cleanupsWhileAccountsCome has the cleanup run as often as it can, in whichever Clouddriver takes it, while accounts come with their rows.
func (s *site) cleanupsWhileAccountsCome(t *testing.T, db *sql.DB, file any) {
	ctx := within(t, 3*time.Minute)
	s.deploys(ctx, "demo", 1, "rows") // what the accounts find in the cluster
	cleaning, stop := context.WithCancel(ctx)
	again := make(chan error, 1)
	go func() {
		again <- testenv.Wait(cleaning, func(ctx context.Context) error { return fmt.Errorf("goes on: %w", cleanAgain(ctx, db)) })
	}()
	defer func() { stop(); <-again }()
	before := s.cleanups(t)
	for round := range 4 {
		account := fmt.Sprintf("comer-%d", round)
		s.write(file, named(file, account))
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return hasRows(ctx, db, account) }))
		ran := s.cleanups(t)
		must(t, testenv.Wait(ctx, func(context.Context) error {
			if s.cleanups(t) < ran+2 {
				return fmt.Errorf("the cleanup has not run twice since the account has rows")
			}
			return nil
		}))
		must(t, hasRows(ctx, db, account))
	}
	t.Logf("the cleanup ran %d times", s.cleanups(t)-before)
	deletedByClouddriver(ctx, t, db)
	s.write(file)
	must(t, s.listed(ctx, "comer-3", false))
}

// cleanups counts how often the cleanup came to its end, in any Clouddriver.
func (s *site) cleanups(t *testing.T) (n int) {
	for _, c := range s.Clouddrivers {
		n += strings.Count(logOf(t, c.Log), "Finished cleanup (")
	}
	return n
}

func hasRows(ctx context.Context, db *sql.DB, account string) error {
	for _, table := range []string{"cats_v1_deployment", "cats_v1_pod", "cats_v1_replicaSet_rel"} {
		column := "agent"
		if strings.HasSuffix(table, "_rel") {
			column = "rel_agent"
		}
		var n int
		err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table+" WHERE "+column+" LIKE ?", "%"+account+"/%").Scan(&n) //nolint:gosec // constants
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("account %s has no rows in %s", account, table)
		}
	}
	return nil
}
