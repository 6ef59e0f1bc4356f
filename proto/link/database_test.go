package link

import (
	"fmt"
	"slices"
	"strings"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

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

// attach moves the fence, unless another process holds the account and lives.
func (d *database) attach(a Attach, live bool) AttachResult {
	t := d.tables(a.Account)
	switch {
	case d.away:
		return AttachResult{Account: a.Account, Err: errAway}
	case live && t.holder != a.Instance:
		return AttachResult{Account: a.Account, HeldBy: t.holder}
	}
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
