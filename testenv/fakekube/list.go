package fakekube

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mark is what a continue token says: from which key on, of which version. Version -1: of the present one.
type mark struct {
	V     string `json:"v"`
	RV    int64  `json:"rv"`
	Start string `json:"start"`
}

func (m mark) token() string {
	m.V = "meta.k8s.io/v1"
	return base64.RawURLEncoding.EncodeToString(must(json.Marshal(m)))
}

func readMark(token string) (mark, error) {
	var m mark
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil || m.V != "meta.k8s.io/v1" || m.RV == 0 {
		return m, apierrors.NewBadRequest("continue key is not valid: " + token)
	}
	return m, nil
}

const (
	continueExpired = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
	versionExpired  = "The resourceVersion for the provided list is too old."
)

// listed is what a list request asks for.
type listed struct {
	limit int
	// from is the key that the page begins with.
	from string
	// version that is wanted; 0: the present one. exactly: that one and no later.
	version int64
	exactly bool
	// continued from an earlier page.
	continued bool
}

func readListed(r *http.Request) (listed, error) {
	query := r.URL.Query()
	var l listed
	var err error
	if text := query.Get("limit"); text != "" {
		if l.limit, err = strconv.Atoi(text); err != nil {
			return l, apierrors.NewBadRequest("limit: " + err.Error())
		}
	}
	version := query.Get("resourceVersion")
	if version != "" {
		if l.version, err = strconv.ParseInt(version, 10, 64); err != nil || l.version < 0 {
			return l, apierrors.NewBadRequest("resource version: " + version)
		}
	}
	match := query.Get("resourceVersionMatch")
	if match != "" && version == "" || query.Get("sendInitialEvents") != "" {
		return l, invalid()
	}
	l.exactly = match == "Exact" || match == "" && l.limit > 0 && l.version > 0
	if version == "0" {
		l.limit = 0 // the API server's cache answers then, which has no pages
	}
	if token := query.Get("continue"); token != "" {
		if l.version > 0 || match != "" {
			return l, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
		m, err := readMark(token)
		if err != nil {
			return l, err
		}
		l.continued, l.from, l.version, l.exactly = true, m.Start, max(m.RV, 0), m.RV > 0
	}
	return l, nil
}

// invalid is said of options that exclude each other.
func invalid() error {
	return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", nil)
}

func (c *Cluster) list(a *answer, k *kind, r *http.Request, ask *request) error {
	l, err := readListed(r)
	if err != nil {
		return err
	}
	c.mu.Lock()
	version := c.version
	switch {
	case l.version > version:
		c.mu.Unlock()
		return tooLarge(l.version, version)
	case l.exactly && l.version < k.compacted:
		c.mu.Unlock()
		return l.expired()
	case l.exactly:
		version = l.version
	}
	objects, remaining := k.page(version, l.from, ask.selection, l.limit)
	resource := k.resource
	c.mu.Unlock()

	meta := metav1.ListMeta{ResourceVersion: strconv.FormatInt(version, 10)}
	if remaining > 0 {
		meta.Continue = mark{RV: version, Start: objects[len(objects)-1].key() + "\x00"}.token()
		if ask.selection.everything() {
			n := int64(remaining)
			meta.RemainingItemCount = &n
		}
	}
	a.begin()
	a.raw([]byte(head(&resource, ask.partial)))
	a.raw(listMetadata(meta, resource.Custom && !ask.partial))
	a.raw([]byte(`,"items":[`))
	for i, o := range objects {
		if i > 0 {
			a.raw([]byte{','})
		}
		if !a.piece(item(&resource, o, ask.partial)) {
			return nil
		}
	}
	a.raw([]byte("]}\n"))
	a.flush()
	return nil
}

// listMetadata writes a list's metadata; custom resources' always have continue, as they are not written by generated code.
func listMetadata(meta metav1.ListMeta, custom bool) []byte {
	raw := must(json.Marshal(meta))
	if custom && meta.Continue == "" {
		raw = append([]byte(`{"continue":"",`), raw[1:]...)
	}
	return raw
}

func head(r *Resource, partial bool) string {
	if partial {
		return `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":`
	}
	return `{"kind":"` + r.Kind + `List","apiVersion":"` + r.groupVersion() + `","metadata":`
}

// expired says that the version is not known any more, and how a continued list can go on.
func (l listed) expired() error {
	if !l.continued {
		return apierrors.NewResourceExpired(versionExpired)
	}
	err := apierrors.NewResourceExpired(continueExpired)
	err.ErrStatus.Continue = mark{RV: -1, Start: l.from}.token()
	return err
}

// tooLarge is said of versions that are yet to come.
func tooLarge(wanted, present int64) error {
	text := "Too large resource version: " + strconv.FormatInt(wanted, 10) + ", current: " + strconv.FormatInt(present, 10)
	err := apierrors.NewTimeoutError(text, 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: strings.SplitAfter(text, "version")[0]}}
	return err
}
