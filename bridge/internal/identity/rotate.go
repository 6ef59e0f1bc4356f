package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// SealedStore is where everything sealed is kept (store.Store).
type SealedStore interface {
	Secrets(ctx context.Context) (map[string][]byte, error)
	ReplaceSecret(ctx context.Context, name string, before, sealed []byte) (done bool, err error)
	KeyIDs(ctx context.Context) (map[string]string, error)
}

// ErrNotYet says that a rotation has to wait for something that a person does.
var ErrNotYet = errors.New("the key cannot be rotated yet")

// Rotate seals everything with the newest key. It refuses while a running bridge does not have that key, because such a bridge could not
// open it. It may be repeated: what the newest key sealed is left as it is.
func Rotate(ctx context.Context, s SealedStore, key *Key) (id string, sealed int, err error) {
	ids := key.IDs()
	id = ids[len(ids)-1]
	holders, err := s.KeyIDs(ctx)
	if err != nil {
		return id, 0, err
	}
	var without []string
	for bridge, known := range holders {
		if !slices.Contains(strings.Split(known, ","), id) {
			without = append(without, bridge)
		}
	}
	if len(without) > 0 {
		slices.Sort(without)
		return id, 0, fmt.Errorf("%w: key %s is not in the key file of %s. Give every bridge the same file; it is read again by itself within half a minute",
			ErrNotYet, id, strings.Join(without, ", "))
	}
	all, err := s.Secrets(ctx)
	if err != nil {
		return id, 0, err
	}
	for name, before := range all {
		if key.sealedByNewest(before) {
			continue
		}
		secret, err := key.Open(name, before)
		if err != nil {
			return id, sealed, err
		}
		after, err := key.Seal(name, secret)
		clear(secret)
		if err != nil {
			return id, sealed, err
		}
		done, err := s.ReplaceSecret(ctx, name, before, after)
		if err != nil {
			return id, sealed, err
		}
		if done { // else another bridge did it at the same time
			sealed++
		}
	}
	return id, sealed, nil
}
