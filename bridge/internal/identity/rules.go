package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// CertificateRule says which accounts the holders of certain client certificates may serve. Everything that it names must fit; of
// several texts for one thing any.
type CertificateRule struct {
	// Accounts are patterns of account names.
	Accounts []string
	// Subject and Issuer are regular expressions that must be found in the distinguished name as RFC 2253 writes it
	// ("UID=abc:123:ksvc,OU=Agents,O=Example"): what the replaced product calls x509 filters.
	Subject, Issuer []string
	// DNS and URI are patterns, * for any characters, for names in the certificate: "spiffe://prod.example/ns/*/sa/fairlead-agent".
	DNS, URI []string

	subject, issuer []*regexp.Regexp
}

// Compile checks a rule and makes it ready for use.
func (r *CertificateRule) Compile() error {
	if err := CheckPatterns(r.Accounts); err != nil {
		return err
	}
	if len(r.Subject)+len(r.Issuer)+len(r.DNS)+len(r.URI) == 0 {
		return errors.New("nothing says whose certificates it is about; give at least one of subject, issuer, dns, uri")
	}
	var err error
	if r.subject, err = compile("subject", r.Subject); err != nil {
		return err
	}
	if r.issuer, err = compile("issuer", r.Issuer); err != nil {
		return err
	}
	for _, p := range append(append([]string(nil), r.DNS...), r.URI...) {
		if p == "" || strings.Trim(p, "*") == "" {
			return fmt.Errorf("pattern %q fits everything or nothing", p)
		}
	}
	return nil
}

func compile(what string, texts []string) ([]*regexp.Regexp, error) {
	list := make([]*regexp.Regexp, 0, len(texts))
	for _, text := range texts {
		e, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a regular expression (RE2): %w", what, text, err)
		}
		if e.MatchString("") {
			return nil, fmt.Errorf("%s: %q fits everything; write what the name must hold", what, text)
		}
		list = append(list, e)
	}
	return list, nil
}

// covers tells whether a rule is about a certificate. Its chain has been verified.
func (r *CertificateRule) covers(c *x509.Certificate) bool {
	uris := make([]string, 0, len(c.URIs))
	for _, u := range c.URIs {
		uris = append(uris, u.String())
	}
	return found(r.subject, Subject(c.RawSubject)) && found(r.issuer, Subject(c.RawIssuer)) && fits(r.DNS, c.DNSNames) && fits(r.URI, uris)
}

func found(list []*regexp.Regexp, text string) bool {
	for _, e := range list {
		if e.MatchString(text) {
			return true
		}
	}
	return len(list) == 0
}

func fits(patterns, names []string) bool {
	for _, p := range patterns {
		for _, name := range names {
			if matches(p, name) {
				return true
			}
		}
	}
	return len(patterns) == 0
}

// patternsFor is what all rules together allow the holder of a certificate.
func patternsFor(rules []CertificateRule, c *x509.Certificate) (patterns []string) {
	for i := range rules {
		if rules[i].covers(c) {
			patterns = append(patterns, rules[i].Accounts...)
		}
	}
	return patterns
}

// attributeNames are those of RFC 2253 §2.3; Java, and so the replaced product, writes the same.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.9": "STREET",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
}

// Subject writes a distinguished name (DER) as RFC 2253 does, the last attribute first. Package pkix does too, but for UID and DC.
func Subject(raw []byte) string {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &sequence); err != nil || len(rest) > 0 {
		return "(unreadable name)"
	}
	parts := make([]string, 0, len(sequence))
	for i := len(sequence) - 1; i >= 0; i-- {
		var set []string
		for _, a := range sequence[i] {
			name, known := attributeNames[a.Type.String()]
			value, isText := a.Value.(string)
			if !known || !isText {
				if !known {
					name = a.Type.String()
				}
				der, err := asn1.Marshal(a.Value)
				if err != nil {
					return "(unreadable name)"
				}
				set = append(set, name+"=#"+hex.EncodeToString(der))
				continue
			}
			set = append(set, name+"="+escape(value))
		}
		parts = append(parts, strings.Join(set, "+"))
	}
	return strings.Join(parts, ",")
}

// escape is that of RFC 2253 §2.4; control characters, which break logs, are written in hex too.
func escape(value string) string {
	var b strings.Builder
	for i, r := range value {
		switch {
		case strings.ContainsRune(`,+"\<>;`, r), r == '#' && i == 0, r == ' ' && (i == 0 || i == len(value)-1):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\%02X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
