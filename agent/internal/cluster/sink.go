package cluster

import (
	"context"

	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// Sink takes what is in a cluster. Several goroutines call it, about different kinds at the same time. Calls about one kind
// are in order, except that objects of different namespaces may come at the same time when the account is bound to
// namespaces.
type Sink interface {
	// Watches tells the complete list of kinds that will be listed and watched, each time that discovery has changed it, and before
	// the first Begin. Rows of other kinds leave Clouddriver's tables: it is never called with what discovery could not read.
	Watches(types []cats.Type)
	// Begin: a listing of the kind starts. What is not Put between Begin and Live is not there any more. A Begin may
	// follow a Begin: the listing starts anew.
	Begin(t cats.Type)
	// Put blocks while there is no room. The object is the sink's from then on.
	Put(ctx context.Context, obj map[string]any) error
	// Delete blocks while there is no room. The key need not be known.
	Delete(ctx context.Context, key cats.Key) error
	// Live: the listing is complete and the watch runs.
	Live(t cats.Type)
	// Drop: the kind is not watched any more; reason is for a person.
	Drop(t cats.Type, reason string)
	// Facts replaces what was known of the cluster.
	Facts(*linkv1.Facts)
}
