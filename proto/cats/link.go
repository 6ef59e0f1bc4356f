package cats

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Link is one row of cats_v1_<From.Type>_rel: From's relationships of type To.Type hold To.
type Link struct{ From, To Key }

// ID returns the uuid column: 26 characters of 0-9A-V, the first 10 from the account, so that an account's links stay
// together in the primary key, the other 16 from the link. Digest takes the last 12 (60 bits).
func (l Link) ID(account string) string {
	var h linkHasher
	h.reset(account)
	id := h.id(h.sum(l.From, l.To))
	return string(id[:])
}

// LinkID is Link.ID for a link's two ids as its row holds them.
func LinkID(account, id, relID string) string {
	var h linkHasher
	h.reset(account)
	h.buffer = append(append(append(h.buffer, id...), 0), relID...)
	sum := sha256.Sum256(h.buffer)
	link := h.id(linkHash(sum[:10]))
	return string(link[:])
}

const base32Hex = "0123456789ABCDEFGHIJKLMNOPQRSTUV"

// linkHash is the part of a link's id that the account does not decide: 80 bits, big-endian.
type linkHash [10]byte

// digest is what a link adds to its group's digest.
func (h linkHash) digest() uint64 { return binary.BigEndian.Uint64(h[2:]) & (1<<60 - 1) }

// linkHasher computes ids of links of one account without allocating.
type linkHasher struct {
	account string
	prefix  [10]byte
	buffer  []byte
}

func (h *linkHasher) reset(account string) {
	h.account = account
	sum := sha256.Sum256([]byte(account))
	bits := binary.BigEndian.Uint64(sum[:8])
	for i := range h.prefix {
		h.prefix[i] = base32Hex[bits>>(59-5*i)&31]
	}
}

func (h *linkHasher) sum(from, to Key) linkHash {
	h.buffer = appendID(h.buffer[:0], h.account, from)
	h.buffer = append(h.buffer, 0)
	h.buffer = appendID(h.buffer, h.account, to)
	sum := sha256.Sum256(h.buffer)
	return linkHash(sum[:10])
}

func (h *linkHasher) id(sum linkHash) (id [26]byte) {
	copy(id[:], h.prefix[:])
	high, low := binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[2:])
	for i := range 8 {
		id[10+i] = base32Hex[high>>(59-5*i)&31]
		id[18+i] = base32Hex[low>>(35-5*i)&31]
	}
	return id
}

// hashLabels appends a hash of each label in a namespace, sorted: sets of labels are compared by these.
func hashLabels(dst []uint64, namespace string, labels map[string]any) []uint64 {
	var buffer [256]byte
	for key, v := range labels {
		value, _ := v.(string)
		b := append(buffer[:0], namespace...)
		b = append(append(b, 0), key...)
		b = append(append(b, 0), value...)
		sum := sha256.Sum256(b)
		dst = append(dst, binary.BigEndian.Uint64(sum[:8]))
	}
	slices.Sort(dst)
	return dst
}
