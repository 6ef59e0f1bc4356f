package cache

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// strangePrefix begins the entry key of a row whose id is not one of this account and type. No path begins so: a scope holds no colon
// before its slash.
const strangePrefix = "id:"

// Digest returns the count and the XOR of the hashes of a group (linkv1.Digest). It comes after every write of the account
// that was submitted before. Hashes are taken from an index; as often as Options.VerifyRate allows, or always if verify is set, they are
// compared with what the rows hold.
func (w *Writer) Digest(ctx context.Context, account string, g *linkv1.Group, verify bool) (count, xor uint64, err error) {
	if err := w.settle(ctx, account); err != nil {
		return 0, 0, err
	}
	t, rel := cats.Type(g.GetType()), cats.Type(g.GetRelType())
	var d store.Digest
	if rel == "" {
		d, err = w.digests.ask(ctx, w.rowTable(t), false, w.agent(account, t))
	} else {
		d, err = w.digests.ask(ctx, w.linkTable(t), true, w.relAgent(account, rel))
	}
	if err != nil || d.Count == 0 || !verify && !w.verify.AllowN(time.Now(), int(min(d.Count, math.MaxInt32))) { //nolint:gosec // bounded
		return d.Count, d.XOR, err
	}
	w.metrics.verified.Add(float64(d.Count))
	return w.trueDigest(ctx, account, g)
}

// trueDigest is the digest of what the rows hold, whatever the hashes beside it say.
func (w *Writer) trueDigest(ctx context.Context, account string, g *linkv1.Group) (count, xor uint64, err error) {
	entries, err := w.entries(ctx, account, g)
	for _, e := range entries {
		count++
		switch id, _ := strconv.ParseUint(e.key[max(len(e.key)-12, 0):], 32, 64); {
		case g.GetRelType() == "":
			xor ^= e.hash
		case e.hash == 0:
			xor ^= id
		}
	}
	return count, xor, err
}

// Entries lists a group in byte order of the keys. It comes after every write of the account that was submitted before.
func (w *Writer) Entries(ctx context.Context, account string, g *linkv1.Group) ([]*linkv1.Entry, error) {
	if err := w.settle(ctx, account); err != nil {
		return nil, err
	}
	found, err := w.entries(ctx, account, g)
	if err != nil {
		return nil, err
	}
	entries := make([]*linkv1.Entry, len(found))
	for i, e := range found {
		entries[i] = &linkv1.Entry{Key: e.key, Hash: e.hash}
	}
	slices.SortFunc(entries, func(a, b *linkv1.Entry) int { return cmp.Compare(a.GetKey(), b.GetKey()) })
	return entries, nil
}

// entry is one item of a group as the tables hold it.
type entry struct {
	key  string
	hash uint64
}

// edited is the hash of a link whose columns do not fit its id; that of others is 0.
const edited = 1

func (w *Writer) entries(ctx context.Context, account string, g *linkv1.Group) ([]entry, error) {
	t, rel := cats.Type(g.GetType()), cats.Type(g.GetRelType())
	if rel == "" {
		found, err := w.o.Store.RowEntries(ctx, w.rowTable(t), w.agent(account, t))
		entries := make([]entry, len(found))
		for i, e := range found {
			entries[i] = entry{key: entryKey(account, t, e.ID), hash: e.Hash}
		}
		return entries, err
	}
	found, err := w.o.Store.LinkEntries(ctx, w.linkTable(t), w.relAgent(account, rel))
	entries := make([]entry, len(found))
	for i, l := range found {
		entries[i].key = l.UUID
		if l.RelType != string(rel) || cats.LinkID(account, l.ID, l.RelID) != l.UUID {
			entries[i].hash = edited
		}
	}
	return entries, err
}

// entryKey is how a snapshot spells the row of an id. What does not belong there keeps its id, so that it can be swept.
func entryKey(account string, t cats.Type, id string) string {
	owner, key, err := cats.ParseID(id)
	if err != nil || key.Type != t || t != cats.Applications && owner != account {
		return strangePrefix + id
	}
	return key.Path()
}

// entryID is the inverse of entryKey.
func entryID(account string, t cats.Type, entry string) (string, error) {
	if id, strange := strings.CutPrefix(entry, strangePrefix); strange {
		return id, nil
	}
	key, err := cats.PathKey(t, entry)
	if err != nil {
		return "", err
	}
	return key.ID(account)
}

// settle waits until what the account has submitted so far has ended.
func (w *Writer) settle(ctx context.Context, account string) error {
	if w.queue.idle(account) {
		return nil
	}
	_, err := w.submitAndWait(ctx, &task{account: account, barrier: true})
	return err
}

// layout is which tables there are and where their links lead.
type layout struct {
	probes []store.Probe
	read   time.Time
}

// layoutAge is how old the layout may be when an account is looked for.
const layoutAge = 10 * time.Second

// Types lists the groups in which the account has rows or links: what a former configuration left is among them.
func (w *Writer) Types(ctx context.Context, account string) ([]*linkv1.Group, error) {
	if err := w.settle(ctx, account); err != nil {
		return nil, err
	}
	held, err := w.held(ctx, account)
	if err != nil {
		return nil, err
	}
	groups := make([]*linkv1.Group, 0, len(held))
	for probe, t := range held {
		groups = append(groups, &linkv1.Group{Type: string(t), RelType: probe.RelType})
	}
	slices.SortFunc(groups, func(a, b *linkv1.Group) int {
		return cmp.Or(cmp.Compare(a.GetType(), b.GetType()), cmp.Compare(a.GetRelType(), b.GetRelType()))
	})
	return groups, nil
}

// held finds the tables that hold something of the account, with the type that each is of.
func (w *Writer) held(ctx context.Context, account string) (map[store.Probe]cats.Type, error) {
	probes, err := w.probes(ctx)
	if err != nil {
		return nil, err
	}
	held := map[store.Probe]cats.Type{}
	// A statement of a few hundred SELECTs is still read quickly.
	for part := range slices.Chunk(probes, 200) {
		found, err := w.o.Store.ProbeAccount(ctx, account, part)
		if store.IsNoTable(err) {
			w.forgetLayout()
		}
		if err != nil {
			return nil, err
		}
		for probe, id := range found {
			_, key, err := cats.ParseID(id)
			// Another table namespace's tables, or not the Kubernetes provider's.
			if err != nil || cats.TableName(w.o.TableNamespace, key.Type, probe.RelType != "") != probe.Table {
				continue
			}
			held[probe] = key.Type
		}
	}
	return held, nil
}

func (w *Writer) probes(ctx context.Context) ([]store.Probe, error) {
	w.layoutMu.Lock()
	defer w.layoutMu.Unlock()
	if time.Since(w.layout.read) < layoutAge {
		return w.layout.probes, nil
	}
	rows, links, err := w.o.Store.CacheTables(ctx)
	if err != nil {
		return nil, err
	}
	var probes []store.Probe
	for _, table := range rows {
		probes = append(probes, store.Probe{Table: table})
	}
	for _, table := range links {
		types, err := w.o.Store.LinkTypes(ctx, table)
		if err != nil {
			return nil, err
		}
		for _, t := range types {
			probes = append(probes, store.Probe{Table: table, RelType: t})
		}
	}
	w.layout = layout{probes: probes, read: time.Now()}
	return probes, nil
}

func (w *Writer) forgetLayout() {
	w.layoutMu.Lock()
	defer w.layoutMu.Unlock()
	w.layout = layout{}
}
