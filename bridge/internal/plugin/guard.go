package plugin

import (
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
)

// patience is how long a caller may send or read nothing before it counts as gone.
const patience = time.Minute

// guard lets only the plugin through. A browser or another program on the host that can reach the port lacks the secret; one
// that was tricked into a request (a web page, a name that resolves to loopback) fails at the host, method or content type.
func guard(next http.Handler, s secret, log *slog.Logger) http.Handler {
	writer := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(patience)) // replaces what an earlier call left on the connection
		refuse := func(status int, text string) {
			log.Warn("call refused", "path", r.URL.Path, "remote", r.RemoteAddr, "reason", text)
			http.Error(w, text, status)
		}
		switch {
		case !loopbackName(r.Host):
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
		shown, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		right, err := s.matches(strings.TrimSpace(shown))
		if err != nil {
			log.Error("secret cannot be read", "error", err)
			_ = writer.Write(w, r, connect.NewError(connect.CodeUnavailable, err))
			return
		}
		if !bearer || !right {
			log.Warn("call refused", "path", r.URL.Path, "remote", r.RemoteAddr, "reason", "no or wrong secret")
			_ = writer.Write(w, r, connect.NewError(connect.CodeUnauthenticated, errWrongSecret))
			return
		}
		r.Body = &prompt{ReadCloser: r.Body, control: control}
		next.ServeHTTP(&patient{ResponseWriter: w, control: control}, r)
	})
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
