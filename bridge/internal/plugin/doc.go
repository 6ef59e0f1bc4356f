// Package plugin is the endpoint that Clouddriver's plugin calls on its bridge: fairlead.clouddriver.v1 over Connect, on loopback.
//
// Invariants:
//   - nothing is read of a request before its Host is a loopback name, its method POST, its content type JSON and its secret right;
//   - Execute ends with an Exit once an operation was given to the Runner; an error of the call itself means that nothing began;
//   - output is passed on as it comes, at most 64 KiB a frame: the plugin's reading speed is the operation's;
//   - a caller that is gone, or reads nothing for a minute, cancels its operation;
//   - "get namespace" without a selector never leaves this process, so that absent agents cannot slow Clouddriver's start.
package plugin
