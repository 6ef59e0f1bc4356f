// Package dynamic is accounts that are given to agents at run time: by the API or the command line, one of whose
// calls copies what Clouddriver has stored.
//
// An account is a row of fairlead_dynamic. What may happen to it is one table (table.go), which Step applies: pure, without clock or
// database. Next says what is to happen to an account, given what is known of agents and of the registry: pure as well. Service is the shell:
// it reads rows and agents, applies events one row at a time under the row's version, and keeps each agent of this bridge provided with
// exactly the accounts that are its own.
//
// Invariants:
//   - a kubeconfig goes only to agents whose identity allows the account's name, of one place at a time: those of a zone, or, without a zone,
//     those with one identity;
//   - whoever acts on a row does so by its version, so that of several bridges one wins, and a bridge that dies leaves a row that another one
//     takes up when its time is over;
//   - an account leaves Clouddriver by Deactivate or Delete alone, never because nobody serves it;
//   - a deletion needs no agent.
package dynamic
