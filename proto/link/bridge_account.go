package link

import (
	"sort"
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// bridgeAccount is the bridge's side of one account in one session.
type bridgeAccount struct {
	name             string
	declared         *linkv1.Account
	judged, accepted bool
	// verdict is the last that was sent.
	verdict *linkv1.AccountVerdict
	facts   *linkv1.Facts

	// attaching: the database was asked. standby: another agent has the caching.
	attaching, standby bool
	retry              retry
	// last is the newest epoch that this agent process was given, epoch the one that is valid now (0: not attached).
	last, epoch uint64

	// next is the number that the next step must have; handled is committed and acknowledged.
	next, handled uint64
	steps         queue[step]
	// writes are open, oldest first.
	writes []openWrite
	// asked is the step whose answer is awaited; nothing behind it is handled before.
	asked step
	// pages compares the snapshot that is being sent.
	pages  *snapshot
	groups map[groupKey]*comparison
	// regroup: the groups in the tables could not be read yet.
	regroup retry
}

// step is one frame that was not handled yet.
type step struct {
	frame *linkv1.InventoryUp
	bytes int
}

type openWrite struct {
	seq  uint64
	done bool
}

func newBridgeAccount(name string, resume uint64) *bridgeAccount {
	return &bridgeAccount{name: name, last: resume}
}

func sortedNames[T any](accounts map[string]T) []string {
	names := make([]string, 0, len(accounts))
	for name := range accounts {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// attach asks the database for the account's caching.
func (b *Bridge) attach(acc *bridgeAccount) {
	if !acc.accepted || acc.attaching || acc.epoch > 0 || b.draining {
		return
	}
	acc.attaching, acc.standby = true, false
	b.act(Attach{Account: acc.name, Instance: b.agent.GetInstance(), ResumeEpoch: acc.last})
}

// AttachAgain asks for the caching of an accepted account that this session stands by for, when its holder is gone.
func (b *Bridge) AttachAgain(now time.Time, account string) {
	b.tell(now)
	if acc := b.accounts[account]; acc != nil && acc.standby {
		b.attach(acc)
	}
}

// AttachResult answers an Attach.
type AttachResult struct {
	Account   string
	Epoch     uint64
	Continues bool
	// HeldBy names the live agent that has the account's caching; then nothing was attached, and the agent stands by until AttachAgain.
	HeldBy string
	// Err is asked again later.
	Err error
}

// AttachDone answers an Attach.
func (b *Bridge) AttachDone(now time.Time, r AttachResult) {
	b.tell(now)
	acc := b.accounts[r.Account]
	if acc == nil || !acc.attaching {
		return
	}
	acc.attaching = false
	switch {
	case !acc.accepted:
	case r.Err != nil:
		acc.retry.failed(b.now, b.cfg.Rand)
	case r.HeldBy != "":
		acc.retry.worked()
		acc.standby = true
		reason := "agent " + r.HeldBy + " has it"
		b.send(detachedFrame(acc.name, 0, reason))
		b.act(Note{What: NoteStandby, Account: acc.name, Reason: reason})
	default:
		b.attached(acc, r)
	}
}

func detachedFrame(account string, epoch uint64, reason string) *linkv1.SessionDown {
	return &linkv1.SessionDown{Frame: &linkv1.SessionDown_Detached{Detached: &linkv1.Detached{Account: account, Epoch: epoch, Reason: reason}}}
}

func (b *Bridge) attached(acc *bridgeAccount, r AttachResult) {
	acc.retry.at = time.Time{}
	acc.epoch, acc.last = r.Epoch, r.Epoch
	acc.next, acc.handled = 1, 0
	b.send(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Attached{Attached: &linkv1.Attached{
		Account: acc.name, Epoch: r.Epoch, Continues: r.Continues}}})
	note := Note{What: NoteAttached, Account: acc.name, Epoch: r.Epoch}
	if r.Continues {
		note.What = NoteContinued
	}
	b.act(note)
	if !r.Continues {
		b.act(ReadGroups{Account: acc.name, Epoch: r.Epoch})
	}
}

// detach ends an attach: what was received and not written is dropped, the agent has it still. Open writes end by the fence.
func (b *Bridge) detach(acc *bridgeAccount, reason string) {
	acc.attaching, acc.standby = false, false
	if acc.epoch == 0 {
		return
	}
	for s, ok := acc.steps.pop(); ok; s, ok = acc.steps.pop() {
		b.owed += s.bytes
	}
	b.owed += acc.asked.bytes
	for _, key := range sortedGroups(acc.groups) {
		b.release(acc.groups[key])
	}
	epoch := acc.epoch
	*acc = bridgeAccount{name: acc.name, declared: acc.declared, judged: acc.judged, accepted: acc.accepted, verdict: acc.verdict, last: acc.last, retry: acc.retry}
	b.send(detachedFrame(acc.name, epoch, reason))
	b.act(Note{What: NoteDetached, Account: acc.name, Epoch: epoch, Reason: reason})
	b.grant()
}

func sortedGroups(groups map[groupKey]*comparison) []groupKey {
	keys := make([]groupKey, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		return keys[i].typ < keys[j].typ || keys[i].typ == keys[j].typ && keys[i].rel < keys[j].rel
	})
	return keys
}

// again detaches and attaches later: whatever failed, the agent sends again what is not acknowledged, in order, under a new
// epoch that keeps the leftovers of this one out.
func (b *Bridge) again(acc *bridgeAccount, reason string) {
	b.detach(acc, reason)
	acc.retry.failed(b.now, b.cfg.Rand)
}

// Fenced tells that somebody found the account's fence to be another one than that of epoch: it is attached again.
func (b *Bridge) Fenced(now time.Time, account string, epoch uint64) {
	b.tell(now)
	if acc := b.accounts[account]; acc != nil && acc.epoch > 0 && acc.epoch == epoch {
		b.again(acc, whyAgain("fence", true, nil))
	}
}

func (b *Bridge) tickAccounts() {
	for _, acc := range b.order {
		if acc.epoch == 0 && !acc.standby && acc.retry.due(b.now) {
			b.attach(acc)
		}
		if acc.epoch > 0 && acc.regroup.due(b.now) {
			acc.regroup.at = b.now.Add(time.Hour)
			b.act(ReadGroups{Account: acc.name, Epoch: acc.epoch})
		}
		b.expirePermits(acc)
	}
	b.givePermits()
}

// GroupsResult answers a ReadGroups.
type GroupsResult struct {
	Account string
	Epoch   uint64
	Groups  []*linkv1.Group
	Err     error
}

// GroupsDone answers a ReadGroups.
func (b *Bridge) GroupsDone(now time.Time, r GroupsResult) {
	b.tell(now)
	acc := b.accounts[r.Account]
	if acc == nil || acc.epoch == 0 || acc.epoch != r.Epoch {
		return
	}
	if r.Err != nil {
		acc.regroup.failed(b.now, b.cfg.Rand)
		return
	}
	acc.regroup.worked()
	b.send(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Survey{Survey: &linkv1.Survey{Account: acc.name, Epoch: acc.epoch, Groups: r.Groups}}})
}
