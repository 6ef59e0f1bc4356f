package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func pluginCommand(o *options) *cobra.Command {
	p := &cobra.Command{Use: "plugin", Short: "Clouddriver's plugin, where it calls its bridge over a network"}
	p.AddCommand(pluginCertificateCommand(o))
	return p
}

var secretForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// pluginFiles are a certificate, its key and whom to trust, by the names that Kubernetes' TLS Secrets have.
type pluginFiles []struct {
	name    string
	content []byte
}

func pluginCertificateCommand(o *options) *cobra.Command {
	var dir, secret, description string
	var ttl time.Duration
	c := &cobra.Command{
		Use: "certificate (--dir DIR | --secret NAME)", Short: "Make the certificate by which bridges know Clouddriver's plugin", Args: cobra.NoArgs,
		Long: "Makes a key and has the bridge certify it. The key never leaves this machine: it is written to DIR with the certificate and the bridges' CA\n" +
			"(tls.crt, tls.key, ca.crt), or to standard output as a Kubernetes Secret, for \"kubectl apply -f -\". The plugin's settings certificateFile, keyFile\n" +
			"and caFile name the files; it reads them again when they change, so that a new certificate needs no restart.\n\n" +
			"Who holds the certificate may do what Clouddriver may, on every account. \"fairlead token list\" shows it, \"fairlead token revoke ID\" ends it within seconds.",
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case (dir == "") == (secret == ""):
				return usage("--dir, --secret: give one of them: a directory for the files, or the name of a Kubernetes Secret that is printed")
			case secret != "" && !secretForm.MatchString(secret):
				return usage("--secret: %q is not a name of a Kubernetes Secret: lower case letters, digits, '-' and '.'", secret)
			case ttl < time.Hour:
				return usage("--ttl: %s is shorter than an hour", ttl)
			}
			if dir != "" {
				if err := writable(dir); err != nil {
					return err
				}
			}
			files, id, err := certifyPlugin(c, o, ttl, description)
			if err != nil {
				return err
			}
			if secret != "" {
				return files.secret(c.OutOrStdout(), secret, id)
			}
			if err := files.write(dir); err != nil {
				return fmt.Errorf("--dir: %w; the certificate was made all the same: \"fairlead token revoke %s\" ends it", err, id)
			}
			fmt.Fprintf(c.OutOrStdout(), "Certificate %s, good for %s, is in %s: tls.crt, tls.key and ca.crt. \"fairlead token revoke %s\" ends it.\n", id, ttl, dir, id)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "directory for tls.crt, tls.key and ca.crt; files of these names are replaced")
	c.Flags().StringVar(&secret, "secret", "", "print a Kubernetes Secret of this name")
	c.Flags().StringVar(&description, "description", "plugin", "what it is for, as \"fairlead token list\" shows it")
	c.Flags().DurationVar(&ttl, "ttl", 365*24*time.Hour, "how long it is good for")
	return c
}

// writable tells early that a directory cannot be used, before a certificate is made for nothing.
func writable(dir string) error {
	probe, err := os.CreateTemp(dir, ".fairlead-*")
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func certifyPlugin(c *cobra.Command, o *options, ttl time.Duration, description string) (files pluginFiles, id string, err error) {
	client, err := o.client()
	if err != nil {
		return nil, "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "Fairlead plugin"}}, key)
	if err != nil {
		return nil, "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", err
	}
	made, err := client.IssuePluginCertificate(c.Context(), connect.NewRequest(&adminv1.IssuePluginCertificateRequest{
		Csr: csr, TtlSeconds: uint64(ttl / time.Second), Description: description, //nolint:gosec // not negative
	}))
	if err != nil {
		return nil, "", err
	}
	in := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return pluginFiles{
		{"ca.crt", in("CERTIFICATE", made.Msg.GetCa())}, {"tls.key", in("PRIVATE KEY", private)}, {"tls.crt", in("CERTIFICATE", made.Msg.GetCertificate())},
	}, made.Msg.GetId(), nil
}

// write replaces each file at once: the plugin, which reads them while it runs, never sees half of one. Between the key and its certificate it sees that they do
// not belong together, and goes on with the former ones.
func (files pluginFiles) write(dir string) error {
	for _, f := range files {
		temporary, err := os.CreateTemp(dir, ".fairlead-*") // readable by its owner alone
		if err != nil {
			return err
		}
		_, err = temporary.Write(f.content)
		if err = errors.Join(err, temporary.Close()); err == nil {
			err = os.Rename(temporary.Name(), filepath.Join(dir, f.name))
		}
		if err != nil {
			return errors.Join(err, os.Remove(temporary.Name()))
		}
	}
	return nil
}

func (files pluginFiles) secret(out io.Writer, name, id string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Certificate %s; \"fairlead token revoke %s\" ends it.\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\ndata:\n", id, id, name)
	for _, f := range files {
		fmt.Fprintf(&b, "  %s: %s\n", f.name, base64.StdEncoding.EncodeToString(f.content))
	}
	_, err := out.Write(b.Bytes())
	return err
}
