// Package peer lends this bridge the agents of other bridges, and them its own.
//
// An operation of an account that has no session here waits in operations.Router. Client looks into the directory (fairlead_session,
// fairlead_bridge) for sessions at other bridges, opens a relay to each, and gives it to the router as one more session of the same agent
// process. So everything that holds for an agent's own session holds across bridges: at most one effect, credit, cancellation, and the
// result that is asked for again by the same id when bridge or relay was lost.
//
// Server answers with sessions of its own bridge only: frames make one hop, never two.
package peer
