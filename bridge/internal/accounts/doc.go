// Package accounts is the registry of the accounts that agents serve: what was declared, what is known of the clusters,
// and which sessions of this bridge serve them.
//
// Every bridge knows every account: declarations and facts are in the database, and each bridge looks every few seconds for what
// the others changed. Between looks, and while the database is away, it goes by what it knows.
//
// Invariants:
//   - an account stays until somebody removes it; that nobody serves it makes it stale, nothing more;
//   - names are exact, and two names never differ only in case;
//   - the list is complete only after it has been read from the database once;
//   - Changed fires and the revision differs exactly when something that Clouddriver sees has changed.
package accounts
