// Package link decides what the frames of fairlead.link.v1 mean: how an agent and a bridge stay in agreement.
//
// It holds three state machines. Agent is one agent process and outlives its sessions. Bridge is the bridge's end of one
// session. Operations is what a bridge's callers wait for, and outlives sessions as well. None of them knows a clock,
// a network, a goroutine or a lock: the shell that owns one guards it with one mutex, feeds inputs (frames, results,
// the time), and after each input drains the outputs:
//
//   - NextAction: what the shell shall do (write rows, start an operation, end the session), oldest first, until nil;
//   - NextSession, NextInventory, NextOperation: the next frame of a stream, asked for when the stream can take one, so that
//     nothing is made before it can be sent.
//
// Invariants, checked by the scripts in testdata and by the simulation after each step:
//
//   - what was acknowledged is committed; what is not acknowledged is sent again, in order, latest state only;
//   - an account's steps are handled in the order of their numbers, each after the commit of all earlier ones;
//   - a frame or a result of an epoch that is not the account's present one changes nothing;
//   - rows leave by a change that says so, or by the end of a complete snapshot of their group; never by silence;
//   - an operation that changes something begins at most once;
//   - each queue has a bound in bytes and in count, and pressure goes back to its source.
//
// The transport delivers, for each stream and direction, a prefix of what was sent, in order, once. Where it breaks that
// promise (a frame twice, a frame missing), the session ends and the next one repairs.
package link
