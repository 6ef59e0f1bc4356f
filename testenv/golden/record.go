package golden

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // the databases' driver
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Recording says where to record from, and where to.
type Recording struct {
	// Kubeconfig of the API server that the Clouddriver's accounts poll.
	Kubeconfig string
	// DSN of the Clouddriver's database.
	DSN string
	// Accounts are the names of its stock accounts. All see the whole cluster.
	Accounts []string
	// Directory gets one file of rows for each account, one of links, and one of the objects.
	Directory string
	// Progress says what is waited for.
	Progress func(string)
}

// Row is one row of a cats_v1 table.
type Row struct {
	Table string `json:"table"`
	ID    string `json:"id"`
	Agent string `json:"agent"`
	Hash  string `json:"hash"`
	Body  string `json:"body"`
}

// Link is one row of a cats_v1 table of relationships.
type Link struct {
	Table string `json:"table"`
	ID    string `json:"id"`
	To    string `json:"rel_id"`
	Agent string `json:"rel_agent"`
	Type  string `json:"rel_type"`
}

// Apply creates the corpus.
func Apply(ctx context.Context, kubeconfig string) error {
	c, err := OpenCluster(kubeconfig)
	if err != nil {
		return err
	}
	objects, err := Corpus()
	if err != nil {
		return err
	}
	return c.Create(ctx, objects)
}

// Record waits until the Clouddriver's rows show the cluster as it is, and writes down both.
func Record(ctx context.Context, r Recording) error {
	c, err := OpenCluster(r.Kubeconfig)
	if err != nil {
		return err
	}
	db, err := sql.Open("mysql", r.DSN)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	objects, rows, links, err := r.settle(ctx, c, db)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.Directory, 0o755); err != nil { //nolint:gosec // test data
		return err
	}
	if err := writeLines(filepath.Join(r.Directory, "objects.jsonl"), objects); err != nil {
		return err
	}
	if err := writeLines(filepath.Join(r.Directory, "links.jsonl"), links); err != nil {
		return err
	}
	for _, account := range r.Accounts {
		own := slices.DeleteFunc(slices.Clone(rows), func(row Row) bool { return !strings.HasPrefix(row.Agent, account+"/") })
		if err := writeLines(filepath.Join(r.Directory, account+".jsonl"), own); err != nil {
			return err
		}
	}
	return nil
}

// settle reads the cluster and the rows again and again until they agree for nearly all objects (some, such as events
// that count, never rest) and no row or link has come or gone for a while: Clouddriver looks for new custom resources
// every half minute only.
func (r Recording) settle(ctx context.Context, c *Cluster, db *sql.DB) ([]map[string]any, []Row, []Link, error) {
	const restless, rest = 10, 75 * time.Second
	since, last := time.Now(), -1
	for {
		objects, err := c.List(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		rows, err := readRows(ctx, db)
		if err != nil {
			return nil, nil, nil, err
		}
		links, err := readLinks(ctx, db)
		if err != nil {
			return nil, nil, nil, err
		}
		stale := r.stale(objects, rows)
		if now := len(rows) + len(links); now != last {
			since, last = time.Now(), now
		}
		if stale <= restless && time.Since(since) > rest {
			return objects, rows, links, nil
		}
		r.Progress(fmt.Sprintf("%d rows differ from the cluster still; %d rows and links for %s", stale, last, time.Since(since).Round(time.Second)))
		select {
		case <-ctx.Done():
			return nil, nil, nil, ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
}

// stale counts, over all accounts, rows that are not the present state of their object; an account without rows counts
// as stale altogether.
func (r Recording) stale(objects []map[string]any, rows []Row) int {
	versions := make(map[string]string)
	for _, o := range objects {
		uid, version := identity(o)
		versions[uid] = version
	}
	stale := 0
	perAccount := make(map[string]int)
	for _, row := range rows {
		var body struct {
			Attributes struct {
				Manifest map[string]any `json:"manifest"`
			} `json:"attributes"`
		}
		if json.Unmarshal([]byte(row.Body), &body) != nil || body.Attributes.Manifest == nil {
			continue
		}
		account, _, _ := strings.Cut(row.Agent, "/")
		perAccount[account]++
		if uid, version := identity(body.Attributes.Manifest); versions[uid] != version {
			stale++
		}
	}
	for _, account := range r.Accounts {
		if perAccount[account] < 20 {
			stale += len(objects)
		}
	}
	return stale
}

func identity(object map[string]any) (uid, version string) {
	metadata, _ := object["metadata"].(map[string]any)
	uid, _ = metadata["uid"].(string)
	version, _ = metadata["resourceVersion"].(string)
	return uid, version
}

// List reads all objects of all kinds that can be listed, in their preferred versions.
func (c *Cluster) List(ctx context.Context) ([]map[string]any, error) {
	c.discovery.Invalidate()
	lists, err := c.discovery.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	var objects []map[string]any
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || gv.Group == "events.k8s.io" {
				continue
			}
			found, err := c.dynamic.Resource(gv.WithResource(resource.Name)).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", resource.Name, err)
			}
			for _, item := range found.Items {
				objects = append(objects, item.Object)
			}
		}
	}
	return objects, nil
}

// tables names the tables of rows, or those of links.
func tables(ctx context.Context, db *sql.DB, links bool) ([]string, error) {
	var names []string
	err := query(ctx, db, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'cats\\_v1\\_%' ORDER BY TABLE_NAME", func(rows *sql.Rows) error {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if !strings.HasSuffix(name, "_template") && strings.HasSuffix(name, "_rel") == links {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

func readRows(ctx context.Context, db *sql.DB) ([]Row, error) {
	names, err := tables(ctx, db, false)
	if err != nil {
		return nil, err
	}
	var all []Row
	for _, name := range names {
		err := query(ctx, db, "SELECT id, agent, body_hash, body FROM `"+name+"` ORDER BY id, agent", func(rows *sql.Rows) error {
			row := Row{Table: name}
			defer func() { all = append(all, row) }()
			return rows.Scan(&row.ID, &row.Agent, &row.Hash, &row.Body)
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readLinks(ctx context.Context, db *sql.DB) ([]Link, error) {
	names, err := tables(ctx, db, true)
	if err != nil {
		return nil, err
	}
	var all []Link
	for _, name := range names {
		err := query(ctx, db, "SELECT id, rel_id, rel_agent, rel_type FROM `"+name+"` ORDER BY id, rel_id, rel_agent", func(rows *sql.Rows) error {
			link := Link{Table: name}
			defer func() { all = append(all, link) }()
			return rows.Scan(&link.ID, &link.To, &link.Agent, &link.Type)
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// query calls each for every row of the answer.
func query(ctx context.Context, db *sql.DB, statement string, each func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func writeLines[T any](name string, items []T) (err error) {
	file, err := os.Create(name) //nolint:gosec // the caller chose it
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
	}()
	buffered := bufio.NewWriter(file)
	encoder := json.NewEncoder(io.Writer(buffered))
	encoder.SetEscapeHTML(false)
	for _, item := range items {
		if err := encoder.Encode(item); err != nil {
			return err
		}
	}
	return buffered.Flush()
}
