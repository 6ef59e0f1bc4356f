package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// sweepChunk is how many rows one transaction of a sweep deletes.
const sweepChunk = 500

// Sweep deletes what a completed snapshot of a group does not hold, by entry keys as Entries gave them. It is fenced like a write, and
// comes after every write of the account that was submitted before.
func (w *Writer) Sweep(ctx context.Context, fence store.Fence, g *linkv1.Group, keys []string) (deleted int, err error) {
	account := fence.Account
	items := make([]item, 0, len(keys))
	for _, key := range keys {
		it, err := w.sweepItem(account, g, key)
		if err != nil {
			return 0, fmt.Errorf("sweep %s of account %q: %w", g.GetType(), account, err)
		}
		items = append(items, it)
	}
	return w.delete(ctx, fence, items)
}

func (w *Writer) sweepItem(account string, g *linkv1.Group, key string) (item, error) {
	t := cats.Type(g.GetType())
	it := item{typ: t, relType: g.GetRelType(), entry: key}
	if it.relType != "" {
		it.link = &store.Link{UUID: key}
		return it, nil
	}
	id, err := entryID(account, t, key)
	it.row = store.Row{ID: id, Agent: w.agent(account, t)}
	return it, err
}

// delete writes deletions in chunks and waits for them.
func (w *Writer) delete(ctx context.Context, fence store.Fence, items []item) (deleted int, err error) {
	for part := range slices.Chunk(items, sweepChunk) {
		t := &task{account: fence.Account, holder: fence.Holder, epoch: fence.Epoch, items: part}
		for i := range part {
			t.bytes += part[i].bytes()
		}
		o, err := w.submitAndWait(ctx, t)
		deleted += o.deleted
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// SweepLeftovers deletes rows and links of a group that other agent names of the same account hold: of polling with several cache
// threads before the account had an agent, or from before a kind came to the account's customResources. Clouddriver would merge them with
// ours for ever. Call it once the group has been found equal: what the leftovers showed is there by then.
func (w *Writer) SweepLeftovers(ctx context.Context, fence store.Fence, g *linkv1.Group) (deleted int, err error) {
	account := fence.Account
	t, rel := cats.Type(g.GetType()), cats.Type(g.GetRelType())
	for {
		var items []item
		if rel == "" {
			rows, err := w.o.Store.RowsOfOthers(ctx, w.rowTable(t), account, w.agent(account, t), sweepChunk)
			if err != nil {
				return deleted, err
			}
			items = rowItems(t, rows)
		} else {
			links, err := w.o.Store.LinksOfOthers(ctx, w.linkTable(t), string(rel), account, w.relAgent(account, rel), sweepChunk)
			if err != nil {
				return deleted, err
			}
			items = linkItems(t, g.GetRelType(), links)
		}
		n, err := w.delete(ctx, fence, items)
		deleted += n
		if err != nil || n == 0 {
			return deleted, err
		}
	}
}

// Leftovers finds the groups of accounts in which other agent names of the account than ours have rows or links. It asks each table for the
// names alone, which does not cost more where there are more rows.
func (w *Writer) Leftovers(ctx context.Context, wanted func(account string) bool) (map[string][]*linkv1.Group, error) {
	rows, links, err := w.o.Store.CacheTables(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]map[string]*linkv1.Group{}
	for _, table := range slices.Concat(rows, links) {
		rowTable, isLinks := strings.CutSuffix(table, linksSuffix)
		isLinks = isLinks && slices.Contains(links, table)
		agents, err := w.o.Store.Agents(ctx, table, isLinks)
		if err != nil {
			return nil, err
		}
		t := cats.Type("")
		for _, agent := range agents {
			rel, name := "", agent
			if isLinks {
				rel, name, _ = strings.Cut(agent, ":")
			}
			account, _, _ := strings.Cut(name, "/")
			if !wanted(account) {
				continue
			}
			if t == "" {
				if t, err = w.typeOf(ctx, rowTable); err != nil {
					return nil, err
				}
			}
			if t == "" || !isLinks && agent == w.agent(account, t) || isLinks && agent == w.relAgent(account, cats.Type(rel)) {
				continue
			}
			if found[account] == nil {
				found[account] = map[string]*linkv1.Group{}
			}
			found[account][table+" "+rel] = &linkv1.Group{Type: string(t), RelType: rel}
		}
	}
	groups := make(map[string][]*linkv1.Group, len(found))
	for account, byTable := range found {
		for _, key := range slices.Sorted(maps.Keys(byTable)) {
			groups[account] = append(groups[account], byTable[key])
		}
	}
	return groups, nil
}

const linksSuffix = "_rel"

// typeOf is the type whose rows a table of ours holds, "" if it holds none or is not ours. A table's name does not tell: other characters
// than letters and digits have become underscores.
func (w *Writer) typeOf(ctx context.Context, table string) (cats.Type, error) {
	id, err := w.o.Store.AnyRow(ctx, table)
	if err != nil || id == "" {
		return "", err
	}
	_, key, err := cats.ParseID(id)
	if err != nil || w.rowTable(key.Type) != table {
		return "", nil //nolint:nilerr // another provider's
	}
	return key.Type, nil
}

// Remove deletes everything that Clouddriver's tables hold of an account, whoever wrote it. It takes the account's fence from whoever has
// it. When somebody attaches the account in the meantime, Remove stops without an error: what it left is that session's, which compares all of it.
func (w *Writer) Remove(ctx context.Context, account string) (deleted int, err error) {
	epoch, _, err := w.o.Store.Attach(ctx, account, "", 0)
	if err != nil {
		return 0, err
	}
	w.forgetLayout()
	held, err := w.held(ctx, account)
	if err != nil {
		return 0, err
	}
	for probe, t := range held {
		n, err := w.removeFrom(ctx, store.Fence{Account: account, Epoch: epoch}, probe, t)
		deleted += n
		if errors.Is(err, ErrFenced) {
			w.o.Log.Info("account came back while it was being removed", "account", account, "deleted", deleted)
			return deleted, nil
		}
		if err != nil {
			return deleted, fmt.Errorf("remove account %q: %w", account, err)
		}
	}
	return deleted, nil
}

func (w *Writer) removeFrom(ctx context.Context, fence store.Fence, probe store.Probe, t cats.Type) (deleted int, err error) {
	for {
		var items []item
		if probe.RelType == "" {
			rows, err := w.o.Store.RowsOfAccount(ctx, probe.Table, fence.Account, sweepChunk)
			if err != nil {
				return deleted, err
			}
			items = rowItems(t, rows)
		} else {
			links, err := w.o.Store.LinksOfAccount(ctx, probe.Table, probe.RelType, fence.Account, sweepChunk)
			if err != nil {
				return deleted, err
			}
			items = linkItems(t, probe.RelType, links)
		}
		n, err := w.delete(ctx, fence, items)
		deleted += n
		if err != nil || n == 0 {
			return deleted, err
		}
	}
}

func rowItems(t cats.Type, rows []store.Row) []item {
	items := make([]item, len(rows))
	for i, r := range rows {
		items[i] = item{typ: t, row: r, entry: r.ID}
	}
	return items
}

func linkItems(t cats.Type, rel string, links []store.Link) []item {
	items := make([]item, len(links))
	for i := range links {
		items[i] = item{typ: t, relType: rel, link: &links[i], entry: links[i].UUID}
	}
	return items
}
