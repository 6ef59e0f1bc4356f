package plugin

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1/clouddriverv1connect"
)

// patience is how long a caller may send or read nothing before it counts as gone.
const patience = time.Minute

// guard lets only the plugin through. A browser or another program on the host that can reach the port lacks the secret, or the certificate; one
// that was tricked into a request (a web page, a name that resolves to loopback) fails at the host, method or content type.
func (s *Server) guard(next http.Handler) http.Handler {
	writer := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(patience)) // replaces what an earlier call left on the connection
		refused := func(reason string) {
			s.refusals.Inc()
			s.o.Log.Warn("call refused", "path", r.URL.Path, "remote", r.RemoteAddr, "reason", reason)
		}
		refuse := func(status int, text string) {
			refused(text)
			http.Error(w, text, status)
		}
		switch {
		case s.o.Remote == nil && !loopbackName(r.Host):
			refuse(http.StatusForbidden, "permission_denied: Host "+r.Host+" is not a loopback name: call 127.0.0.1 or localhost")
			return
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			refuse(http.StatusMethodNotAllowed, "only POST is accepted")
			return
		case !jsonContent(r.Header.Get("Content-Type")):
			refuse(http.StatusUnsupportedMediaType, "Content-Type must be application/json (unary calls) or application/connect+json (streams)")
			return
		}
		who, err := s.identify(r)
		switch {
		case errors.Is(err, identity.ErrUnavailable):
			s.o.Log.Warn("caller cannot be known at the moment", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
			_ = writer.Write(w, r, connect.NewError(connect.CodeUnavailable, err))
			return
		case err != nil:
			refused(err.Error())
			_ = writer.Write(w, r, connect.NewError(connect.CodeUnauthenticated, err))
			return
		}
		ctx, end := watched(r.Context(), who, r.URL.Path == clouddriverv1connect.ClouddriverServiceWatchAccountsProcedure)
		defer end()
		r = r.WithContext(ctx)
		r.Body = &prompt{ReadCloser: r.Body, control: control}
		next.ServeHTTP(&patient{ResponseWriter: w, control: control}, r)
	})
}

// identify returns who calls; by the secret everybody is the same.
func (s *Server) identify(r *http.Request) (identity.Identity, error) {
	if s.o.Remote != nil {
		var chain []*x509.Certificate
		if r.TLS != nil {
			chain = r.TLS.PeerCertificates
		}
		who, err := s.o.Remote.Identify(r.Context(), chain)
		if err == nil {
			s.noteExpiry(who)
		}
		return who, err
	}
	shown, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	right, err := s.secret.matches(strings.TrimSpace(shown))
	if err != nil {
		return identity.Identity{}, fmt.Errorf("%w: %w", identity.ErrUnavailable, err)
	}
	if !bearer || !right {
		return identity.Identity{}, errWrongSecret
	}
	return identity.Identity{}, nil
}

func jsonContent(header string) bool {
	content, _, err := mime.ParseMediaType(header)
	return err == nil && (content == "application/json" || content == "application/connect+json")
}

func loopbackName(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// patient ends writes that a caller does not take. Without it a stuck reader would hold an operation, and its output, until
// the operation's deadline.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(patience))
	return p.ResponseWriter.Write(b)
}

func (p *patient) Flush() {
	_ = p.control.SetWriteDeadline(time.Now().Add(patience))
	_ = p.control.Flush()
}

func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// prompt ends the reading of a request that does not come. The deadline goes when the request is complete: net/http goes on
// reading the connection to see whether the caller leaves, and a deadline would look as if it had.
type prompt struct {
	io.ReadCloser
	control *http.ResponseController
}

func (p *prompt) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(patience))
	n, err := p.ReadCloser.Read(b)
	if err != nil {
		_ = p.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
