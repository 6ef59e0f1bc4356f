package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"
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

var errWrongToken = errors.New(`the admin token is missing or wrong: send "Authorization: Bearer TOKEN" with the token of the bridge's admin.tokenFile`)

// guard lets calls with the token through.
func (s *Server) guard(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.token))
	refuse := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		// Digests are compared, so that the length is no hint either.
		got := sha256.Sum256([]byte(strings.TrimSpace(shown)))
		if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		s.o.Log.Warn("call without the admin token", "path", r.URL.Path, "remote", r.RemoteAddr)
		if refuse.IsSupported(r) {
			_ = refuse.Write(w, r, connect.NewError(connect.CodeUnauthenticated, errWrongToken))
			return
		}
		http.Error(w, errWrongToken.Error(), http.StatusUnauthorized)
	})
}
