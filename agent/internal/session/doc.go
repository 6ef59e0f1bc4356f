// Package session is the agent's gRPC end of a link: it keeps one connection to a bridge, moves frames between its three streams and the
// machine that decides (link.Agent), and joins to it what the agent's other parts do: clusters put objects, operations are executed.
//
// Data flows one way. A watch event becomes changes in the account's records (cats.Inventory), the changes become the outbox of link.Agent,
// the outbox becomes frames. Records and machine change together, under one lock, so that what the machine says of the records
// (digests, pages) always agrees with what it has sent.
//
// Invariants:
//   - a cluster's Put waits while the account's outbox is full: the watch is not read, nothing is dropped;
//   - operations run on when their stream breaks; their results wait in the machine's ledger;
//   - one connection at a time; Lost is told exactly once for each Connected.
//
// Goroutines, all owned by Run: the actor (runs the machine's actions), the clock, one for each operation and fetch; and, owned by
// the connection, a reader and a writer for each stream.
//
// Lock: Session.mu guards the machine and all records. Nothing is sent, waited for or logged under it.
package session
