package cats

// Change is one new state of a row or a link.
type Change struct {
	Kind ChangeKind
	// Of a row.
	Key  Key
	Body []byte // only with PutRow; never changed after it was handed out
	// Of a link.
	Link Link
}

// ChangeKind says what a Change does.
type ChangeKind uint8

// The four changes.
const (
	PutRow ChangeKind = iota + 1
	DeleteRow
	PutLink
	DeleteLink
)

func (k ChangeKind) String() string {
	return [...]string{"?", "put row", "delete row", "put link", "delete link"}[min(k, DeleteLink)]
}

// String is for people and tests; it leaves the body out.
func (c Change) String() string {
	if c.Kind == PutLink || c.Kind == DeleteLink {
		return c.Kind.String() + " " + c.Link.From.String() + " -> " + c.Link.To.String()
	}
	return c.Kind.String() + " " + c.Key.String()
}

// Group names the rows of a type or, with a RelType, the links from Type to RelType.
type Group struct{ Type, RelType Type }

// Entry is one item of a group: of rows Key.Path and the first 64 bits of the body's SHA-256, of links their id and 0.
type Entry struct {
	Key  string
	Hash uint64
}

// Problem is a row or link that exists in the cluster but cannot stand in Clouddriver's tables.
type Problem struct {
	Key    Key
	Reason string
}
