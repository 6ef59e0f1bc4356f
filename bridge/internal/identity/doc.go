// Package identity is who a bridge is and who may speak to it.
//
// All bridges of an install share one certificate authority. It is made by the first bridge that starts, and kept in the
// database, sealed with a key file that the database does not hold: reading the database is not enough to pass for a
// bridge. Each bridge makes itself a server certificate in memory. Agents pin the authority's public key.
//
// An agent shows an enrolment token, which names by patterns the accounts that it may serve. The database holds only the
// tokens' hashes. A plugin that calls over a network has a certificate with such a token behind it, whose text nobody knows.
package identity
