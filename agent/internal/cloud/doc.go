// Package cloud speaks to cloud providers as far as credentials need it: tokens for managed clusters (EKS, GKE, AKS), which kubeconfigs
// otherwise start programs for, and secrets that are kept as objects.
//
// The agent's own identity comes from where each provider puts it: environment, web identity, instance metadata. Endpoints can be moved by
// the variables that the providers' own tools know, which is how the package's stand-ins are reached in tests.
package cloud
