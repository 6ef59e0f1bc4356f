package link

import (
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// ReceivedInventory takes a frame of the inventory stream.
func (b *Bridge) ReceivedInventory(now time.Time, frame *linkv1.InventoryUp) {
	b.tell(now)
	if b.ended || b.agent == nil {
		return
	}
	b.live.hear(b.now)
	bytes := proto.Size(frame)
	acc := b.accounts[frame.GetAccount()]
	current := acc != nil && acc.epoch > 0 && acc.epoch == frame.GetEpoch()
	if current && frame.GetSeq() < acc.next {
		// Twice the same frame; the agent paid for one.
		return
	}
	if b.held >= b.cfg.Window {
		b.broken(fmt.Sprintf("the agent sent inventory beyond its credit of %d bytes", b.cfg.Window))
		return
	}
	b.held += bytes
	switch {
	case !current:
		// A former epoch's, sent before the agent knew better.
		b.owed += bytes
		b.act(Note{What: NoteDiscarded, Account: frame.GetAccount(), Epoch: frame.GetEpoch()})
	case frame.GetSeq() > acc.next:
		b.broken(fmt.Sprintf("the agent sent step %d of account %q where %d was next", frame.GetSeq(), acc.name, acc.next))
	case frame.GetStep() == nil:
		b.broken(fmt.Sprintf("step %d of account %q is of a kind that this bridge does not know", frame.GetSeq(), acc.name))
	default:
		acc.next++
		acc.steps.push(step{frame: frame, bytes: bytes})
		b.handle(acc)
	}
	b.grant()
}

// handle takes steps as far as their turn has come: writes follow each other, everything else waits for their commit.
func (b *Bridge) handle(acc *bridgeAccount) {
	for !b.ended && acc.asked.frame == nil && acc.steps.len() > 0 && b.down.len() < b.cfg.Backlog {
		next := acc.steps.items[acc.steps.first]
		batch := next.frame.GetBatch()
		if batch == nil && len(acc.writes) > 0 || len(acc.writes) >= b.cfg.Pipeline {
			return
		}
		acc.steps.pop()
		seq := next.frame.GetSeq()
		switch s := next.frame.GetStep().(type) {
		case *linkv1.InventoryUp_Batch:
			b.write(acc, next)
		case *linkv1.InventoryUp_Digest:
			if !acc.knows(groupOf(s.Digest.GetGroup())) {
				b.broken(fmt.Sprintf("the agent compares more than %d groups of account %q, or one without a type", maxGroups, acc.name))
				return
			}
			acc.asked = next
			b.act(ReadDigest{Account: acc.name, Epoch: acc.epoch, Seq: seq, Group: s.Digest.GetGroup()})
		case *linkv1.InventoryUp_Page:
			b.page(acc, next, s.Page)
		}
	}
}

// write asks for the commit of a batch.
func (b *Bridge) write(acc *bridgeAccount, s step) {
	changes := s.frame.GetBatch().GetChanges()
	for _, c := range changes {
		key, ok := itemOf(c)
		if !ok {
			b.broken(fmt.Sprintf("step %d of account %q holds a change without a type, or of a kind that this bridge does not know", s.frame.GetSeq(), acc.name))
			return
		}
		if acc.pages != nil && acc.pages.key == key.group() {
			acc.pages.touch(b.entryKey(acc, key, c))
		}
	}
	seq := s.frame.GetSeq()
	acc.writes = append(acc.writes, openWrite{seq: seq})
	b.open[writeKey{acc.name, acc.epoch, seq}] = s.bytes
	b.act(Write{Account: acc.name, Instance: b.agent.GetInstance(), Epoch: acc.epoch, Seq: seq, Changes: changes, Bytes: s.bytes})
}

func (b *Bridge) entryKey(acc *bridgeAccount, key itemKey, c *linkv1.Change) string {
	if l := linkOf(c); l != nil {
		return b.cfg.LinkID(acc.name, l)
	}
	return rowKey(key.from)
}

// WriteResult answers a Write.
type WriteResult struct {
	Account  string
	Epoch    uint64
	Seq      uint64
	Rejected []*linkv1.Rejected
	// Fenced: the account's epoch is another one; nothing was written.
	Fenced bool
	// Err: nothing was written and nobody will try again.
	Err error
}

// WriteDone answers a Write after its commit.
func (b *Bridge) WriteDone(now time.Time, r WriteResult) {
	b.tell(now)
	key := writeKey{r.Account, r.Epoch, r.Seq}
	bytes, known := b.open[key]
	if b.ended || !known {
		return
	}
	delete(b.open, key)
	b.owed += bytes
	if acc := b.accounts[r.Account]; acc != nil && acc.epoch == r.Epoch && acc.epoch > 0 {
		b.written(acc, r)
	}
	b.grant()
}

func (b *Bridge) written(acc *bridgeAccount, r WriteResult) {
	if r.Fenced || r.Err != nil {
		// Later writes may have been made: only all of them again, in order, are right.
		b.again(acc, whyAgain("write", r.Fenced, r.Err))
		return
	}
	for _, rej := range r.Rejected {
		frame := &linkv1.Rejected{Account: acc.name, Epoch: acc.epoch, Group: rej.GetGroup(), Key: rej.GetKey(), Reason: rej.GetReason()}
		b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Rejected{Rejected: frame}})
		b.act(Note{What: NoteRejected, Account: acc.name, Epoch: acc.epoch, Group: rej.GetGroup(), Key: rej.GetKey(), Reason: rej.GetReason()})
	}
	for i := range acc.writes {
		if acc.writes[i].seq == r.Seq {
			acc.writes[i].done = true
		}
	}
	n := 0
	for n < len(acc.writes) && acc.writes[n].done {
		n++
	}
	if n > 0 {
		acc.retry.worked()
		b.handled(acc, acc.writes[n-1].seq)
		acc.writes = append(acc.writes[:0], acc.writes[n:]...)
	}
	b.handle(acc)
}

func whyAgain(what string, fenced bool, err error) string {
	if fenced {
		return what + ": the account was attached elsewhere, or the database is an older one"
	}
	return fmt.Sprintf("%s failed: %v", what, err)
}

// handled acknowledges everything up to seq. An acknowledgement that is the newest frame in line grows instead of getting a successor.
func (b *Bridge) handled(acc *bridgeAccount, seq uint64) {
	acc.handled = seq
	if last := b.down.last(); last != nil {
		if ack := (*last).GetAck(); ack != nil && ack.GetAccount() == acc.name && ack.GetEpoch() == acc.epoch {
			ack.Seq = seq
			return
		}
		// A verdict that is on its way says so itself.
		if v := (*last).GetVerdict(); v != nil && v.GetAccount() == acc.name && v.GetEpoch() == acc.epoch && v.GetSeq() == seq {
			return
		}
	}
	b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Ack{Ack: &linkv1.Ack{Account: acc.name, Epoch: acc.epoch, Seq: seq}}})
}

func (b *Bridge) answer(frame *linkv1.InventoryDown) { b.down.push(frame) }

// settle ends the step whose answer has come.
func (b *Bridge) settle(acc *bridgeAccount) {
	s := acc.asked
	acc.asked = step{}
	b.owed += s.bytes
	b.handled(acc, s.frame.GetSeq())
}

// proceed goes on after an answer.
func (b *Bridge) proceed(acc *bridgeAccount) {
	b.handle(acc)
	b.grant()
}

// grant gives credit back, in quarters of the window, or all of it when nothing is left to handle, unless that is little: digests alone
// would each be followed by a frame of credit that nobody waits for.
func (b *Bridge) grant() {
	if b.ended || b.owed <= b.cfg.Window/64 || b.owed < b.cfg.Window/4 && b.owed < b.held {
		return
	}
	b.held -= b.owed
	owed := uint64(b.owed)
	b.owed = 0
	// An agent that does not read gets one credit that grows, not a line of them.
	if last := b.down.last(); last != nil && (*last).GetCredit() != nil {
		(*last).GetCredit().Bytes += owed
		return
	}
	b.answer(&linkv1.InventoryDown{Frame: &linkv1.InventoryDown_Credit{Credit: &linkv1.Credit{Bytes: owed}}})
}

// NextInventory returns the next frame for the inventory stream, nil when there is none.
func (b *Bridge) NextInventory() *linkv1.InventoryDown {
	if b.ended {
		return nil
	}
	full := b.down.len() >= b.cfg.Backlog
	frame, _ := b.down.pop()
	if full && b.down.len() < b.cfg.Backlog {
		for _, acc := range b.order {
			b.handle(acc)
		}
	}
	return frame
}

// asks finds the account whose answer this is.
func (b *Bridge) asks(account string, epoch, seq uint64) *bridgeAccount {
	acc := b.accounts[account]
	if acc == nil || acc.epoch == 0 || acc.epoch != epoch || acc.asked.frame.GetSeq() != seq || acc.asked.frame == nil {
		return nil
	}
	return acc
}

// DigestResult answers a ReadDigest.
type DigestResult struct {
	Account    string
	Epoch      uint64
	Seq        uint64
	Count, Xor uint64
	Err        error
}

// DigestDone answers a ReadDigest.
func (b *Bridge) DigestDone(now time.Time, r DigestResult) {
	b.tell(now)
	acc := b.asks(r.Account, r.Epoch, r.Seq)
	if acc == nil || acc.asked.frame.GetDigest() == nil {
		return
	}
	if r.Err != nil {
		b.again(acc, whyAgain("reading a digest", false, r.Err))
		return
	}
	b.compare(acc, acc.asked.frame.GetDigest(), r)
	b.settle(acc)
	b.proceed(acc)
}

// EntriesResult answers a ReadEntries.
type EntriesResult struct {
	Account string
	Epoch   uint64
	Seq     uint64
	Entries []*linkv1.Entry
	Err     error
}

// EntriesDone answers a ReadEntries.
func (b *Bridge) EntriesDone(now time.Time, r EntriesResult) {
	b.tell(now)
	acc := b.asks(r.Account, r.Epoch, r.Seq)
	if acc == nil || acc.pages == nil || acc.pages.loaded {
		return
	}
	if r.Err != nil {
		b.again(acc, whyAgain("reading a group", false, r.Err))
		return
	}
	acc.pages.load(r.Entries)
	b.comparePage(acc, acc.asked.frame.GetPage())
	b.proceed(acc)
}

// SweepResult answers a Sweep.
type SweepResult struct {
	Account string
	Epoch   uint64
	Seq     uint64
	Deleted int
	Fenced  bool
	Err     error
}

// SweepDone answers a Sweep.
func (b *Bridge) SweepDone(now time.Time, r SweepResult) {
	b.tell(now)
	acc := b.asks(r.Account, r.Epoch, r.Seq)
	if acc == nil || acc.pages == nil || !acc.pages.sweeping {
		return
	}
	if r.Fenced || r.Err != nil {
		b.again(acc, whyAgain("sweep", r.Fenced, r.Err))
		return
	}
	b.act(Note{What: NoteSwept, Account: acc.name, Epoch: acc.epoch, Group: acc.pages.group, Key: strconv.Itoa(r.Deleted)})
	b.endSnapshot(acc)
	b.proceed(acc)
}
