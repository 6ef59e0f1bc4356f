// Package store is the bridge's database: every SQL statement of the bridge is here.
//
// Two kinds of tables live side by side in Clouddriver's database. The fairlead_* tables are ours: accounts, fences,
// sealed secrets, enrolment tokens, bridges, sessions and the operation history; migrations make them. The cats_v1_*
// tables are Clouddriver's cache; the store writes them as Clouddriver itself would and makes missing ones from
// Clouddriver's own templates.
//
// Invariants:
//   - a cache write commits only for accounts whose fence still has the writer's epoch; the shared lock on the fence
//     is held until the commit, so that an attach waits for writes under way and keeps out later ones;
//   - names are compared exactly, although the collation of Clouddriver's tables folds case;
//   - times are the database's clock, in milliseconds since 1970, as bigint;
//   - each statement that runs often is a named statement that states the index it uses.
//
// The store retries nothing and starts no goroutine. Retryable, DataError and ErrNoTable tell its callers what a failure
// means.
package store
