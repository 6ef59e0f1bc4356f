// Package cats is the format in which Clouddriver's Kubernetes provider keeps a cluster in its tables (cats_v1_*): which
// rows and links an object becomes, byte by byte.
//
// A Kubernetes object becomes one row (Key, body) and some links. The body depends on its own object alone: owner,
// application and cluster stand inline in it, because the object itself names them. What depends on a second object
// is a Link, one row of cats_v1_<type>_rel: the way back from an owner, application or cluster, and both directions
// between a service and what it selects or who names it. Clouddriver adds links to inline relationships when it reads.
//
// Invariants:
//   - the same objects give the same rows, links and digests, in whatever order and through whatever history they came;
//   - a link exists exactly while the rows at both its ends do;
//   - applications and clusters have constant bodies, come in the changes of their first member and leave in those of
//     their last;
//   - of rows that MySQL could not tell apart (utf8mb4_unicode_ci) only the first in byte order is written;
//     Problems names the others;
//   - a Secret's data never reaches a body;
//   - objects are only read, and not kept: an Inventory holds a key, a hash and references for each.
//
// Differences from what stock Clouddriver writes are listed, with a test each, in stock_test.go.
//
// The package does no I/O, starts no goroutine and reads no clock. An Inventory belongs to one goroutine at a time.
package cats

// Format numbers the bytes of bodies and ids of links. It rises with each change that makes an agent write other bytes
// for the same object; a bridge rewrites its rows only for a new number.
//
//	1  first release
const Format = 1
