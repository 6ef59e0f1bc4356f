package identity

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/proto/certfile"
)

// Given believes client certificates that the bridges did not give: those of the CAs of a file, unless a revocation list names them.
type Given struct {
	CAs *certfile.Pool
	// Revoked may be nil.
	Revoked *certfile.Revocations
}

// verify tells why a chain is not believed at a time.
func (g *Given) verify(chain []*x509.Certificate, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{Roots: g.CAs.Get(), Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil || g.Revoked == nil {
		return err
	}
	// One way to a CA on which nothing is revoked is enough.
	for _, way := range chains {
		if err = g.revoked(way); err == nil {
			return nil
		}
	}
	return err
}

func (g *Given) revoked(way []*x509.Certificate) error {
	for _, c := range way {
		if since, revoked := g.Revoked.Since(c); revoked {
			return fmt.Errorf("its CA (%s) revoked serial number %s at %s", Subject(c.RawIssuer), c.SerialNumber.Text(16), stamp(since))
		}
	}
	return nil
}

// watch returns what tells, now and later, whether a chain that was believed still is. It costs next to nothing while the files stay as they are. That
// the certificate expires is not looked at: Identity.Until tells that.
func (g *Given) watch(chain []*x509.Certificate, believed time.Time) func() error {
	type state struct {
		cas   *x509.CertPool
		lists any
	}
	now := func() state {
		s := state{cas: g.CAs.Get()}
		if g.Revoked != nil {
			s.lists = g.Revoked.Version()
		}
		return s
	}
	seen, err := now(), error(nil)
	return func() error {
		if n := now(); n != seen {
			seen, err = n, g.verify(chain, believed)
			if err != nil {
				err = refused("the client certificate %s", unfit(chain[0], err, believed))
			}
		}
		return err
	}
}

// Problems says what is wrong with the files, which keys of the configuration name.
func (g *Given) Problems(casKey, listsKey string) (list []string) {
	if err := g.CAs.Problem(); err != nil {
		list = append(list, fmt.Sprintf("the present content of %s is not in use, the former is: %v", casKey, err))
	}
	if g.Revoked == nil {
		return list
	}
	if err := g.Revoked.Problem(); err != nil {
		list = append(list, fmt.Sprintf("the present content of %s is not in use, the former is: %v", listsKey, err))
	}
	if next := g.Revoked.NextUpdate(); !next.IsZero() && time.Now().After(next) {
		list = append(list, fmt.Sprintf("%s should have been renewed by %s: certificates that were revoked since are still believed", listsKey, stamp(next)))
	}
	return list
}
