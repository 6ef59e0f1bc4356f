package link

// watchNode is an agent's list and watch of one account.
type watchNode struct {
	listed, listing bool
	list            []event
	// from is the next event to read; seen the newest version that was read of each object.
	from int
	seen map[string]int
}

// relist begins a list, as at the start and after a broken watch. It is a consistent snapshot, and the watch goes on from it.
func (n *agentNode) relist(account string) {
	inv, c, wn := n.records[account], n.w.clusters[account], n.watches[account]
	inv.listing = map[string]bool{}
	for name := range inv.objects {
		inv.listing[name] = true
	}
	*wn = watchNode{listed: true, listing: true, from: len(c.events), seen: map[string]int{}}
	for _, name := range toItems(c.objects).sorted() {
		wn.list = append(wn.list, event{name: name, version: c.objects[name]})
	}
	for _, typ := range n.types() {
		n.core.NotLive(account, typ)
	}
	n.actions()
}

// observe reads one object of a list or one event of a watch; false if there is none or no room.
func (n *agentNode) observe(account string) bool {
	inv, c, wn := n.records[account], n.w.clusters[account], n.watches[account]
	switch {
	case inv == nil || !n.core.Room(account) || n.patient && !n.policies[account]:
		return false
	case !wn.listed:
		n.relist(account)
	case wn.listing && len(wn.list) > 0:
		e := wn.list[0]
		wn.list = wn.list[1:]
		n.see(account, e)
	case wn.listing:
		for _, name := range boolItems(inv.listing).sorted() {
			n.put(account, inv.delete(name))
		}
		wn.listing, inv.listing = false, nil
		for _, typ := range n.types() {
			if n.never == "" || typ != n.never && typ != appType {
				n.core.Live(n.clock(), account, typ)
			}
		}
	case wn.from < len(c.events):
		wn.from++
		n.see(account, c.events[wn.from-1])
	default:
		return false
	}
	n.actions()
	return true
}

// see takes one state of an object, unless a newer one was seen.
func (n *agentNode) see(account string, e event) {
	inv, wn := n.records[account], n.watches[account]
	if e.version < wn.seen[e.name] {
		return
	}
	if wn.seen == nil {
		// A fetch of before the list.
		wn.seen = map[string]int{}
	}
	wn.seen[e.name] = e.version
	if e.gone {
		n.put(account, inv.delete(e.name))
	} else {
		n.put(account, inv.put(e.name, e.version))
	}
}

func toItems(m map[string]int) items {
	r := items{}
	for k := range m {
		r[k] = 0
	}
	return r
}

func boolItems(m map[string]bool) items {
	r := items{}
	for k := range m {
		r[k] = 0
	}
	return r
}
