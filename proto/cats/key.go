package cats

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaximumIDLength is the length of the id columns (varchar(352)), in UTF-16 units as Clouddriver counts.
const MaximumIDLength = 352

// MaximumTypeLength is the length of the rel_type column: links to longer types cannot be written.
const MaximumTypeLength = 64

// ErrTooLong says that an id does not fit into Clouddriver's tables.
var ErrTooLong = errors.New("id is too long")

// Key names a row within an account.
type Key struct {
	Type Type
	// The namespace, "" for cluster-scoped objects; of a cluster its application; of an application "".
	Scope, Name string
}

// String is for people: "pod prod/web-7d-x".
func (k Key) String() string {
	if k.Scope == "" {
		return string(k.Type) + " " + k.Name
	}
	return string(k.Type) + " " + k.Scope + "/" + k.Name
}

// ID returns Clouddriver's id of the row (class Keys): "kubernetes.v2:infrastructure:pod:account:namespace:name",
// "kubernetes.v2:logical:clusters:account:application:cluster", "kubernetes.v2:logical:applications:name".
// Colons inside a part become semicolons.
func (k Key) ID(account string) (string, error) {
	id := string(appendID(nil, account, k))
	if n := utf16Length(id); n > MaximumIDLength {
		return "", fmt.Errorf("%w: %s has %d characters, %d are the limit", ErrTooLong, k, n, MaximumIDLength)
	}
	return id, nil
}

const (
	infrastructurePrefix = "kubernetes.v2:infrastructure:"
	logicalPrefix        = "kubernetes.v2:logical:"
)

func appendID(dst []byte, account string, k Key) []byte {
	if k.Type == Applications {
		dst = append(dst, logicalPrefix+"applications:"...)
		return appendPart(dst, k.Name)
	}
	if k.Type == Clusters {
		dst = append(dst, logicalPrefix+"clusters:"...)
	} else {
		dst = append(dst, infrastructurePrefix...)
		dst = append(appendPart(dst, string(k.Type)), ':')
	}
	dst = append(appendPart(dst, account), ':')
	dst = append(appendPart(dst, k.Scope), ':')
	return appendPart(dst, k.Name)
}

func appendPart(dst []byte, part string) []byte {
	start := len(dst)
	dst = append(dst, part...)
	for i := start; i < len(dst); i++ {
		if dst[i] == ':' {
			dst[i] = ';'
		}
	}
	return dst
}

// ParseID is the inverse of Key.ID. The account of an application is "". Semicolons come back as colons: an id cannot
// tell which of the two a name holds.
func ParseID(id string) (account string, k Key, err error) {
	parts := strings.Split(id, ":")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], ";", ":")
	}
	switch {
	case len(parts) == 4 && parts[0] == "kubernetes.v2" && parts[1] == "logical" && parts[2] == "applications":
		return "", Key{Type: Applications, Name: parts[3]}, nil
	case len(parts) == 6 && parts[0] == "kubernetes.v2" && parts[1] == "logical" && parts[2] == "clusters":
		return parts[3], Key{Type: Clusters, Scope: parts[4], Name: parts[5]}, nil
	case len(parts) == 6 && parts[0] == "kubernetes.v2" && parts[1] == "infrastructure" && parts[2] != "" &&
		!Type(parts[2]).logical():
		return parts[3], Key{Type: Type(parts[2]), Scope: parts[4], Name: parts[5]}, nil
	}
	return "", Key{}, fmt.Errorf("id %q is none of Clouddriver's Kubernetes provider", id)
}

// Path returns scope "/" name, as snapshots list rows (Entry.Key). A slash in the scope, which only an application's
// name can hold, is written %2F, and % is written %25. Semicolons become colons, so that both ends spell alike what
// the id cannot tell apart.
func (k Key) Path() string { return strings.ReplaceAll(k.path(), ";", ":") }

// path is Path before semicolons are folded.
func (k Key) path() string {
	scope := k.Scope
	if strings.ContainsAny(scope, "/%") {
		scope = strings.ReplaceAll(strings.ReplaceAll(scope, "%", "%25"), "/", "%2F")
	}
	return scope + "/" + k.Name
}

// PathKey is the inverse of Key.Path.
func PathKey(t Type, path string) (Key, error) {
	scope, name, ok := strings.Cut(path, "/")
	if !ok {
		return Key{}, fmt.Errorf("path %q of type %s has no slash between scope and name", path, t)
	}
	return Key{Type: t, Scope: unescapeScope(scope), Name: name}, nil
}

func unescapeScope(scope string) string {
	if strings.IndexByte(scope, '%') < 0 {
		return scope
	}
	return strings.ReplaceAll(strings.ReplaceAll(scope, "%2F", "/"), "%25", "%")
}

// utf16Length is the length of s as Java counts it.
func utf16Length(s string) int {
	n := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		n++
		if r >= 0x10000 {
			n++
		}
	}
	return n
}
