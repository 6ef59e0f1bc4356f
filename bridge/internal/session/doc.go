// Package session is the bridge's gRPC end of a link: it moves frames between an agent's three streams and the machines that decide
// (link.Bridge for session and inventory, operations.Router for operations), and runs the actions that link.Bridge asks for.
//
// Invariants:
//   - the secret of a session opens its other streams, each once;
//   - actions of a session begin in the order in which link.Bridge gave them, so an account's writes stay ordered; database reads
//     run beside each other, bounded;
//   - the end of a session waits for no action: not for a full cache, not for an agent that does not read;
//   - when one stream ends, the session ends; its end touches nothing that a newer session of the same agent holds.
//
// Goroutines of a session, all awaited by the Session call that owns them: the actor (asks the database), the teller (routing, registry, log;
// it waits for nobody), the clock. Of the Service: one that looks after accounts, and one that shares them among replicas. Readers and writers of streams end when the stream's call returns, and are awaited by Service.Close.
//
// Lock order: Service.mu before session.mu; neither is held while anything is sent, written or logged.
package session
