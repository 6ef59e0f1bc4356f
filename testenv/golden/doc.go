// Package golden records what real Clouddrivers make of a corpus of Kubernetes objects: the rows that their stock
// provider writes, and the objects as the API server had them at that moment. proto/cats is tested against the records.
//
// It only speaks to parts that run already: an API server, and databases of Clouddrivers that poll it with stock
// accounts. Package testenv starts them.
package golden
