// Package build finds or makes the programs that a test environment runs: Go programs of this repository and of its own
// heavy modules, Debian packages, Clouddriver's class path.
//
// What it makes lies in a cache outside the repository (FAIRLEAD_CACHE, else fairlead in the user's cache directory),
// each thing under a name that holds a digest of everything that it is made of. So a second call costs the digest, a
// change makes a new file, and two programs that need the same thing at the same time make it once: the second waits.
package build
