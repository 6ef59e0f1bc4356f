package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/bridge/internal/identity"
)

// tokenMinimum is the fewest characters that a token may have; ours have more.
const tokenMinimum = 16

// readToken reads the token of a file, which it makes, readable by its owner alone, if it is absent.
func readToken(file string) (string, error) {
	if file == "" {
		return "", errors.New("is not set: name a file; it is made if it is absent")
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeToken(file); err == nil {
			content, err = os.ReadFile(file)
		}
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s: every user may read it (mode %04o): chmod 0600 it", file, info.Mode().Perm())
	}
	token := strings.TrimSpace(string(content))
	if len(token) < tokenMinimum {
		return "", fmt.Errorf("%s: %d characters are too few for a token, at least %d are needed; delete the file and start again, a new one is made then", file, len(token), tokenMinimum)
	}
	return token, nil
}

// makeToken writes a temporary file first: nobody must read half of it, and of two that make it at once only one may win.
func makeToken(file string) error {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".fairlead-token-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	_, err = temporary.WriteString("fla_" + base64.RawURLEncoding.EncodeToString(random) + "\n")
	if err := errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	if err := os.Link(temporary.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

var errWrongToken = errors.New(`the admin token is missing or wrong: send "Authorization: Bearer TOKEN" with the token of the bridge's admin.tokenFile, one of "fairlead token create --role ROLE", or one of the identity provider of admin.oidc`)

// guard lets calls of people through whose token is known, and notes who they are.
func (s *Server) guard(next http.Handler) http.Handler {
	refuse := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		id, err := s.know(r.Context(), strings.TrimSpace(shown))
		if err == nil {
			remote, _, _ := net.SplitHostPort(r.RemoteAddr)
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), personKey{}, person{id, remote})))
			return
		}
		s.o.Log.Warn("call refused", "path", r.URL.Path, "remote", r.RemoteAddr, "reason", err.Error())
		code, status := connect.CodeUnauthenticated, http.StatusUnauthorized
		if errors.Is(err, identity.ErrUnavailable) {
			code, status = connect.CodeUnavailable, http.StatusServiceUnavailable
		}
		if refuse.IsSupported(r) {
			_ = refuse.Write(w, r, connect.NewError(code, err))
			return
		}
		http.Error(w, err.Error(), status)
	})
}

// know tells whose token it is.
func (s *Server) know(ctx context.Context, token string) (identity.Identity, error) {
	// Digests are compared, so that the length is no hint either.
	want, got := sha256.Sum256([]byte(s.token)), sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
		return identity.Identity{Name: "admin.tokenFile", Role: identity.RoleOperator}, nil
	}
	var id identity.Identity
	var err error
	switch {
	case strings.HasPrefix(token, identity.PersonPrefix):
		id, err = s.o.Tokens.Person(ctx, token)
	case s.o.People != nil && identity.LooksLikeJWT(token):
		id, err = s.o.People.Identify(ctx, token)
	default:
		return id, errWrongToken
	}
	if errors.Is(err, identity.ErrUnauthenticated) {
		// What is wrong with it is said in the log; the caller may be anybody.
		s.o.Log.Info("token refused", "reason", err.Error())
		return id, errWrongToken
	}
	if err == nil && id.Role == "" {
		err = errWrongToken
	}
	return id, err
}

// operators lets operators through alone: profiles show memory.
func operators(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if caller(r.Context()).Role != identity.RoleOperator {
			http.Error(w, operatorOnly, http.StatusForbidden)
			return
		}
		next(w, r)
	}
}
