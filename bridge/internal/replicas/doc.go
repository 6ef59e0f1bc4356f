// Package replicas decides which of the agent processes that serve an account has its caching.
//
// Plan is a pure function of what stands in the database: who serves what, and who attached what last. Every bridge calls it by itself,
// and moves only to sessions of its own. Views of two bridges may differ for a moment; the fence then lets one of them through.
//
// What it promises:
//   - an account goes to one of its replicas, and stays where it is unless its holder has gone or its group is uneven;
//   - a group is levelled when two of its replicas differ by more than a twentieth of their mean, and by more than one; then as few accounts move
//     as levelling takes, so that the next call finds nothing to do;
//   - a process that has just come gets nothing of what another one holds: one that comes and goes moves nothing.
package replicas
