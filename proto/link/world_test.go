package link

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// This file models what is around the cores: clusters, the records of an agent, and the database. Objects are written "pod/a". An object
// of version v has the body "pod/a#v", a link to "svc/<v mod 3>", and keeps the row "applications/<first letter>" alive.

const (
	podType = "pod"
	svcType = "svc"
	appType = "applications"
)

func appOf(name string) string { return name[:1] }

// body is an object's; every fifth version of names that end in 8 is longer than a small database takes.
func body(typ, name string, version int) []byte {
	b := typ + "/" + name + "#" + strconv.Itoa(version)
	if strings.HasSuffix(name, "8") && version%5 == 0 && version > 0 {
		b += "#" + strings.Repeat("x", 200)
	}
	return []byte(b)
}

func versionOf(body []byte) int {
	_, v, _ := strings.Cut(string(body), "#")
	v, _, _ = strings.Cut(v, "#")
	n, _ := strconv.Atoi(v)
	return n
}

func modelKey(typ, name string) *linkv1.Key { return &linkv1.Key{Type: typ, Scope: "ns", Name: name} }

func modelLink(name string, version int) *linkv1.Link {
	return &linkv1.Link{From: modelKey(podType, name), To: modelKey(svcType, strconv.Itoa(version%3))}
}

// modelLinkID has the shape of cats.Link.ID: ten digits of the account, sixteen of the link, to the base of 32.
func modelLinkID(account string, l *linkv1.Link) string {
	digits := func(text string, n int) string {
		sum := sha256.Sum256([]byte(text))
		return base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])[:n]
	}
	return digits(account, 10) + digits(l.GetFrom().GetName()+" "+l.GetTo().GetType()+" "+l.GetTo().GetName(), 16)
}

func putRow(typ, name string, body []byte) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_PutRow{PutRow: &linkv1.Row{Key: modelKey(typ, name), Body: body}}}
}

func deleteRow(typ, name string) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_DeleteRow{DeleteRow: modelKey(typ, name)}}
}

func putLink(l *linkv1.Link) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_PutLink{PutLink: l}}
}

func deleteLink(l *linkv1.Link) *linkv1.Change {
	return &linkv1.Change{Change: &linkv1.Change_DeleteLink{DeleteLink: l}}
}

// cluster is the truth of one account: the objects that its API server holds, and what happened to them.
type cluster struct {
	account string
	objects map[string]int
	last    map[string]int
	events  []event
}

type event struct {
	name    string
	version int
	gone    bool
}

func newCluster(account string) *cluster {
	return &cluster{account: account, objects: map[string]int{}, last: map[string]int{}}
}

func (c *cluster) put(name string) {
	c.last[name]++
	c.objects[name] = c.last[name]
	c.events = append(c.events, event{name: name, version: c.last[name]})
}

func (c *cluster) delete(name string) {
	if _, ok := c.objects[name]; !ok {
		return
	}
	c.last[name]++
	delete(c.objects, name)
	c.events = append(c.events, event{name: name, version: c.last[name], gone: true})
}

// items is one group's content: entry key to hash.
type items map[string]uint64

// sorted lists the keys in order, for pages.
func (m items) sorted() []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (m items) digest(links bool) (count, xor uint64) {
	for k, h := range m {
		if links {
			h, _ = linkHash(k)
		}
		xor ^= h
	}
	return uint64(len(m)), xor
}

// inventory is an agent's records of one account, as cats.Inventory keeps them.
type inventory struct {
	account string
	// bare objects have neither links nor applications.
	bare    bool
	objects map[string]int
	groups  map[groupKey]items
	links   map[string]*linkv1.Link
	members map[string]int
	// listing holds the objects that a list under way has not shown yet.
	listing map[string]bool
}

func newInventory(account string) *inventory {
	return &inventory{account: account, objects: map[string]int{}, groups: map[groupKey]items{}, links: map[string]*linkv1.Link{}, members: map[string]int{}}
}

func (v *inventory) group(key groupKey) items {
	if v.groups[key] == nil {
		v.groups[key] = items{}
	}
	return v.groups[key]
}

var (
	podGroup  = groupKey{typ: podType}
	appGroup  = groupKey{typ: appType}
	linkGroup = groupKey{typ: podType, rel: svcType}
)

// put renders an object: nothing if it is known in this version.
func (v *inventory) put(name string, version int) []*linkv1.Change {
	delete(v.listing, name)
	old, known := v.objects[name]
	if known && old == version {
		return nil
	}
	changes := v.render(name, version)
	if v.bare {
		return changes
	}
	if known && old%3 != version%3 {
		l := modelLink(name, old)
		id := modelLinkID(v.account, l)
		delete(v.group(linkGroup), id)
		delete(v.links, id)
		changes = append(changes, deleteLink(l))
	}
	if app := appOf(name); !known {
		if v.members[app]++; v.members[app] == 1 {
			b := body(appType, app, 0)
			v.group(appGroup)[rowKey(nameOf(modelKey(appType, app)))] = bodyHash(b)
			changes = append(changes, putRow(appType, app, b))
		}
	}
	return changes
}

// render is the object's row and link, whatever is known.
func (v *inventory) render(name string, version int) []*linkv1.Change {
	v.objects[name] = version
	b := body(podType, name, version)
	v.group(podGroup)[rowKey(nameOf(modelKey(podType, name)))] = bodyHash(b)
	if v.bare {
		return []*linkv1.Change{putRow(podType, name, b)}
	}
	l := modelLink(name, version)
	id := modelLinkID(v.account, l)
	v.group(linkGroup)[id] = 0
	v.links[id] = l
	return []*linkv1.Change{putRow(podType, name, b), putLink(l)}
}

func (v *inventory) delete(name string) []*linkv1.Change {
	version, known := v.objects[name]
	if !known {
		return nil
	}
	delete(v.objects, name)
	delete(v.listing, name)
	delete(v.group(podGroup), rowKey(nameOf(modelKey(podType, name))))
	if v.bare {
		return []*linkv1.Change{deleteRow(podType, name)}
	}
	l := modelLink(name, version)
	id := modelLinkID(v.account, l)
	delete(v.group(linkGroup), id)
	delete(v.links, id)
	changes := []*linkv1.Change{deleteRow(podType, name), deleteLink(l)}
	app := appOf(name)
	if v.members[app]--; v.members[app] == 0 {
		delete(v.group(appGroup), rowKey(nameOf(modelKey(appType, app))))
		changes = append(changes, deleteRow(appType, app))
	}
	return changes
}

func (v *inventory) Groups() []*linkv1.Group {
	var list []*linkv1.Group
	for _, key := range []groupKey{podGroup, appGroup, linkGroup} {
		if len(v.groups[key]) > 0 {
			list = append(list, key.message())
		}
	}
	return list
}

func (v *inventory) Digest(g *linkv1.Group) (count, xor uint64) {
	return v.groups[groupOf(g)].digest(g.GetRelType() != "")
}

func (v *inventory) Page(g *linkv1.Group, after string, limit int) []*linkv1.Entry {
	m := v.groups[groupOf(g)]
	var page []*linkv1.Entry
	for _, k := range m.sorted() {
		if k > after && len(page) < limit {
			page = append(page, &linkv1.Entry{Key: k, Hash: m[k]})
		}
	}
	return page
}

func (v *inventory) Change(g *linkv1.Group, key string) (*linkv1.Change, bool) {
	switch groupOf(g) {
	case linkGroup:
		l, ok := v.links[key]
		return putLink(l), ok
	case appGroup:
		_, ok := v.groups[appGroup][key]
		name := strings.TrimPrefix(key, "ns/")
		return putRow(appType, name, body(appType, name, 0)), ok
	}
	return nil, false
}

// database is the model of MySQL: fences, rows and links of all accounts.
type database struct {
	accounts map[string]*tables
	// away: every request fails.
	away bool
	// restores counts how often it was set back; writes counts committed transactions.
	restores, writes int
	// maxBody rejects larger bodies.
	maxBody int
	// fenceless plants a bug: fences are not looked at.
	fenceless bool
	// regressed is called when a put is older than what the same process wrote before.
	regressed func(account, key string, before written, version int)
}

// tables is one account's fence, rows and links.
type tables struct {
	epoch  uint64
	holder string
	groups map[groupKey]items
	// versions holds, for each row, the version of its last put, or one more after a delete, and who wrote it.
	versions map[string]written
}

type written struct {
	version  int
	instance string
}

func newDatabase() *database { return &database{accounts: map[string]*tables{}, maxBody: 1 << 20} }

func (d *database) tables(account string) *tables {
	if d.accounts[account] == nil {
		d.accounts[account] = &tables{groups: map[groupKey]items{}, versions: map[string]written{}}
	}
	return d.accounts[account]
}

func (t *tables) group(key groupKey) items {
	if t.groups[key] == nil {
		t.groups[key] = items{}
	}
	return t.groups[key]
}

// gone remembers a delete. One of what another process wrote says nothing about versions: this one may be behind.
func (t *tables) gone(key string) {
	version := 0
	if t.versions[key].instance == t.holder {
		version = t.versions[key].version + 1
	}
	t.versions[key] = written{version, t.holder}
}

func (t *tables) clone() *tables {
	c := &tables{epoch: t.epoch, holder: t.holder, groups: map[groupKey]items{}, versions: map[string]written{}}
	for k, m := range t.groups {
		c.groups[k] = items{}
		for key, hash := range m {
			c.groups[k][key] = hash
		}
	}
	for k, v := range t.versions {
		c.versions[k] = v
	}
	return c
}

var errAway = fmt.Errorf("the database is away")

func (d *database) attach(a Attach) AttachResult {
	if d.away {
		return AttachResult{Account: a.Account, Err: errAway}
	}
	t := d.tables(a.Account)
	r := AttachResult{Account: a.Account, Continues: t.holder == a.Instance && t.epoch == a.ResumeEpoch && t.epoch > 0}
	t.epoch = max(t.epoch, a.ResumeEpoch) + 1
	t.holder = a.Instance
	r.Epoch = t.epoch
	return r
}

// write commits one batch; observe sees each change and what was there before.
func (d *database) write(w Write) WriteResult {
	r := WriteResult{Account: w.Account, Epoch: w.Epoch, Seq: w.Seq}
	t := d.tables(w.Account)
	switch {
	case d.away:
		r.Err = errAway
		return r
	case (t.epoch != w.Epoch || t.holder != w.Instance) && !d.fenceless:
		r.Fenced = true
		return r
	}
	d.writes++
	for _, c := range w.Changes {
		if rejected := d.apply(t, w.Account, c); rejected != nil {
			r.Rejected = append(r.Rejected, rejected)
		}
	}
	return r
}

func (d *database) apply(t *tables, account string, c *linkv1.Change) *linkv1.Rejected {
	key, _ := itemOf(c)
	group := t.group(key.group())
	switch c := c.GetChange().(type) {
	case *linkv1.Change_PutRow:
		if b := c.PutRow.GetBody(); len(b) > d.maxBody {
			return &linkv1.Rejected{Group: key.group().message(), Key: rowKey(key.from), Reason: "too large"}
		}
		group[rowKey(key.from)] = bodyHash(c.PutRow.GetBody())
		if key.from.typ == podType {
			version, before := versionOf(c.PutRow.GetBody()), t.versions[rowKey(key.from)]
			if before.instance == t.holder && version < before.version && d.regressed != nil {
				d.regressed(account, rowKey(key.from), before, version)
			}
			t.versions[rowKey(key.from)] = written{version, t.holder}
		}
	case *linkv1.Change_DeleteRow:
		if _, ok := group[rowKey(key.from)]; ok && key.from.typ == podType {
			t.gone(rowKey(key.from))
		}
		delete(group, rowKey(key.from))
	case *linkv1.Change_PutLink:
		group[modelLinkID(account, c.PutLink)] = 0
	case *linkv1.Change_DeleteLink:
		delete(group, modelLinkID(account, c.DeleteLink))
	}
	return nil
}

func (d *database) digest(q ReadDigest) DigestResult {
	r := DigestResult{Account: q.Account, Epoch: q.Epoch, Seq: q.Seq}
	if d.away {
		r.Err = errAway
		return r
	}
	r.Count, r.Xor = d.tables(q.Account).groups[groupOf(q.Group)].digest(q.Group.GetRelType() != "")
	return r
}

func (d *database) entries(q ReadEntries) EntriesResult {
	r := EntriesResult{Account: q.Account, Epoch: q.Epoch, Seq: q.Seq}
	if d.away {
		r.Err = errAway
		return r
	}
	m := d.tables(q.Account).groups[groupOf(q.Group)]
	for _, k := range m.sorted() {
		r.Entries = append(r.Entries, &linkv1.Entry{Key: k, Hash: m[k]})
	}
	return r
}

func (d *database) groupsOf(q ReadGroups) GroupsResult {
	r := GroupsResult{Account: q.Account, Epoch: q.Epoch}
	if d.away {
		r.Err = errAway
		return r
	}
	t := d.tables(q.Account)
	for _, key := range []groupKey{podGroup, appGroup, linkGroup, {typ: "old"}} {
		if len(t.groups[key]) > 0 {
			r.Groups = append(r.Groups, key.message())
		}
	}
	return r
}

func (d *database) sweep(s Sweep) SweepResult {
	r := SweepResult{Account: s.Account, Epoch: s.Epoch, Seq: s.Seq}
	t := d.tables(s.Account)
	switch {
	case d.away:
		r.Err = errAway
		return r
	case (t.epoch != s.Epoch || t.holder != s.Instance) && !d.fenceless:
		r.Fenced = true
		return r
	}
	group := t.group(groupOf(s.Group))
	for _, k := range s.Keys {
		if _, ok := group[k]; ok {
			r.Deleted++
			delete(group, k)
			if groupOf(s.Group) == podGroup {
				t.gone(k)
			}
		}
	}
	return r
}

// differs tells what an account's tables lack or have too much against its cluster; empty: nothing.
func (d *database) differs(c *cluster) string { return d.differsFrom(c, false) }

func (d *database) differsFrom(c *cluster, bare bool) string {
	want := newInventory(c.account)
	want.bare = bare
	for name, version := range c.objects {
		want.put(name, version)
		if len(body(podType, name, version)) > d.maxBody {
			delete(want.groups[podGroup], rowKey(nameOf(modelKey(podType, name))))
		}
	}
	t := d.tables(c.account)
	var all []string
	for _, key := range []groupKey{podGroup, appGroup, linkGroup, {typ: "old"}} {
		for k, h := range want.groups[key] {
			if got, ok := t.groups[key][k]; !ok {
				all = append(all, fmt.Sprintf("%s %s is missing", key.typ+key.rel, k))
			} else if got != h {
				all = append(all, fmt.Sprintf("%s %s is outdated", key.typ+key.rel, k))
			}
		}
		for k := range t.groups[key] {
			if _, ok := want.groups[key][k]; !ok {
				all = append(all, fmt.Sprintf("%s %s should be gone", key.typ+key.rel, k))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func seeded(seed uint64) *rand.Rand {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return rand.New(rand.NewPCG(seed, 7))
}

var epochStart = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
