package cache_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/cache"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// stock writes as Clouddriver's SqlCache does for its own account: each statement is a transaction, READ COMMITTED, rows in the
// order of a hash map, a hundred in a statement, and evictions by id across all agents.
type stock struct {
	t       *testing.T
	db      *sql.DB
	account string
	random  *rand.Rand
}

func newStock(t *testing.T, d *storetest.DB, account string, seed uint64) *stock {
	isolation := "transaction_isolation"
	if d.MariaDB {
		isolation = "tx_isolation"
	}
	db, err := sql.Open("mysql", d.DSN+"&"+isolation+"=%27READ-COMMITTED%27")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &stock{t: t, db: db, account: account, random: rand.New(rand.NewPCG(seed, 1))}
}

func (s *stock) exec(query string, args ...any) {
	if _, err := s.db.ExecContext(context.WithoutCancel(s.t.Context()), query, args...); err != nil {
		s.t.Errorf("a statement of stock's failed: %v", err)
	}
}

// put is SqlCache.storeAuthoritative's third step.
func (s *stock) put(typ string, keys []*linkv1.Key, state string) {
	s.random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	args := make([]any, 0, 5*len(keys))
	for _, k := range keys {
		b := body(s.account, k, state)
		args = append(args, bodyID(s.account, k), s.account+"/KubernetesCoreCachingAgent[1/1]", hash(b), string(b), 1)
	}
	s.exec(`INSERT INTO cats_v1_`+typ+` (id, agent, application, body_hash, body, last_updated) VALUES `+strings.Repeat(",(?,?,NULL,?,?,?)", len(keys))[1:]+
		` ON DUPLICATE KEY UPDATE application = VALUES(application), body_hash = VALUES(body_hash), body = VALUES(body), last_updated = VALUES(last_updated)`, args...)
}

// evict is SqlCache.evictAll: whose rows they are does not matter to it.
func (s *stock) evict(typ string, keys []*linkv1.Key) {
	args := make([]any, len(keys))
	for i, k := range keys {
		args[i] = bodyID(s.account, k)
	}
	s.exec(`DELETE FROM cats_v1_`+typ+` WHERE id IN (`+strings.Repeat(",?", len(keys))[1:]+`)`, args...)
}

// link and unlink are SqlCache.storeInformative's writes.
func (s *stock) link(uuids []string) {
	args := make([]any, 0, 4*len(uuids))
	for i, u := range uuids {
		args = append(args, u, bodyID(s.account, key("applications", "", fmt.Sprint("app", i))), bodyID(s.account, pod(fmt.Sprint(i))), "pod:"+s.account+"/KubernetesCoreCachingAgent[1/1]")
	}
	s.exec(`INSERT INTO cats_v1_applications_rel (uuid, id, rel_id, rel_agent, rel_type, last_updated) VALUES `+strings.Repeat(",(?,?,?,?,'pod',1)", len(uuids))[1:]+
		` ON DUPLICATE KEY UPDATE last_updated = VALUES(last_updated)`, args...)
}

func (s *stock) unlink(uuids []string) {
	for _, u := range uuids {
		s.exec(`DELETE FROM cats_v1_applications_rel WHERE uuid IN (?)`, u)
	}
}

// appNames order differently by bytes and by the tables' collation.
func appNames(n int) []*linkv1.Key {
	keys := make([]*linkv1.Key, n)
	for i := range keys {
		keys[i] = key("applications", "", fmt.Sprintf("%c%c%c%d", "aBcD"[i%4], "_-.9xZ"[i%6], "éeE1"[i%4], i))
	}
	return keys
}

// stockBeside runs stock accounts and agent accounts on the same tables, and on the same applications.
func stockBeside(t *testing.T, _ *storetest.Server, d *storetest.DB) {
	b := newBench(t, d, cache.Options{TransactionChanges: 200})
	const agents, stocks, rounds, apps, pods = 6, 3, 60, 24, 40
	for i := range agents {
		b.attach(fmt.Sprint("ours", i))
		b.mustWrite(fmt.Sprint("ours", i), 1, put(fmt.Sprint("ours", i), pod("p"), "0"), connect(key("applications", "", "a"), pod("p")), put(fmt.Sprint("ours", i), key("applications", "", "a"), ""))
	}
	before := b.Deadlocks(t)
	var group sync.WaitGroup
	// Stock accounts deadlock with each other where one puts unsorted rows that another evicts; that is not what is looked for.
	var applications sync.Mutex
	for i := range agents {
		group.Go(func() {
			account := fmt.Sprint("ours", i)
			random := rand.New(rand.NewPCG(uint64(i), 2))
			for n := range rounds {
				var changes []*linkv1.Change
				for _, app := range appNames(apps) {
					// In part new, in part gone: the first and the last member come and go.
					if random.IntN(3) == 0 {
						changes = append(changes, remove(app), disconnect(app, pod("p")))
					} else {
						changes = append(changes, put(account, app, ""), connect(app, pod("p")))
					}
				}
				for p := range pods {
					changes = append(changes, put(account, pod(fmt.Sprint("p", p)), fmt.Sprint(n)))
				}
				if r := b.write(account, 1, changes...); r.Err != nil {
					t.Errorf("a write of ours failed: %v", r.Err)
				}
			}
		})
	}
	for i := range stocks {
		group.Go(func() {
			s := newStock(t, d, fmt.Sprint("stock", i), uint64(i))
			var uuids []string
			for range 20 {
				uuids = append(uuids, fmt.Sprintf("%026X", s.random.Uint64()))
			}
			for n := range rounds {
				names := appNames(apps)
				applications.Lock()
				s.put("applications", names, fmt.Sprint(n))
				applications.Unlock()
				var list []*linkv1.Key
				for p := range pods {
					list = append(list, pod(fmt.Sprint("p", p)))
				}
				s.put("pod", list, fmt.Sprint(n))
				s.link(uuids)
				s.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
				applications.Lock()
				s.evict("applications", names[:apps/2])
				applications.Unlock()
				s.evict("pod", list[:pods/2])
				s.unlink(uuids[:10])
			}
		})
	}
	group.Wait()
	// No statement failed, and none had to run again. With rows in another order than the server's there were more than forty.
	if n := b.Deadlocks(t) - before; n > 0 {
		t.Errorf("the server broke %d deadlocks", n)
		d.PrintDeadlock(t)
	}
}
