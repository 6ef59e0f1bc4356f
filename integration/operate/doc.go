// Package operate tries alert rules and dashboards with Prometheus' own engine. It is a module of its own because that brings hundreds of others.
package operate
