package link

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"math/rand/v2"
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

func seeded(seed uint64) *rand.Rand {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return rand.New(rand.NewPCG(seed, 7))
}

var epochStart = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
