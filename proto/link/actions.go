package link

import (
	"time"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Action is something that a shell shall do for its state machine: one of the structs in this file.
type Action interface{ action() }

// ---- of an Agent

// OpenStreams asks for the session's inventory and operations streams, with Secret as their "fairlead-session".
type OpenStreams struct{ Secret string }

// StartOperation asks the shell to run an operation and to answer with Agent.Output and Agent.Finish.
type StartOperation struct {
	ID        string
	Account   string
	Operation *linkv1.Operation
	Mutation  bool
	// Timeout is what is left of the caller's deadline.
	Timeout time.Duration
}

// CancelOperation asks the shell to stop a running operation; Agent.Finish is still due.
type CancelOperation struct {
	ID     string
	Reason string
}

// Fetch asks the shell to read objects from the API server, to Put what they render to even if it is unchanged (cats.Inventory.Render), and
// then to call Agent.FetchDone. At most one Fetch of an account is open.
type Fetch struct {
	Account string
	// Type is the row group's; Keys are Entry keys (scope "/" name).
	Type string
	Keys []string
	// Left counts the keys of the same group that later Fetches will ask for: many make a list cheaper than reads.
	Left int
}

// Configure tells the shell how to serve an account, as the bridge's configuration says; the settings are never nil. It comes with each
// acceptance, mostly unchanged.
type Configure struct {
	Account  string
	Settings *linkv1.AccountSettings
}

// CacheBy tells the shell what to cache of an account, as the bridge's configuration says. It comes with each acceptance, mostly unchanged.
type CacheBy struct {
	Account string
	// Policy is never nil.
	Policy *linkv1.CachePolicy
}

// TakeAccount hands over a dynamic account that the bridge gives to the agent. The shell serves and declares it, or says by Agent.Refuse why not.
type TakeAccount struct{ Assign *linkv1.Assign }

// DropAccount says that the agent shall no longer serve a dynamic account. It does not leave Clouddriver.
type DropAccount struct{ Account string }

// Committed tells how long change sets took from when they were read (Agent.PutRead) to the acknowledgement of their commit.
type Committed struct {
	Account string
	Waits   []time.Duration
}

// Disconnect asks the shell to send what NextSession still has, to close the connection and to call Agent.Lost if it has not yet.
type Disconnect struct {
	Code   linkv1.Close_Code
	Reason string
	// RetryAfter is the least wait before the next connection; zero: the shell's own backoff.
	RetryAfter time.Duration
	// Addresses of bridges to try first, best first.
	Addresses []string
	// Final: a person has to change something first. The shell reports it and tries rarely.
	Final bool
}

// ---- of a Bridge

// Declare hands the agent's accounts to the registry; Bridge.DeclareDone answers. Accounts is the whole list each time.
type Declare struct {
	Agent    *linkv1.Agent
	Accounts []*linkv1.Account
	// Removed accounts leave Clouddriver. Each gets a verdict as well: the agent repeats a removal until it has one.
	Removed []string
}

// Unassigned says why the agent does not serve a dynamic account that it was given.
type Unassigned struct{ Assigned *linkv1.Assigned }

// StoreFacts hands over what the agent knows of an accepted account.
type StoreFacts struct{ Facts *linkv1.Facts }

// Attach asks for an account's caching; Bridge.AttachDone answers. The fence becomes Instance and a new epoch, above both the database's and
// ResumeEpoch (a restored database may be behind, and no process may see an epoch twice); it continues if the fence held exactly Instance
// and ResumeEpoch before.
type Attach struct {
	Account     string
	Instance    string
	ResumeEpoch uint64
}

// Write asks for one transaction, valid only while the account's fence is exactly Instance and Epoch (after a restore the epoch alone
// may have come up again for another process); Bridge.WriteDone answers. Writes of an account come in the order of Seq and must take
// effect in it.
type Write struct {
	Account  string
	Instance string
	Epoch    uint64
	Seq      uint64
	Changes  []*linkv1.Change
	Bytes    int
}

// ReadDigest asks for the tables' digest of a group; Bridge.DigestDone answers.
type ReadDigest struct {
	Account string
	Epoch   uint64
	Seq     uint64
	Group   *linkv1.Group
}

// ReadEntries asks for all entries of a group; Bridge.EntriesDone answers.
type ReadEntries struct {
	Account string
	Epoch   uint64
	Seq     uint64
	Group   *linkv1.Group
}

// ReadGroups asks for the groups that have rows of the account; Bridge.GroupsDone answers. The agent is asked about them, so that
// rows of kinds that it no longer watches leave.
type ReadGroups struct {
	Account string
	Epoch   uint64
}

// Sweep asks to delete rows that a completed snapshot does not hold, fenced like a Write; Bridge.SweepDone answers.
type Sweep struct {
	Account  string
	Instance string
	Epoch    uint64
	Seq      uint64
	Group    *linkv1.Group
	Keys     []string
}

// Hangup asks the shell to send what NextSession still has, then to end the session's streams.
type Hangup struct {
	Code   linkv1.Close_Code
	Reason string
}

// ---- of both

// Note tells the shell what happened, for routing, logs and metrics. Nothing has to be answered.
type Note struct {
	What    NoteKind
	Account string
	Epoch   uint64
	Group   *linkv1.Group
	Key     string
	Reason  string
	// Agreed is of NoteRemembered.
	Agreed bool
}

// NoteKind says what a Note is about.
type NoteKind int

const (
	// NoteAccepted: the bridge serves the account from now on (operations may go to this session). Bridge and agent.
	NoteAccepted NoteKind = iota + 1
	// NoteRefused: the bridge does not take the account; Reason says why. Bridge and agent.
	NoteRefused
	// NoteWithdrawn: the agent no longer serves the account in this session. Bridge.
	NoteWithdrawn
	// NoteAttached: caching begins with Epoch, every group is compared. Bridge and agent.
	NoteAttached
	// NoteContinued: caching goes on with Epoch, only what was not acknowledged is sent again. Bridge and agent.
	NoteContinued
	// NoteDetached: caching stops; the account stays this session's to attach again. Bridge and agent.
	NoteDetached
	// NoteStandby: another agent has the account's caching. Bridge and agent.
	NoteStandby
	// NoteRejected: an item cannot be stored. Bridge and agent.
	NoteRejected
	// NoteAgreed: a group is equal on both sides. Bridge and agent.
	NoteAgreed
	// NoteDiffers: a group differs and will be compared item by item. Bridge and agent.
	NoteDiffers
	// NoteGaveUp: a group stays different after resyncs; it is asked again later. Bridge and agent.
	NoteGaveUp
	// NoteSwept: the end of a snapshot deleted rows; Key holds their number. Bridge.
	NoteSwept
	// NoteDiscarded: a frame of a former epoch or of an account that is not attached was ignored. Bridge.
	NoteDiscarded
	// NoteChecked: a comparison that Bridge.Recheck asked for has ended; Reason is "agreed" or "gave up". Bridge.
	NoteChecked
	// NoteRemembered: the agent says whether a group agreed when it was last compared, in an earlier session. Bridge.
	NoteRemembered
	// NoteDraining: the session takes no new operations from now on. Bridge and agent.
	NoteDraining
)

// String is the note as a log says it.
func (k NoteKind) String() string {
	names := [...]string{NoteAccepted: "accepted", NoteRefused: "refused", NoteWithdrawn: "withdrawn", NoteAttached: "attached", NoteContinued: "continued",
		NoteDetached: "detached", NoteStandby: "standby", NoteRejected: "rejected", NoteAgreed: "agreed", NoteDiffers: "differs", NoteGaveUp: "gave up",
		NoteSwept: "swept", NoteDiscarded: "discarded", NoteChecked: "checked", NoteRemembered: "remembered", NoteDraining: "draining"}
	if k > 0 && int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

func (OpenStreams) action()     {}
func (StartOperation) action()  {}
func (CancelOperation) action() {}
func (Fetch) action()           {}
func (Configure) action()       {}
func (CacheBy) action()         {}
func (Committed) action()       {}
func (TakeAccount) action()     {}
func (DropAccount) action()     {}
func (Disconnect) action()      {}
func (Declare) action()         {}
func (StoreFacts) action()      {}
func (Unassigned) action()      {}
func (Attach) action()          {}
func (Write) action()           {}
func (ReadDigest) action()      {}
func (ReadEntries) action()     {}
func (ReadGroups) action()      {}
func (Sweep) action()           {}
func (Hangup) action()          {}
func (Note) action()            {}
