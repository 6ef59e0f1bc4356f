package link

// Capability is what an agent or a bridge can do. It only grows; each line says what the number added, and when.
//
//	1  2026-12  first release
//	2  2026-12  agents take dynamic accounts (Assign, Withdraw)
type Capability uint32

const (
	// Current is this build's capability.
	Current Capability = 2
	// Dynamic is what an agent needs to take dynamic accounts.
	Dynamic Capability = 2
	// Oldest is the oldest capability of a peer that this build works with.
	Oldest Capability = 1
)

// MaxFrameBytes is what a transport must be able to carry in one frame. Batches are cut far below it; a single change
// set or body may come near.
const MaxFrameBytes = 16 << 20
