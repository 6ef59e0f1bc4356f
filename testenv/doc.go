// Package testenv runs Fairlead's real surroundings on one machine: a Kubernetes control plane, MariaDB, a Clouddriver
// with the plugin, a bridge, agents. Nothing in it is a stand-in. It is what bin/testenv does, as a library for the test
// suites.
//
// MySQL and Kube give a test one part. Up gives a whole environment, as `bin/testenv up` does; Open finds one that was
// started before.
//
// Parts are ordinary processes on free ports of the loopback address, with their data below one directory. They end with
// Env.Down, with the test that asked for them, and, where the test's process starts them, also when that is killed.
// What a machine lacks is named: tests skip by that name, `bin/testenv` says what to install.
package testenv
