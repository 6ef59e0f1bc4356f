// Package credentials is how an account gets and keeps access to its API server: from the pod's service account, a kubeconfig file, or a
// kubeconfig that is a secret somewhere (package secrets).
//
// A Keeper reads its source again and again, and hands out an Access each time that something in it has become another one.
//
// Invariants:
//   - what cannot be read or understood replaces nothing: the last good Access stays, and the problem is told;
//   - a kubeconfig that comes from a secret names no files and starts no program of its own choice: who may write the secret may not
//     read the agent's files with it;
//   - programs run only where they are allowed by name; tokens of EKS, GKE and AKS are fetched in the process instead;
//   - errors and logs name places, never what is in them.
package credentials
