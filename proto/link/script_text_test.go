package link

import (
	"fmt"
	"slices"
	"strings"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// This file writes frames, requests and states as the scripts show them.

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// sendAll puts what the agent has onto the connection: everything, or one frame.
func (n *agentNode) sendAll(once bool) string {
	var list []string
	for c := n.session; c != nil && n.session == c && !(once && len(list) > 0); {
		if f := n.core.NextSession(); f != nil {
			list = append(list, sessionUpText(f))
			if !c.cutUp {
				c.up = append(c.up, f)
			}
			continue
		}
		if !c.opened {
			break
		}
		if f := n.core.NextInventory(); f != nil {
			n.actions()
			list = append(list, inventoryUpText(f))
			if !c.cutUp {
				c.invUp = append(c.invUp, f)
			}
			continue
		}
		n.actions()
		f := n.core.NextOperation()
		if f == nil {
			break
		}
		list = append(list, operationUpText(f))
		if !c.cutUp {
			c.opUp = append(c.opUp, f)
		}
	}
	return orNothing(list)
}

// receiveAll takes what is on its way.
func (n *agentNode) receiveAll() string {
	var list []string
	for c := n.session; c != nil && n.session == c; {
		switch {
		case len(c.down) > 0:
			list = append(list, sessionDownText(c.down[0]))
			c.deliverSessionDown()
		case len(c.invDn) > 0:
			list = append(list, inventoryDownText(c.invDn[0]))
			c.deliverInventoryDown()
		case len(c.opDn) > 0:
			list = append(list, operationDownText(c.opDn[0]))
			c.deliverOperationDown()
		default:
			if c.deliverEnd() {
				list = append(list, "the end")
			}
			c = nil
		}
	}
	return orNothing(list)
}

func (b *bridgeNode) sendAll() string {
	var list []string
	for _, c := range slices.Clone(b.sessions) {
		c.openStreams()
		for moved := true; moved && !c.hung; {
			up, inv, op := len(c.down), len(c.invDn), len(c.opDn)
			moved = c.sendDown()
			list = append(list, texts(c.down, up, sessionDownText)...)
			list = append(list, texts(c.invDn, inv, inventoryDownText)...)
			list = append(list, texts(c.opDn, op, operationDownText)...)
		}
	}
	return orNothing(list)
}

func texts[T any](frames []T, from int, text func(T) string) (list []string) {
	for _, f := range frames[min(from, len(frames)):] {
		list = append(list, text(f))
	}
	return list
}

func (b *bridgeNode) receiveAll() string {
	var list []string
	for _, c := range slices.Clone(b.sessions) {
		c.openStreams()
		for moved := true; moved && !c.hung; {
			switch {
			case len(c.up) > 0:
				list = append(list, sessionUpText(c.up[0]))
				c.deliverSessionUp()
			case len(c.invUp) > 0:
				list = append(list, inventoryUpText(c.invUp[0]))
				c.deliverInventoryUp()
			case len(c.opUp) > 0:
				list = append(list, operationUpText(c.opUp[0]))
				c.deliverOperationUp()
			default:
				if c.deliverEnd() {
					list = append(list, "the end")
				}
				moved = false
			}
		}
		if c.hung && len(c.down) > 0 {
			list = append(list, "hangs up: "+sessionDownText(c.down[len(c.down)-1]))
		}
	}
	return orNothing(list)
}

func sessionUpText(f *linkv1.SessionUp) string {
	switch f := f.GetFrame().(type) {
	case *linkv1.SessionUp_Hello:
		text := "hello"
		for _, r := range f.Hello.GetResumes() {
			text += fmt.Sprintf(" after epoch %d", r.GetEpoch())
		}
		return text
	case *linkv1.SessionUp_Accounts:
		text := "accounts"
		for _, a := range f.Accounts.GetAccounts() {
			text += " " + a.GetName()
		}
		for _, r := range f.Accounts.GetRemoved() {
			text += " removed:" + r
		}
		return text
	case *linkv1.SessionUp_Facts:
		return "facts"
	case *linkv1.SessionUp_Heartbeat:
		return fmt.Sprintf("heartbeat %d", f.Heartbeat.GetNumber())
	case *linkv1.SessionUp_Compared:
		text := "compared ["
		for i, g := range f.Compared.GetAgreed() {
			text += " "[:min(i, 1)] + groupText(g)
		}
		for _, g := range f.Compared.GetOpen() {
			text += " not:" + groupText(g)
		}
		return text + "]"
	case *linkv1.SessionUp_Goodbye:
		return "goodbye"
	}
	return "?"
}

func sessionDownText(f *linkv1.SessionDown) string {
	switch f := f.GetFrame().(type) {
	case *linkv1.SessionDown_Welcome:
		return "welcome"
	case *linkv1.SessionDown_Verdict:
		if f.Verdict.GetAccepted() {
			return "accepted " + f.Verdict.GetAccount()
		}
		return "refused " + f.Verdict.GetAccount() + ": " + f.Verdict.GetReason()
	case *linkv1.SessionDown_Attached:
		if f.Attached.GetContinues() {
			return fmt.Sprintf("attached epoch %d, continue", f.Attached.GetEpoch())
		}
		return fmt.Sprintf("attached epoch %d", f.Attached.GetEpoch())
	case *linkv1.SessionDown_Detached:
		return fmt.Sprintf("detached epoch %d", f.Detached.GetEpoch())
	case *linkv1.SessionDown_Survey:
		var groups []string
		for _, g := range f.Survey.GetGroups() {
			groups = append(groups, groupText(g))
		}
		return "survey [" + strings.Join(groups, " ") + "]"
	case *linkv1.SessionDown_Heartbeat:
		return fmt.Sprintf("heartbeat %d", f.Heartbeat.GetNumber())
	case *linkv1.SessionDown_Drain:
		return strings.TrimSpace("drain " + strings.Join(f.Drain.GetAddresses(), " "))
	case *linkv1.SessionDown_Close:
		return fmt.Sprintf("close %s (%s)", strings.TrimPrefix(f.Close.GetCode().String(), "CODE_"), f.Close.GetReason())
	}
	return "?"
}

func inventoryUpText(f *linkv1.InventoryUp) string {
	text := ""
	switch s := f.GetStep().(type) {
	case *linkv1.InventoryUp_Batch:
		text = "batch %d [" + changesText(s.Batch.GetChanges()) + "]"
	case *linkv1.InventoryUp_Digest:
		text = "digest %d " + groupText(s.Digest.GetGroup())
	case *linkv1.InventoryUp_Page:
		text = "page %d " + groupText(s.Page.GetGroup()) + " [" + entriesText(s.Page) + "]"
		if s.Page.GetBegin() {
			text += " begin"
		}
		if s.Page.GetEnd() {
			text += " end"
		}
	}
	return fmt.Sprintf(text, f.GetSeq())
}

func groupText(g *linkv1.Group) string {
	if g.GetRelType() != "" {
		return g.GetType() + ">" + g.GetRelType()
	}
	return g.GetType()
}

func entriesText(p *linkv1.Page) string {
	var list []string
	for _, e := range p.GetEntries() {
		key := strings.TrimPrefix(e.GetKey(), "ns/")
		if p.GetGroup().GetRelType() != "" {
			key = key[len(key)-4:]
		}
		list = append(list, key)
	}
	return strings.Join(list, " ")
}

func changesText(changes []*linkv1.Change) string {
	var list []string
	for _, c := range changes {
		key, _ := itemOf(c)
		name := key.from.name
		if key.from.typ != podType {
			name = key.from.typ + ":" + name
		}
		switch {
		case c.GetPutRow() != nil && key.from.typ == podType:
			name += fmt.Sprintf("@%d", versionOf(c.GetPutRow().GetBody()))
		case c.GetDeleteRow() != nil:
			name += " gone"
		case c.GetPutLink() != nil:
			name += ">" + key.to.name
		case c.GetDeleteLink() != nil:
			name += ">" + key.to.name + " gone"
		}
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}

func inventoryDownText(f *linkv1.InventoryDown) string {
	switch f := f.GetFrame().(type) {
	case *linkv1.InventoryDown_Ack:
		return fmt.Sprintf("ack %d", f.Ack.GetSeq())
	case *linkv1.InventoryDown_Credit:
		return "credit"
	case *linkv1.InventoryDown_Verdict:
		word := "differs"
		if f.Verdict.GetEqual() {
			return fmt.Sprintf("%d equal", f.Verdict.GetSeq())
		} else if f.Verdict.GetGiveUp() {
			word = "gave up"
		}
		return fmt.Sprintf("%s %s", groupText(f.Verdict.GetGroup()), word)
	case *linkv1.InventoryDown_Want:
		var keys []string
		for _, k := range f.Want.GetKeys() {
			keys = append(keys, strings.TrimPrefix(k, "ns/"))
		}
		return fmt.Sprintf("want %s [%s]", groupText(f.Want.GetGroup()), strings.Join(keys, " "))
	case *linkv1.InventoryDown_Rejected:
		return "rejected " + strings.TrimPrefix(f.Rejected.GetKey(), "ns/")
	}
	return "?"
}

func operationUpText(f *linkv1.OperationUp) string {
	switch x := f.GetFrame().(type) {
	case *linkv1.OperationUp_Output:
		return fmt.Sprintf("%s output from %d %q", f.GetId(), x.Output.GetOffset(), strings.TrimSpace(string(x.Output.GetData())))
	case *linkv1.OperationUp_Outcome:
		return fmt.Sprintf("%s %s", f.GetId(), strings.TrimPrefix(x.Outcome.GetState().String(), "STATE_"))
	}
	return "?"
}

func operationDownText(f *linkv1.OperationDown) string {
	switch x := f.GetFrame().(type) {
	case *linkv1.OperationDown_Start:
		return fmt.Sprintf("%s start from %d", f.GetId(), x.Start.GetOutputOffset())
	case *linkv1.OperationDown_Cancel:
		return f.GetId() + " cancel"
	case *linkv1.OperationDown_Received:
		return f.GetId() + " received"
	case *linkv1.OperationDown_OutputCredit:
		return f.GetId() + " credit"
	}
	return "?"
}

func requestText(a Action) string {
	switch a := a.(type) {
	case Attach:
		return "attach"
	case Write:
		return fmt.Sprintf("write %d at epoch %d", a.Seq, a.Epoch)
	case ReadDigest:
		return "read digest of " + groupText(a.Group)
	case ReadEntries:
		return "read " + groupText(a.Group)
	case ReadGroups:
		return "read groups"
	case Sweep:
		return strings.ReplaceAll(fmt.Sprintf("sweep %s [%s]", groupText(a.Group), strings.Join(a.Keys, " ")), "ns/", "")
	}
	return "?"
}

func (acc *agentAccount) outboxText() string {
	var list []string
	for _, f := range acc.box.flights {
		for _, set := range f.sets {
			list = append(list, "sent "+setText(set))
		}
	}
	for set := acc.box.head; set != nil; set = set.next {
		list = append(list, setText(set))
	}
	if len(list) == 0 {
		return "empty"
	}
	return strings.Join(list, ", ")
}

func setText(set *changeSet) string {
	var changes []*linkv1.Change
	for i := range set.items {
		changes = append(changes, set.items[i].change)
	}
	return "[" + changesText(changes) + "]"
}

func stateText(acc *agentAccount) string {
	text := map[phase]string{waiting: "waiting", attached: "attached", standby: "standby"}[acc.phase]
	names := map[stage]string{unknown: "unknown", due: "due", asked: "asked", unequal: "unequal", paging: "paging", ended: "ended", agreed: "agreed", resting: "resting"}
	for _, g := range acc.order {
		text += fmt.Sprintf(", %s %s", groupText(g.message), names[g.stage])
	}
	return text
}
