// Package fakekube plays the API servers of many clusters in one process: for fleets that no machine could run, and for faults that a
// real API server does not have when a test wants them. Everything else is tested on the real one (testenv.Kube).
//
// A Fleet listens once; each Cluster has a path of its own below it and a kubeconfig with it. A Cluster serves what Fairlead's agent
// asks for to fill the cache: discovery, version, objects by name, lists with limit and continue, watches with bookmarks and initial
// events, selectors, partial metadata, and simple writes. What it serves is compared with the real API server by one script that runs on
// both (differential_test.go); what is not in that script is not promised.
//
// Objects are kept as JSON, or as the little that a Template needs to make it again, so that half a million fit in memory.
// Watches keep nothing of their own: each reads the kind's history from where it is, and is told 410 if that is gone.
//
// There is no admission, no defaulting, no validation but of names, no controller, and everyone with the fleet's token may do all.
package fakekube
