// Package faultnet is what stands between an agent and its bridges in the field, and goes wrong there: an L4 balancer before several bridges, a proxy
// that ends connections of a certain age or that are idle, a NAT that forgets them without a word, a network that is cut, half open, slow or
// lossy.
//
// A Proxy listens on a loopback address and passes connections on to one target after the other. What goes wrong with them is set while it runs, for
// connections that are open too. It works on TCP: a lost packet shows as what TCP makes of it, a pause; bytes that a half-open connection swallowed are
// gone for good, so that such a connection never comes to life again.
package faultnet
