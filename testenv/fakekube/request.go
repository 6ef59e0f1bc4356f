package fakekube

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// request is what is asked of a kind.
type request struct {
	verb, groupVersion, plural string
	namespace, name            string
	// partial: only the metadata of objects is wanted.
	partial   bool
	selection selection
}

// maximumBody is how large an object may be that is written.
const maximumBody = 3 << 20

func (c *Cluster) serve(w http.ResponseWriter, r *http.Request, path string, connection net.Conn) {
	if c.discover(w, r, path) {
		return
	}
	ask, ok := parse(r, path)
	if !ok {
		refuse(w, unknownPath())
		return
	}
	c.mu.Lock()
	k := c.find(ask.groupVersion, ask.plural)
	if k != nil {
		c.asked[[2]string{ask.verb, ask.plural}]++
	}
	c.mu.Unlock()
	switch {
	case k == nil && !c.hasGroup(ask.groupVersion):
		http.NotFound(w, r)
		return
	case k == nil:
		refuse(w, unknownPath())
		return
	}
	a := c.answer(w, r, k.resource, ask, connection)
	defer a.release()
	if a.refused() {
		return
	}
	if err := c.do(a, k, r, ask); err != nil {
		refuse(w, err)
	}
}

func (c *Cluster) do(a *answer, k *kind, r *http.Request, ask *request) error {
	if err := ask.narrow(r); err != nil {
		return err
	}
	switch ask.verb {
	case "list":
		return c.list(a, k, r, ask)
	case "watch":
		return c.watch(a, k, r, ask)
	case "get":
		c.mu.Lock()
		o := k.objects[keyOf(ask.namespace, ask.name)]
		c.mu.Unlock()
		if o == nil {
			return apierrors.NewNotFound(k.resource.groupResource(), ask.name)
		}
		return a.whole(http.StatusOK, whole(&k.resource, o, ask.partial))
	case "create", "update", "delete":
		return c.change(a, k, r, ask)
	}
	return apierrors.NewMethodNotSupported(k.resource.groupResource(), ask.verb)
}

func (c *Cluster) change(a *answer, k *kind, r *http.Request, ask *request) error {
	var content map[string]any
	if ask.verb != "delete" {
		body, err := io.ReadAll(io.LimitReader(r.Body, maximumBody))
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		if content, err = decode(body); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		name, _ := metadataOf(content)["name"].(string)
		switch {
		case ask.verb == "create":
			ask.name = name
		case name != ask.name:
			return apierrors.NewBadRequest("the name of the object (" + name + ") does not match the name on the URL (" + ask.name + ")")
		}
		if ask.name == "" {
			return apierrors.NewBadRequest("the object has no name")
		}
	}
	o, err := c.write(k, ask, content)
	if err != nil {
		return err
	}
	switch ask.verb {
	case "create":
		return a.whole(http.StatusCreated, whole(&k.resource, o, false))
	case "delete":
		return a.whole(http.StatusOK, must(json.Marshal(metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
			Details: &metav1.StatusDetails{Name: o.name, Group: k.resource.Group, Kind: k.resource.Plural, UID: typeUID(o.uid)},
		})))
	}
	return a.whole(http.StatusOK, whole(&k.resource, o, false))
}

// parse reads a path below the cluster's: /api/v1/… or /apis/GROUP/VERSION/….
func parse(r *http.Request, path string) (*request, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	ask := &request{}
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		ask.groupVersion, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		ask.groupVersion, parts = parts[1]+"/"+parts[2], parts[3:]
	default:
		return nil, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		ask.namespace, parts = parts[1], parts[2:]
	}
	if len(parts) > 2 { // no subresources
		return nil, false
	}
	ask.plural = parts[0]
	if len(parts) == 2 {
		ask.name = parts[1]
	}
	watch, _ := strconv.ParseBool(r.URL.Query().Get("watch"))
	switch {
	case r.Method == http.MethodGet && ask.name != "":
		ask.verb = "get"
	case r.Method == http.MethodGet && watch:
		ask.verb = "watch"
	case r.Method == http.MethodGet:
		ask.verb = "list"
	default:
		ask.verb = map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodDelete: "delete"}[r.Method]
		if (ask.verb == "create") != (ask.name == "") {
			ask.verb = ""
		}
	}
	ask.partial = strings.HasPrefix(r.Header.Get("Accept"), "application/json;as=PartialObjectMetadata")
	return ask, true
}

// narrow reads the selectors.
func (a *request) narrow(r *http.Request) error {
	query := r.URL.Query()
	var err error
	a.selection.namespace = a.namespace
	if a.selection.labels, err = labels.Parse(query.Get("labelSelector")); err != nil {
		return apierrors.NewBadRequest("unable to parse labelSelector: " + err.Error())
	}
	if a.selection.fields, err = fields.ParseSelector(query.Get("fieldSelector")); err != nil {
		return apierrors.NewBadRequest("unable to parse fieldSelector: " + err.Error())
	}
	for _, one := range a.selection.fields.Requirements() {
		if one.Field != "metadata.name" && one.Field != "metadata.namespace" {
			return apierrors.NewBadRequest("field label not supported: " + one.Field)
		}
	}
	return nil
}

// whole is an object as it is shown alone and in watches: with what it is.
func whole(r *Resource, o *object, partial bool) []byte {
	if partial {
		return append(append([]byte(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":`), o.metadata()...), '}')
	}
	to := append([]byte(`{"kind":"`+r.Kind+`","apiVersion":"`+r.groupVersion()+`",`), ' ')
	begin := len(to) - 1
	to = o.appendTo(to[:begin])
	to[begin] = ' ' // the brace that began the object
	return to
}

// item is an object as it is shown in lists.
func item(r *Resource, o *object, partial bool) []byte {
	if partial || r.Custom {
		return whole(r, o, partial)
	}
	return o.appendTo(nil)
}

// refuse answers with an error as Kubernetes says it.
func refuse(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.Header().Set("Content-Type", "application/json")
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
	w.WriteHeader(int(s.Code))
	_, _ = w.Write(must(json.Marshal(s)))
}

func unauthorized() error { return apierrors.NewUnauthorized("Unauthorized") }

// unknownPath is what a real API server says of a path that it does not have.
func unknownPath() error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "get", schema.GroupResource{}, "", "404 page not found", 0, true)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
