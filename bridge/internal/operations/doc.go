// Package operations takes what a caller wants done on an account to an agent that serves it, and brings back output and outcome.
//
// It is the shell of link.Operations, which decides who gets an operation, what is asked again after a broken stream, and what
// cannot be known. The package adds goroutines: callers wait in Run, sessions pull frames from their Stream.
//
// Invariants:
//   - an operation's output waits for its caller in at most one window (link.OperationsConfig.Window); a slow caller slows
//     its own operation and no other;
//   - Run returns when the outcome is known, or a little after its context has ended;
//   - every ended operation is handed to History once, bodies and secrets left out.
//
// Lock order: Router.mu is taken alone; nobody sends, writes or logs under it.
package operations
