package execute

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/agent/internal/cluster"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/openapi3"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
)

const (
	// keptSchemas is how many parsed documents are kept. Each has some megabytes, and a fleet uses few: apps/v1, v1,
	// batch/v1, networking.k8s.io/v1 of two or three versions.
	keptSchemas = 16
	// indexAge is how long an account's index of documents counts: a server that was upgraded is noticed after this.
	indexAge = 5 * time.Minute
)

type digest [sha256.Size]byte

// Schemas holds what API servers say about the structure of their kinds, which apply needs to merge lists. Documents are
// shared by their content, which each account reads itself: one that was told a false document cannot pass it to others.
type Schemas struct {
	// parsing comes before mu.
	parsing sync.Mutex

	mu       sync.Mutex
	byDigest map[digest]*keptSchema
	// clock counts uses, so that the least recently used one goes.
	clock uint64
}

type keptSchema struct {
	document *spec3.OpenAPI
	used     uint64
}

// NewSchemas makes an empty store.
func NewSchemas() *Schemas { return &Schemas{byDigest: map[digest]*keptSchema{}} }

func (s *Schemas) get(d digest) *spec3.OpenAPI {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, ok := s.byDigest[d]
	if !ok {
		return nil
	}
	s.clock++
	kept.used = s.clock
	return kept.document
}

func (s *Schemas) put(d digest, document *spec3.OpenAPI) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	s.byDigest[d] = &keptSchema{document: document, used: s.clock}
	for len(s.byDigest) > keptSchemas {
		var oldest digest
		least := s.clock + 1
		for d, kept := range s.byDigest {
			if kept.used < least {
				oldest, least = d, kept.used
			}
		}
		delete(s.byDigest, oldest)
	}
}

// parse returns the document with a content. One is parsed at a time: it takes several times its size meanwhile, and those who come together
// mostly want the same.
func (s *Schemas) parse(content []byte) (*spec3.OpenAPI, digest, error) {
	d := sha256.Sum256(content)
	s.parsing.Lock()
	defer s.parsing.Unlock()
	if document := s.get(d); document != nil {
		return document, d, nil
	}
	document := &spec3.OpenAPI{}
	if err := json.Unmarshal(content, document); err != nil {
		return nil, d, err
	}
	s.put(d, document)
	return document, d, nil
}

// accountSchemas is one account's way into the store.
type accountSchemas struct {
	store *Schemas
	// reading is full while an operation reads what the API server says; the others of the account wait for what it finds.
	reading chan struct{}

	mu sync.Mutex
	// index: where each group and version's document is, by "apis/apps/v1"; the place holds a hash of the content.
	index map[string]string
	read  time.Time
	// seen: the content that this account found at a place.
	seen map[string]digest
}

func newAccountSchemas(store *Schemas) *accountSchemas {
	return &accountSchemas{store: store, reading: make(chan struct{}, 1), seen: map[string]digest{}}
}

// known returns the place of a group and version's document, if the index is not too old, and the document, if it is kept.
func (a *accountSchemas) known(gv schema.GroupVersion) (place string, document *spec3.OpenAPI) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.read) >= indexAge {
		return "", nil
	}
	place = a.index[indexName(gv)]
	if d, seen := a.seen[place]; seen {
		document = a.store.get(d)
	}
	return place, document
}

func indexName(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.String()
}

// schemaRoot shows an account's documents to kubectl's library, read through the operation's client.
type schemaRoot struct {
	ctx     context.Context // the operation's
	account *accountSchemas
	client  *cluster.Client
}

var _ openapi3.Root = schemaRoot{}

// GVSpec returns the document of a group and version.
func (r schemaRoot) GVSpec(gv schema.GroupVersion) (*spec3.OpenAPI, error) {
	a := r.account
	if _, document := a.known(gv); document != nil {
		return document, nil
	}
	select {
	case a.reading <- struct{}{}:
		defer func() { <-a.reading }()
	case <-r.ctx.Done():
		return nil, context.Cause(r.ctx)
	}
	place, document := a.known(gv) // by now
	if place == "" {
		if err := r.find(gv); err != nil {
			return nil, err
		}
		place, document = a.known(gv)
	}
	if document != nil {
		return document, nil
	}
	content, err := r.download(place)
	if err != nil {
		return nil, err
	}
	document, d, err := a.store.parse(content)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document of %s: %w", gv, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[place] = d
	return document, nil
}

// find reads the index again, which is old or lacks the group and version.
func (r schemaRoot) find(gv schema.GroupVersion) error {
	asked := time.Now()
	content, err := r.download("/openapi/v3")
	if err != nil {
		return fmt.Errorf("index of OpenAPI documents: %w", err)
	}
	var list handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(content, &list); err != nil {
		return fmt.Errorf("index of OpenAPI documents: %w", err)
	}
	index := map[string]string{}
	for name, d := range list.Paths {
		index[name] = d.ServerRelativeURL
	}
	a := r.account
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index, a.read = index, asked
	for place := range a.seen {
		if !contains(index, place) {
			delete(a.seen, place)
		}
	}
	if index[indexName(gv)] == "" {
		return fmt.Errorf("the API server has no OpenAPI document of %s", gv)
	}
	return nil
}

func contains(index map[string]string, place string) bool {
	for _, p := range index {
		if p == place {
			return true
		}
	}
	return false
}

// download reads a place relative to the server's URL, whose own path the place may repeat.
func (r schemaRoot) download(place string) ([]byte, error) {
	u, err := url.Parse(place)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document at %q: %w", place, err)
	}
	client, err := r.client.REST(schema.GroupVersion{Version: "v1"})
	if err != nil {
		return nil, err
	}
	path := u.Path
	if prefix := strings.TrimSuffix(client.Get().AbsPath("/").URL().Path, "/"); prefix != "" {
		path = strings.TrimPrefix(path, prefix)
	}
	request := client.Get().AbsPath(path).SetHeader("Accept", "application/json")
	for name, values := range u.Query() {
		for _, v := range values {
			request = request.Param(name, v)
		}
	}
	return request.Do(context.TODO()).Raw() // the client ends with the operation
}

// GroupVersions is not asked for by apply.
func (schemaRoot) GroupVersions() ([]schema.GroupVersion, error) {
	return nil, errors.New("not supported")
}

// GVSpecAsMap is not asked for by apply.
func (schemaRoot) GVSpecAsMap(schema.GroupVersion) (map[string]any, error) {
	return nil, errors.New("not supported")
}
