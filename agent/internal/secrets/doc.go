// Package secrets reads secrets from where people keep them: Vault, Kubernetes secrets, AWS Secrets Manager, objects in S3 and GCS.
//
// A Reference names one, in the syntax that Spinnaker's own secret engines have:
//
//	encrypted:vault!e:secret!p:spinnaker/prod!k:kubeconfig
//	encryptedFile:k8s!n:prod-kubeconfig!k:config
//
// Invariants:
//   - a secret is in what Read returns and nowhere else: errors name the place, never the content;
//   - every request ends with its context and has a time limit of its own;
//   - tokens that the package gets by logging in live in memory, are renewed by Run and fetched anew when they are refused.
package secrets
