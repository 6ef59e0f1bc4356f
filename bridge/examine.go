package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead/fairlead/bridge/internal/config"
	"github.com/fairlead/fairlead/bridge/internal/doctor"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/certfile"
)

// givenCertificate reads the certificate of agents.tls.certFile.
func givenCertificate(cfg *config.Config) doctor.Certificate {
	c := doctor.Certificate{What: fmt.Sprintf("agents.tls.certFile (%s)", cfg.Agents.TLS.CertFile)}
	pair, err := certfile.Open(given(cfg.Agents.TLS))
	if err != nil {
		c.Err = err
		return c
	}
	c.Leaf = pair.Get().Leaf
	return c
}

// keyFindings tells whether the key file opens what bridges keep in the database.
func keyFindings(ctx context.Context, cfg *config.Config, s *store.Store) []doctor.Finding {
	key, err := identity.ReadKey(cfg.KeyFile)
	if err != nil {
		return []doctor.Finding{{Check: "key-file", Level: doctor.Fault, Text: err.Error(), Fix: "give the bridge the key file of the install; for a new one: fairlead-bridge key create FILE"}}
	}
	switch err := identity.CheckKey(ctx, s, key); {
	case errors.Is(err, identity.ErrWrongKey):
		return []doctor.Finding{{Check: "key-file", Level: doctor.Fault, Text: fmt.Sprintf("the key file %s does not open what bridges keep in %s: %v", cfg.KeyFile, s.Address(), err),
			Fix: "give all bridges of an install the same key file; if it is lost: docs/runbooks/lost-key.md"}}
	case err != nil:
		return []doctor.Finding{{Check: "key-file", Level: doctor.Skipped, Text: "the database does not answer, or no bridge has started on it yet"}}
	}
	return []doctor.Finding{{Check: "key-file", Level: doctor.OK, Text: "the key file opens what bridges keep in the database"}}
}
