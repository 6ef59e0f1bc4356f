// Package install is what the suite of the install paths is made of: it renders what an operator would apply (Helm's and kustomize's own
// libraries, Halyard's rules, the Operator's patches), and runs the pods of it.
package install
