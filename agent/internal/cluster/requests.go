package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	kjson "sigs.k8s.io/json"
)

const (
	// pageSize is the API server's usual one; a page is read object by object.
	pageSize = 500
	// watchAtLeast is how long a watch runs before the API server ends it; up to twice that, so that they do not all end
	// together.
	watchAtLeast = 5 * time.Minute
	// watchGrace is how much longer a watch may run than it was asked to before the connection counts as dead.
	watchGrace = time.Minute
)

// The partial objects that namespaces and definitions are read as: their names are all that is wanted.
const (
	metadataList  = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	metadataWatch = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
)

// errExpired: the API server does not have the history any more that a watch asks for.
var errExpired = errors.New("the API server has compacted the history")

// source is one kind in one namespace, or in all.
type source struct {
	client    *rest.RESTClient
	mapping   *meta.RESTMapping
	namespace string
	// metadataOnly asks for names and annotations only.
	metadataOnly bool
}

// requests makes the client for listing and watching.
func requests(ctx context.Context, c *connection) (*rest.RESTClient, error) {
	config := c.forInventory(ctx)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	config.GroupVersion = &schema.GroupVersion{Version: "v1"}
	config.APIPath = "/api"
	return rest.RESTClientFor(config)
}

func (s *source) request(accept string) *rest.Request {
	gvr := s.mapping.Resource
	segments := []string{"/apis", gvr.Group, gvr.Version}
	if gvr.Group == "" {
		segments = []string{"/api", gvr.Version}
	}
	if s.namespace != "" {
		segments = append(segments, "namespaces", s.namespace)
	}
	request := s.client.Get().AbsPath(append(segments, gvr.Resource)...)
	if s.metadataOnly {
		request.SetHeader("Accept", accept+",application/json")
	}
	return request
}

// list reads a whole kind, page by page. It returns the state that a watch can go on from. began is called when the API
// server has accepted.
func (s *source) list(ctx context.Context, began func(), item func(raw []byte) error) (resourceVersion string, count int, err error) {
	next := ""
	for {
		request := s.request(metadataList).Param("limit", strconv.Itoa(pageSize))
		if next != "" {
			request.Param("continue", next)
		}
		body, err := request.Stream(ctx)
		if next != "" && expired(err) {
			// It took so long that the API server has forgotten the state that the listing is of. What was read stays in the sink's
			// records, so that the next listing is quicker.
			return "", count, errExpired
		}
		if err != nil {
			return "", count, err
		}
		if next == "" {
			began()
		}
		page, err := readAndClose(body, item)
		if err != nil {
			return "", count, err
		}
		count += page.Count
		if page.ResourceVersion == "" {
			return "", count, fmt.Errorf("list %s: the answer has no resourceVersion", s.mapping.Resource.Resource)
		}
		if page.Continue == "" {
			return page.ResourceVersion, count, nil
		}
		next = page.Continue
	}
}

func readAndClose(body io.ReadCloser, item func(raw []byte) error) (Page, error) {
	defer func() { _ = body.Close() }()
	return ReadList(body, item)
}

// watched is an event for whoever follows a source. raw is good until the next one.
type watched struct {
	deleted bool
	raw     []byte
}

// watch follows a source from a state until the watch ends, and returns the state then. nil: the API server ended it in
// the ordinary way. started is called when the API server has accepted. each returns the state after its event; nothing
// is read while it runs.
func (s *source) watch(ctx context.Context, resourceVersion string, started func(), each func(watched) (string, error)) (string, error) {
	timeout := watchAtLeast + rand.N(watchAtLeast)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout+watchGrace, errors.New("the watch did not end when it should have"))
	defer cancel()
	body, err := s.request(metadataWatch).
		Param("watch", "true").
		Param("allowWatchBookmarks", "true").
		Param("resourceVersion", resourceVersion).
		Param("timeoutSeconds", strconv.Itoa(int(timeout.Seconds()))).
		Stream(ctx)
	if expired(err) {
		return resourceVersion, errExpired
	}
	if err != nil {
		return resourceVersion, err
	}
	defer func() { _ = body.Close() }()
	started()
	events := newEvents(body)
	var e event
	for {
		switch err := events.next(&e); {
		case errors.Is(err, io.EOF):
			return resourceVersion, nil
		case ctx.Err() != nil:
			return resourceVersion, context.Cause(ctx)
		case err != nil:
			return resourceVersion, fmt.Errorf("watch %s: %w", s.mapping.Resource.Resource, err)
		}
		version, err := "", error(nil)
		switch e.Type {
		case "ERROR":
			err = watchError(e.Object)
		case "BOOKMARK":
			version = versionOf(e.Object)
		case "ADDED", "MODIFIED", "DELETED":
			version, err = each(watched{deleted: e.Type == "DELETED", raw: e.Object})
		default:
			err = fmt.Errorf("watch %s: an event of unknown type %q", s.mapping.Resource.Resource, e.Type)
		}
		if err != nil {
			return resourceVersion, err
		}
		if version != "" {
			resourceVersion = version
		}
	}
}

func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

func watchError(raw []byte) error {
	var status metav1.Status
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &status); err != nil {
		return fmt.Errorf("the watch ended with an error that cannot be read: %w", err)
	}
	if status.Code == http.StatusGone || status.Reason == metav1.StatusReasonExpired || status.Reason == metav1.StatusReasonGone {
		return errExpired
	}
	return &apierrors.StatusError{ErrStatus: status}
}

func versionOf(raw []byte) string {
	var object struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if kjson.UnmarshalCaseSensitivePreserveInts(raw, &object) != nil {
		return ""
	}
	return object.Metadata.ResourceVersion
}
