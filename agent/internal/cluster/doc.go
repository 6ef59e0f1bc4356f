// Package cluster is one account's API server: how to reach it, which kinds it has, what is in it, and clients for
// operations.
//
// Run lists each kind page by page, then watches it, and hands every object to a Sink; objects are not kept. A kind goes
// through
//
//	resolving → listing → live → (watch ends) → live …
//	                 ↑        └── 410 Gone ──┐
//	                 └───────────────────────┘
//
// and is dropped when the API server no longer has it, or forbids it for a while.
//
// Invariants:
//   - Live(t) follows a Begin(t) only after every object of a consistent listing was Put and the watch runs from exactly
//     there: silence, errors and half a listing never end a Begin;
//   - nothing is read from a watch while Put or Delete blocks;
//   - a Secret's data and managedFields are gone before an object leaves the decoder;
//   - each wait ends with its context, and each goroutine ends before Run returns;
//   - an account's requests are limited by its own limits, those of operations apart from those of the inventory.
package cluster
