package doctor

import (
	"context"
	"fmt"
	"time"
)

// soon is when an expiry is worth a warning; certificates of the bridges' own CA are renewed long before.
const soon = 72 * time.Hour

func certificateChecks() []check {
	return []check{{"certificate", "certificates are valid", func(v *visit) string {
		if len(v.Certificates) == 0 {
			return "no certificate is known: the bridge makes its own when it has its database"
		}
		return ""
	}, certificates}}
}

func certificates(_ context.Context, v *visit) (found []Finding) {
	for _, c := range v.Certificates {
		renew := "put a new certificate and its key into the files: the bridge reads them within a minute, without a restart (cert-manager does both)"
		switch {
		case c.Err != nil:
			found = append(found, fault(fmt.Sprintf("%s cannot be used: %v", c.What, c.Err), "give the file what it is named for, readable by the bridge's user")...)
		case v.Now.After(c.Leaf.NotAfter):
			found = append(found, fault(fmt.Sprintf("the certificate of %s expired at %s: no agent connects", c.What, c.Leaf.NotAfter.UTC().Format(time.RFC3339)), renew)...)
		case v.Now.Before(c.Leaf.NotBefore):
			found = append(found, fault(fmt.Sprintf("the certificate of %s begins at %s only: no agent connects", c.What, c.Leaf.NotBefore.UTC().Format(time.RFC3339)),
				"look whether this host's clock is right; if it is, use the former certificate until then")...)
		case c.Leaf.NotAfter.Sub(v.Now) < soon:
			found = append(found, warning(fmt.Sprintf("the certificate of %s expires in %s", c.What, c.Leaf.NotAfter.Sub(v.Now).Round(time.Minute)), renew)...)
		}
	}
	return found
}
