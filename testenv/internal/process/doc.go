// Package process starts the real programs that a test environment consists of, remembers which ones it started, and
// ends these and no others.
//
// What is remembered lies in a directory (a Table), one file per process, so that a later invocation of another
// program can ask after them, restart or end them.
//
// Invariants:
//   - a process is known by its id, its start time and the boot of the machine, so that an id that the kernel gave to
//     somebody else in the meantime is never signalled;
//   - every process carries the table's mark in its environment, and so do its descendants: End leaves none of them
//     behind, even where the one that started them was killed before it could write anything down;
//   - the package starts no goroutine; children are reaped when somebody asks after them.
//
// It reads /proc and works on Linux only.
package process
