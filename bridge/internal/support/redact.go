// Package support makes what people send to somebody else who shall understand their install, and takes every secret out of it.
//
// Two nets hold secrets back. What the process knows to be one (the contents of its secret files) is replaced wherever it stands, also as
// base64 or URL-encoded. What looks like one (tokens by their prefixes, JWTs, private keys, passwords in URLs and DSNs, values of keys that
// are named for secrets) is replaced whoever's it is.
package support

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
)

const hidden = "«hidden»"

// shortest is the length below which a known secret is not looked for: a word of three letters would be found everywhere.
const shortest = 6

// Redactor takes secrets out of texts.
type Redactor struct{ known [][]byte }

// NewRedactor knows these secrets; empty ones and those that are shorter than six bytes are left to the patterns.
func NewRedactor(secrets ...string) *Redactor {
	r := &Redactor{}
	for _, s := range secrets {
		s := string(bytes.TrimSpace([]byte(s)))
		if len(s) < shortest {
			continue
		}
		forms := []string{s, base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)), url.QueryEscape(s), url.PathEscape(s)}
		for _, form := range forms {
			r.known = append(r.known, []byte(form))
		}
	}
	// The longest first: one may hold another.
	slices.SortFunc(r.known, func(a, b []byte) int { return len(b) - len(a) })
	return r
}

// patterns find what looks like a secret; the first group, if there is one, stays.
var patterns = []*regexp.Regexp{
	regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`),
	regexp.MustCompile(`\b(fl[ta]_)[A-Za-z0-9_-]{6,}`),
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*`),
	regexp.MustCompile(`\b(hvs\.|hvb\.|s\.)[A-Za-z0-9]{20,}`),
	regexp.MustCompile(`\b(AKIA|ASIA)[A-Z0-9]{12,}`),
	regexp.MustCompile(`(?i)(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}`),
	// user:password@tcp(…) and scheme://user:password@host; a password may hold @ itself.
	regexp.MustCompile(`([A-Za-z0-9._-]+:)[^\s"'/]+(@(?:tcp|unix)\()`),
	regexp.MustCompile(`(://[^\s:/@"']*:)[^\s"'/]+(@)`),
	regexp.MustCompile(`(?i)((?:password|passwd|secret|secretkey|token|client-key-data|clientkeydata|private-?key|api-?key|access-?key)\\?"?\s*[:=]\s*\\?"?)[^\s"',;&}\\]{3,}`),
}

// Redact returns a text without secrets.
func (r *Redactor) Redact(text []byte) []byte {
	for _, secret := range r.known {
		text = bytes.ReplaceAll(text, secret, []byte(hidden))
	}
	for _, p := range patterns {
		text = p.ReplaceAllFunc(text, func(found []byte) []byte {
			groups := p.FindSubmatch(found)
			out := []byte(hidden)
			if len(groups) > 1 {
				out = append(bytes.Clone(groups[1]), out...)
			}
			if len(groups) > 2 {
				out = append(out, groups[2]...)
			}
			return out
		})
	}
	return text
}
