// Package kubectl is the border between Clouddriver, which believes that it runs kubectl, and typed operations. Parse reads
// the closed set of command lines that Clouddriver's KubectlJobExecutor makes (1.28 to 2026.x), Render says how an operation
// went in kubectl's words and exit codes (those of kubectl 1.37), which Clouddriver's provider matches on.
//
// Invariants:
//   - what is not understood completely is refused, naming the verb, flag or argument: nothing is guessed or ignored that
//     could change what happens to a cluster;
//   - text that Clouddriver matches on is never changed: "(NotFound)", "forbidden", "No resources found",
//     "error: no objects passed to apply", the quotes around a deleted object's name;
//   - Render never returns exit code 0 together with a failure.
//
// The package is pure: no clock, no I/O, no state.
package kubectl
