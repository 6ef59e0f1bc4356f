// Package cache writes what agents see into Clouddriver's tables, and reads back what the tables hold.
//
// Invariants:
//   - writes of one account take effect in the order in which they were submitted, each in one transaction with all of
//     its changes; writes of many accounts share a transaction;
//   - a write commits only while its account's fence has its holder and epoch, else it ends with ErrFenced and changes nothing;
//   - ids, agent names and hashes are made here, from the account that the caller is authorised for and the key; a body
//     that says something else is rejected;
//   - one row that cannot be stored is rejected and reported, what came with it is stored;
//   - what may succeed later is tried again, for as long as it takes; what waits is bounded in bytes and in number, and
//     Submit blocks while it is full;
//   - a repeated write of the same state changes no row.
//
// The writer keeps nothing about inventories: what it knows beyond its queue are names of tables.
package cache
