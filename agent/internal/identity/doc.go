// Package identity is what an agent proves itself with: a certificate that it was given, or one that it gets for its enrolment token
// and renews; and what it shows to something that stands between it and its bridge.
//
// The key of an enrolled certificate is made here and never leaves the agent. It lives in memory, or, where tokens for a number of agents
// are used, in a file or a Secret of the agent's own (Keep), so that the agent can come back without a place of the token.
package identity
